//! An eBPF program at the ingress of interfaces (tcx, since Linux 6.6). The kernel detaches it when
//! the process ends.

use std::collections::BTreeMap;
use std::io;

use aya::maps::{Map, MapError};
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType, TestRun, TestRunOptions};
use aya::{Ebpf, EbpfLoader};

use super::errors::{because, number_of};
use super::interfaces;

/// What loading and attaching a program needs, for error texts.
pub const NEEDS: &str = "fast_path needs Linux 6.6, CAP_BPF and CAP_NET_ADMIN";

/// The offset of `gso_size` in `struct __sk_buff` of `<linux/bpf.h>`, which is the last field that
/// a test may set.
const GSO_SIZE: usize = 176;

/// A loaded program and where it is attached.
#[derive(Debug)]
pub struct IngressProgram {
    ebpf: Ebpf,
    /// Its name in the object and in the kernel.
    name: &'static str,
    /// The interfaces by index.
    links: BTreeMap<u32, SchedClassifierLink>,
}

impl IngressProgram {
    /// Loads the program of this name.
    ///
    /// # Errors
    /// The kernel or the process's rights do not allow it, or the kernel has no tcx: it would take
    /// the program and its maps nevertheless.
    pub(super) fn load(
        loader: &mut EbpfLoader<'_>,
        object: &[u8],
        name: &'static str,
    ) -> io::Result<Self> {
        if !has_tcx() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "the kernel has no tcx"));
        }
        let ebpf =
            loader.load(object).map_err(|error| because("the kernel refuses its maps", &error))?;
        let mut loaded = Self { ebpf, name, links: BTreeMap::new() };
        loaded
            .program()?
            .load()
            .map_err(|error| because("the kernel refuses the program", &error))?;
        Ok(loaded)
    }

    /// Takes a map out of the object.
    pub(super) fn map(&mut self, name: &str) -> io::Result<Map> {
        self.ebpf.take_map(name).ok_or_else(|| missing(name))
    }

    /// Takes a map of that type out of the object.
    pub(super) fn typed_map<T: TryFrom<Map, Error = MapError>>(
        &mut self,
        name: &str,
    ) -> io::Result<T> {
        self.map(name)?.try_into().map_err(|error| because(name, &error))
    }

    fn program(&mut self) -> io::Result<&mut SchedClassifier> {
        let program = self.ebpf.program_mut(self.name).ok_or_else(|| missing(self.name))?;
        program.try_into().map_err(|error| because(self.name, &error))
    }

    /// Attaches the program at an interface's ingress, before other programs there. It is detached
    /// with the process, or with [`Self::detach_others`].
    ///
    /// # Errors
    /// There is no such interface, or the kernel has no tcx (before Linux 6.6).
    pub fn attach(&mut self, index: u32, name: &str) -> io::Result<()> {
        if self.links.contains_key(&index) {
            return Ok(());
        }
        let program = self.program()?;
        let order = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id = program
            .attach_with_options(name, TcAttachType::Ingress, order)
            .map_err(|error| because("the kernel does not attach the program", &error))?;
        let link = program.take_link(id).map_err(|error| because("no link", &error))?;
        self.links.insert(index, link);
        Ok(())
    }

    /// Detaches the program from all interfaces but these.
    pub fn detach_others(&mut self, indexes: &[u32]) {
        self.links.retain(|index, _| indexes.contains(index));
    }

    /// Runs the program on a frame, for tests and benches. Returns its result and the length of the
    /// resulting frame, which is in `sent`.
    ///
    /// # Errors
    /// The kernel tests no program on such a frame.
    pub fn run(&mut self, frame: &[u8], sent: &mut [u8]) -> io::Result<(u32, usize)> {
        self.run_often(1, frame, sent)
    }

    /// As [`Self::run`], on a frame that the kernel has merged of segments of this size.
    ///
    /// # Errors
    /// The kernel tests no program on such a frame.
    pub fn run_merged(
        &mut self,
        size: u32,
        frame: &[u8],
        sent: &mut [u8],
    ) -> io::Result<(u32, usize)> {
        let mut about = [0; GSO_SIZE + 4];
        about[GSO_SIZE..].copy_from_slice(&size.to_ne_bytes());
        let mut options = TestRunOptions::new();
        (options.data_in, options.data_out) = (Some(frame), Some(sent));
        options.ctx_in = Some(&about);
        self.test(options)
    }

    /// As [`Self::run`], `times` in one system call. A frame that is carried is another one for the
    /// next time.
    ///
    /// # Errors
    /// The kernel tests no program on such a frame.
    pub fn run_often(
        &mut self,
        times: u32,
        frame: &[u8],
        sent: &mut [u8],
    ) -> io::Result<(u32, usize)> {
        let mut options = TestRunOptions::new();
        (options.data_in, options.data_out) = (Some(frame), Some(sent));
        options.repeat = times;
        self.test(options)
    }

    fn test(&mut self, options: TestRunOptions<'_>) -> io::Result<(u32, usize)> {
        let done = self
            .program()?
            .test_run(options)
            .map_err(|error| because("the test does not run", &error))?;
        Ok((done.return_value, done.data_size_out as usize))
    }
}

/// Kernels before Linux 6.6 do not know this kind of query, and say `EINVAL`. A process without the
/// right to ask is refused at the load.
fn has_tcx() -> bool {
    let asked = SchedClassifier::query_tcx("lo", TcAttachType::Ingress);
    asked.err().and_then(|error| number_of(&error)) != Some(libc::EINVAL)
}

/// The interfaces of this network namespace whose ingress has a program of that name, of any
/// process.
///
/// # Errors
/// The process may not ask, or the kernel has no tcx.
pub(super) fn attached(program: &str) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for name in interfaces::names()?.into_values() {
        let (_, programs) = SchedClassifier::query_tcx(&name, TcAttachType::Ingress)
            .map_err(|error| because(&name, &error))?;
        if programs.iter().any(|one| one.name_as_str() == Some(program)) {
            found.push(name);
        }
    }
    Ok(found)
}

/// The object has no such program or map.
pub(super) fn missing(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("the object has no {what}"))
}
