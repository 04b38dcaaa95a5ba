//! Sends marked packets: makes the tables of nftables for them, lets them arrive, and collects the
//! kernel's reports.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::doctor::firewall::Ruleset;
use crate::doctor::marked::{Ending, Reports, TraceTables, Translation};
use crate::sys::arrival::Arrivals;
use crate::sys::nft_trace::NftTraces;

/// How long nft may take to make the tables.
const READY: Duration = Duration::from_secs(5);

/// How long to wait for reports about a packet that has not ended.
const TIME_LIMIT: Duration = Duration::from_secs(1);

/// Between two looks for reports.
const PAUSE: Duration = Duration::from_millis(2);

/// A frame that arrives.
#[derive(Clone, Debug)]
pub(super) struct ArrivingFrame {
    /// Its number, in its source address too.
    pub(super) number: u16,
    /// The index of the interface.
    pub(super) entry: u32,
    /// The frame.
    pub(super) bytes: Vec<u8>,
}

/// The tables while they exist, and what is needed to send and follow packets.
pub(super) struct MarkedTrace<'a> {
    reports: Reports<'a>,
    traces: NftTraces,
    arrivals: Arrivals,
    _nft: Nft,
}

impl<'a> MarkedTrace<'a> {
    /// Makes the tables. They are deleted with this value, and by the kernel if this process dies.
    ///
    /// # Errors
    /// There is no nft, the process may not use it, or the kernel lacks something for it.
    pub(super) fn begin(tables: &'a TraceTables, ruleset: &'a Ruleset) -> io::Result<Self> {
        let (arrivals, traces) = (Arrivals::open()?, NftTraces::open()?);
        let nft = Nft::start(tables)?;
        Ok(Self { reports: Reports::new(tables, ruleset), traces, arrivals, _nft: nft })
    }

    /// Lets the frames arrive, and returns how each has ended.
    ///
    /// # Errors
    /// The kernel takes no such frame, or its reports cannot be read.
    pub(super) fn send(&mut self, frames: &[ArrivingFrame]) -> io::Result<Vec<Ending>> {
        for ArrivingFrame { entry, bytes, .. } in frames {
            self.arrivals.arrive(*entry, bytes)?;
            self.receive()?;
        }
        let until = Instant::now() + TIME_LIMIT;
        while Instant::now() < until
            && !frames.iter().all(|frame| self.reports.ended(frame.number).is_some())
        {
            thread::sleep(PAUSE);
            self.receive()?;
        }
        Ok(frames.iter().map(|frame| self.reports.finally(frame.number)).collect())
    }

    /// What became of the addresses of the frame with this number.
    pub(super) fn translated(&self, number: u16) -> Option<Translation> {
        self.reports.translated(number)
    }

    fn receive(&mut self) -> io::Result<()> {
        let reports = &mut self.reports;
        self.traces.receive(|report| reports.add(report))
    }
}

/// A process of nft that owns the tables.
struct Nft {
    child: Child,
    input: Option<ChildStdin>,
}

impl Nft {
    fn start(tables: &TraceTables) -> io::Result<Self> {
        let mut command = Command::new("nft");
        // It would leave its history in the home directory.
        command.arg("-i").env("HOME", "/nonexistent");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("cannot run nft: {error}")))?;
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        let mut nft = Self { input: child.stdin.take(), child };
        let mut lines = tables.commands();
        lines.push(format!("list table netdev {}\n", tables.name));
        if let Some(input) = &mut nft.input {
            input.write_all(lines.join("\n").as_bytes())?;
        }
        let listed = output.map(|output| listing(BufReader::new(output)));
        if listed.is_some_and(|listed| listed.recv_timeout(READY) == Ok(tables.devices())) {
            return Ok(nft);
        }
        drop(nft);
        let said = errors.and_then(|errors| BufReader::new(errors).lines().next()?.ok());
        Err(io::Error::other(said.unwrap_or_else(|| "nft makes no tables".to_owned())))
    }
}

/// Receives how many chains a listing has, once it has ended.
fn listing(output: impl BufRead + Send + 'static) -> mpsc::Receiver<usize> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut chains = 0;
        for line in output.lines().map_while(Result::ok) {
            chains += usize::from(line.trim_start().starts_with("chain "));
            if line == "}" {
                break;
            }
        }
        // The receiver may have given up.
        let _ = sender.send(chains);
    });
    receiver
}

impl Drop for Nft {
    /// Ends the process, and waits until its tables are gone.
    fn drop(&mut self) {
        drop(self.input.take());
        // It has no more input, and may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
