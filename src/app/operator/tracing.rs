//! `vstun trace`: decisions as they are made, as lines or as a file.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::command::TraceOptions;
use super::daemon::Daemon;
use super::terminal;
use crate::control::{self, Missed, Request, TraceBegins, TracedDecision, counted, printable_line};
use crate::trace::pcapng::Writer;

/// A line after the first one.
enum TraceLine {
    Decision(Box<TracedDecision>),
    Missed(u64),
}

/// Prints or writes decisions up to the requested number, until Ctrl-C, or until the daemon ends.
///
/// # Errors
/// No daemon answers, it refuses, or the file cannot be written.
pub(super) fn run(
    sockets: &[PathBuf],
    request: &Request,
    options: &TraceOptions,
    json: bool,
) -> anyhow::Result<()> {
    let mut daemon = Daemon::connect(sockets)?;
    daemon.ask(request, &[])?;
    let first = daemon.line()?;
    let begins: TraceBegins = control::decode(&first)?;
    let mut out = match &options.write {
        Some(path) => Out::File(Recording::begin(path, &begins)?),
        None => Out::Lines(io::stdout().lock(), json),
    };
    daemon.be_patient()?;
    terminal::end_at_interrupt()?;
    if !options.recorded {
        eprintln!("tracing; Ctrl-C ends it");
    }
    let mut shown = 0;
    while options.count.is_none_or(|count| shown < count) && !daemon.has_closed()? {
        let line = daemon.line()?;
        match read(&line)? {
            TraceLine::Decision(decision) => {
                out.decision(&decision, &line)?;
                shown += 1;
            }
            TraceLine::Missed(missed) => out.missed(missed, &line)?,
        }
    }
    if let Some(path) = &options.write {
        eprintln!("{} in {}", counted(shown, "packet"), path.display());
    }
    Ok(())
}

fn read(line: &[u8]) -> anyhow::Result<TraceLine> {
    if let Ok(Missed { missed }) = control::decode(line) {
        return Ok(TraceLine::Missed(missed));
    }
    Ok(TraceLine::Decision(Box::new(control::decode(line)?)))
}

enum Out {
    /// Lines on standard output; whether as JSON.
    Lines(io::StdoutLock<'static>, bool),
    File(Recording),
}

impl Out {
    fn decision(&mut self, decision: &TracedDecision, line: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::Lines(out, true) => terminal::write_json(out, line)?,
            Self::Lines(out, false) => {
                writeln!(out, "{}", printable_line(&decision.human()))?;
            }
            Self::File(recording) => recording.add(decision)?,
        }
        Ok(())
    }

    fn missed(&mut self, missed: u64, line: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::Lines(out, true) => Ok(terminal::write_json(out, line)?),
            _ => {
                eprintln!("vstun: {} lost: the director decided faster", counted(missed, "packet"));
                Ok(())
            }
        }
    }
}

/// A file that packets are added to.
struct Recording {
    file: File,
    blocks: Writer,
}

impl Recording {
    /// Makes the file. Only its owner may read it: it holds the director's seeds.
    fn begin(path: &Path, begins: &TraceBegins) -> anyhow::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
        let closed = |file: File| {
            // An existing file keeps its mode otherwise.
            if file.metadata()?.is_file() {
                file.set_permissions(Permissions::from_mode(0o600))?;
            }
            Ok(file)
        };
        let file = file.and_then(closed);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        let mut recording = Self { file, blocks: Writer::new(begins)? };
        recording.write()?;
        Ok(recording)
    }

    fn add(&mut self, decision: &TracedDecision) -> anyhow::Result<()> {
        self.blocks.add(decision)?;
        self.write()
    }

    /// Writes each packet at once, since Ctrl-C may end the program at any moment.
    fn write(&mut self) -> anyhow::Result<()> {
        let written = self.file.write_all(&self.blocks.take());
        // As text, so that it counts as a failure, unlike a broken pipe on standard output.
        written.map_err(|error| anyhow::anyhow!("cannot write the file: {error}"))
    }
}
