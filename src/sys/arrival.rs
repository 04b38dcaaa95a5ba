//! Frames that the kernel receives at an interface as if they had come by its wire. A program of
//! XDP that passes everything runs on them (`bpf/arrival.bpf.c`); it is attached to no interface.

use std::io;

use aya::EbpfLoader;
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp};

use super::errors::because;

/// The compiled program; `make bpf` rebuilds it.
const OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/arrival.bpf.o");

/// The program's name.
const NAME: &str = "arrival";

/// `struct xdp_md` of linux/bpf.h, in words: data, its end, metadata, the index of the interface,
/// its queue, an index for redirection.
const CONTEXT: usize = 6;

/// The loaded program. The kernel unloads it with this value.
#[derive(Debug)]
pub struct Arrivals(aya::Ebpf);

impl Arrivals {
    /// Loads the program.
    ///
    /// # Errors
    /// The process may not load programs, or the kernel has no eBPF.
    pub fn open() -> io::Result<Self> {
        let mut ebpf = EbpfLoader::new()
            .load(OBJECT)
            .map_err(|error| because("the kernel refuses the object", &error))?;
        program(&mut ebpf)?
            .load()
            .map_err(|error| because("the kernel refuses the program", &error))?;
        Ok(Self(ebpf))
    }

    /// Lets an Ethernet frame arrive at the interface of this index.
    ///
    /// # Errors
    /// There is no such interface, the frame is shorter than its header, or the kernel cannot do it
    /// (before Linux 5.18).
    pub fn arrive(&mut self, index: u32, frame: &[u8]) -> io::Result<()> {
        let end = u32::try_from(frame.len()).map_err(io::Error::other)?;
        let words: [u32; CONTEXT] = [0, end, 0, index, 0, 0];
        let context: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
        let mut options = TestRunOptions::new();
        (options.data_in, options.ctx_in) = (Some(frame), Some(context.as_slice()));
        options.attrs = TestRunAttrs::new().xdp_live_frames(1);
        let run = program(&mut self.0)?.test_run(options);
        run.map_err(|error| because("the kernel takes no frame", &error)).map(drop)
    }
}

fn program(ebpf: &mut aya::Ebpf) -> io::Result<&mut Xdp> {
    let program = ebpf.program_mut(NAME).ok_or(io::ErrorKind::NotFound)?;
    program.try_into().map_err(|error| because(NAME, &error))
}
