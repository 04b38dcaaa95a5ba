//! `vstun replay`: decides on recorded packets again.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde::Serialize;

use super::terminal;
use crate::app::config_file;
use crate::control::{ServiceList, counted, encode, printable_line};
use crate::trace::reading::Reader;
use crate::trace::replay::{Replay, ReplayDifference, ReplayOutcome};

/// The longest file that is replayed: it is held in memory.
const MAX_FILE: u64 = 1 << 30;

/// A reason for differences that the configuration does not have.
const AS_CONFIGURED: &str = "all real servers counted as up, with the weights of the \
                             configuration; if some were down, drained or changed by commands, \
                             give --states with what `vstun list --json` printed then";

/// The last line of the JSON output.
#[derive(Serialize)]
struct ReplaySummary {
    #[serde(flatten)]
    outcome: ReplayOutcome,
}

/// Replays a file; fails if a decision differs.
///
/// # Errors A file cannot be read, or is not a recording or a configuration.
pub(super) fn run(
    file: &Path,
    configuration: &Path,
    states: Option<&Path>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let config = config_file::director(configuration)?;
    let states = states.map(list).transpose()?;
    let bytes = read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let shown = || file.display().to_string();
    let mut reader = Reader::new(&bytes).with_context(shown)?;
    let mut replay = Replay::new(&config, reader.begins(), states.as_ref())?;
    let mut out = io::stdout().lock();
    // Packets before a fault in the file are replayed.
    let ended = loop {
        match reader.next_packet() {
            Ok(Some(packet)) => {
                if let Some(difference) = replay.packet(&packet) {
                    write_difference(&mut out, &difference, json)?;
                }
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    write_outcome(&mut out, replay.outcome, json)?;
    if states.is_none() && replay.outcome.differing > 0 && !json {
        writeln!(out, "{AS_CONFIGURED}")?;
    }
    ended.with_context(shown)?;
    Ok(if replay.outcome.differing > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The services in a file of `vstun list --json`.
fn list(path: &Path) -> anyhow::Result<ServiceList> {
    let shown = || format!("{}: not what `vstun list --json` prints", path.display());
    let bytes = read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(shown)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        bail!("it is longer than {MAX_FILE} bytes; record less at a time, with a filter");
    }
    Ok(bytes)
}

fn write_difference(
    out: &mut impl Write,
    difference: &ReplayDifference,
    json: bool,
) -> io::Result<()> {
    if json {
        return terminal::write_json(out, encode(difference).as_bytes());
    }
    let ReplayDifference { packet, recorded, replayed } = difference;
    // The file's texts are not trusted: each decision is one line.
    let line = format!("packet {packet}  {}  recorded  {recorded}", recorded.time);
    writeln!(out, "{}", printable_line(&line))?;
    let indent = shift(*packet, &recorded.time);
    writeln!(out, "{:indent$}{}", "", printable_line(&format!("replayed  {replayed}")))
}

/// The indent of the second line below the first.
fn shift(packet: u64, time: &str) -> usize {
    format!("packet {packet}  {time}  ").chars().count()
}

fn write_outcome(out: &mut impl Write, outcome: ReplayOutcome, json: bool) -> io::Result<()> {
    if json {
        return out.write_all(encode(&ReplaySummary { outcome }).as_bytes());
    }
    let ReplayOutcome { replayed, differing, not_judged, recalled } = outcome;
    write!(out, "{} replayed, {differing} decided otherwise", counted(replayed, "packet"))?;
    if not_judged > 0 {
        write!(out, "; {not_judged} not judged: they depend on more than the file has")?;
    }
    if recalled > 0 {
        write!(out, "; {} from before the recording", counted(recalled, "connection"))?;
    }
    writeln!(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::control::TracedDecision;

    /// A recording is any file that someone hands over.
    #[test]
    fn a_hostile_recording_cannot_steer_the_terminal_or_imitate_a_line() {
        let text = || "\x1b]0;pwned\x07\x1b[2J\u{9b}1m\npacket 9".to_owned();
        let recorded = TracedDecision {
            time: text(),
            protocol: text(),
            client: text(),
            virtual_address: text(),
            verdict: text(),
            reason: Some(text()),
            service: Some(text()),
            why: Some(text()),
            scheduler: Some(text()),
            before: Some(text()),
            after: Some(text()),
            ..TracedDecision::default()
        };
        let difference = ReplayDifference { packet: 1, replayed: recorded.clone(), recorded };
        for (json, lines) in [(false, 2), (true, 1)] {
            let mut out = Vec::new();
            write_difference(&mut out, &difference, json).unwrap();
            let out = String::from_utf8(out).unwrap();
            let controls: String = out.chars().filter(|one| one.is_control()).collect();
            assert_eq!(controls, "\n".repeat(lines), "{out:?}");
            assert!(out.contains("pwned"), "{out}");
        }
    }
}
