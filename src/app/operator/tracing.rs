//! `vstun trace`: decisions as they are made, as lines or as a file.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::command::TraceOptions;
use super::daemon::Daemon;
use super::terminal;
use crate::control::{self, Missed, Request, TraceBegins, TraceEnds, TracedDecision, counted};
use crate::trace::pcapng::Writer;

/// What an error says about a trace that the director has closed. It gives a reader five seconds.
const CLOSED: &str = "the director closed the trace: it has ended, or the trace was not read for \
                      5 seconds; what is shown may not be all";

/// A line after the first one.
enum TraceLine {
    Decision(Box<TracedDecision>),
    Missed(u64),
    Ends,
}

/// Prints or writes decisions up to the requested number, until Ctrl-C, or all that were recorded.
///
/// # Errors
/// No daemon answers, it refuses or closes the trace, or the file cannot be written.
pub(super) fn run(
    sockets: &[PathBuf],
    request: &Request,
    options: &TraceOptions,
    json: bool,
) -> anyhow::Result<()> {
    let mut daemon = Daemon::connect(sockets)?;
    daemon.ask(request, &[])?;
    let begins: TraceBegins = control::decode(&daemon.line()?)?;
    begins.notes.iter().for_each(|note| terminal::warn(note));
    let mut out = match &options.write {
        Some(path) => Out::File(Recording::begin(path, &begins)?),
        None => Out::Lines(io::stdout().lock(), json),
    };
    daemon.remove_time_limit()?;
    terminal::end_at_interrupt()?;
    if options.write.is_none() {
        terminal::end_with_reader();
    }
    if !options.recorded {
        terminal::note("tracing; Ctrl-C ends it");
    }
    let mut shown = 0;
    let ended = follow(&mut daemon, &begins, options.count, &mut out, &mut shown);
    if let Some(path) = &options.write {
        terminal::note(&format!("{} in {}", counted(shown, "packet"), path.display()));
    }
    ended
}

/// Passes on the lines after the first one, and counts the decisions.
fn follow(
    daemon: &mut Daemon,
    begins: &TraceBegins,
    most: Option<u64>,
    out: &mut Out,
    shown: &mut u64,
) -> anyhow::Result<()> {
    while most.is_none_or(|most| *shown < most) {
        if daemon.has_closed()? {
            // A director of an earlier release marks no end of recorded decisions.
            return if begins.recorder.is_some() && !begins.ends { Ok(()) } else { bail!(CLOSED) };
        }
        let line = daemon.line()?;
        match read(&line)? {
            TraceLine::Decision(decision) => {
                out.decision(&decision, &line)?;
                *shown += 1;
            }
            TraceLine::Missed(missed) => out.missed(missed, &line)?,
            TraceLine::Ends => break,
        }
    }
    Ok(())
}

fn read(line: &[u8]) -> anyhow::Result<TraceLine> {
    if let Ok(Missed { missed }) = control::decode(line) {
        return Ok(TraceLine::Missed(missed));
    }
    if let Ok(TraceEnds { .. }) = control::decode(line) {
        return Ok(TraceLine::Ends);
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
                out.write_all(decision.human(terminal::layout()).as_bytes())?;
            }
            Self::File(recording) => recording.add(decision)?,
        }
        Ok(())
    }

    fn missed(&mut self, missed: u64, line: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::Lines(out, true) => Ok(terminal::write_json(out, line)?),
            _ => {
                let missed = counted(missed, "packet");
                terminal::note(&format!("vstun: {missed} lost: the director decided faster"));
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
        let begins = TraceBegins { ends: false, notes: Vec::new(), ..begins.clone() };
        let mut recording = Self { file, blocks: Writer::new(&begins)? };
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::Shutdown;
    use std::os::unix::net::UnixListener;

    use super::*;

    /// What a trace that the director closes after these lines ends with, and how many decisions
    /// it has shown.
    fn closed_after(begins: &TraceBegins, lines: &[String], name: &str) -> (Option<String>, u64) {
        let path = std::env::temp_dir().join(format!("vstun-{name}-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let mut daemon = Daemon::connect(std::slice::from_ref(&path)).unwrap();
        let (mut director, _) = listener.accept().unwrap();
        director.write_all(lines.concat().as_bytes()).unwrap();
        director.shutdown(Shutdown::Both).unwrap();
        std::fs::remove_file(&path).unwrap();
        let file = File::options().write(true).open("/dev/null").unwrap();
        let blocks = Writer::new(begins).unwrap();
        let (mut out, mut shown) = (Out::File(Recording { file, blocks }), 0);
        let ended = follow(&mut daemon, begins, None, &mut out, &mut shown);
        (ended.err().map(|error| error.to_string()), shown)
    }

    #[test]
    fn only_the_end_of_recorded_decisions_is_no_failure() {
        let decision = control::encode(&TracedDecision {
            time: "2026-11-28T12:00:00Z".to_owned(),
            packet: Some("45".to_owned()),
            ..TracedDecision::default()
        });
        let end = control::encode(&TraceEnds { ended: true });
        let live = TraceBegins::default();
        let recorded = TraceBegins { recorder: Some(9), ends: true, ..TraceBegins::default() };
        let earlier = TraceBegins { ends: false, ..recorded.clone() };
        let closed = Some(CLOSED.to_owned());
        for (begins, lines, ended, name) in [
            (&live, vec![decision.clone()], closed.clone(), "live"),
            (&recorded, vec![decision.clone()], closed, "cut"),
            (&recorded, vec![decision.clone(), end], None, "whole"),
            (&earlier, vec![decision.clone()], None, "earlier"),
        ] {
            assert_eq!(closed_after(begins, &lines, name), (ended, 1), "{name}");
        }
        let cut = decision.trim_end()[..9].to_owned();
        let (error, shown) = closed_after(&live, &[decision, cut], "half");
        assert!(error.unwrap().contains("closed the connection") && shown == 1);
    }
}
