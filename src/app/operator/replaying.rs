//! `vstun replay`: decides on recorded packets again.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde::Serialize;

use super::terminal;
use crate::app::config_file;
use crate::control::{Layout, ServiceList, counted, encode};
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
    /// Packets whose recorded decision is missing or cannot be read.
    unreadable: u64,
}

impl ReplaySummary {
    /// Fails if a decision differs, or if none could be compared: then nothing agrees either.
    fn code(&self) -> ExitCode {
        let agrees = self.outcome.differing == 0 && self.outcome.replayed > 0;
        if agrees { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Replays a file; fails if a decision differs.
///
/// # Errors
/// A file cannot be read, or is not a recording or a configuration.
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
                    write_difference(&mut out, &difference, json, terminal::layout())?;
                }
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    let summary = ReplaySummary { outcome: replay.outcome, unreadable: reader.unreadable() };
    write_summary(&mut out, &summary, json)?;
    if states.is_none() && summary.outcome.differing > 0 && !json {
        terminal::write(&mut out, &terminal::layout().record(AS_CONFIGURED))?;
    }
    ended.with_context(shown)?;
    Ok(summary.code())
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
    layout: Layout,
) -> io::Result<()> {
    if json {
        return terminal::write_json(out, encode(difference).as_bytes());
    }
    let ReplayDifference { packet, recorded, replayed } = difference;
    // The file's texts are not trusted: each decision is one line.
    let number = format!("packet {packet}  {}  ", recorded.time);
    let shift = " ".repeat(number.chars().count());
    let line = layout.record(&format!("{number}recorded  {recorded}"));
    out.write_all(line.as_bytes())?;
    // Where both fit on the terminal they are below one another.
    let second = layout.record(&format!("{shift}replayed  {replayed}"));
    let alone = || layout.record(&format!("    replayed  {replayed}"));
    let fits = second.lines().count() == 1;
    out.write_all(if fits { second } else { alone() }.as_bytes())
}

fn write_summary(out: &mut impl Write, summary: &ReplaySummary, json: bool) -> io::Result<()> {
    if json {
        return out.write_all(encode(summary).as_bytes());
    }
    let &ReplaySummary { outcome, unreadable } = summary;
    let ReplayOutcome { replayed, differing, not_judged, recalled } = outcome;
    let mut text =
        format!("{} replayed, {differing} decided otherwise", counted(replayed, "packet"));
    if not_judged > 0 {
        text += &format!("; {not_judged} not judged: they depend on more than the file has");
    }
    if unreadable > 0 {
        text += &format!("; {} without a readable decision", counted(unreadable, "packet"));
    }
    if recalled > 0 {
        text += &format!("; {} from before the recording", counted(recalled, "connection"));
    }
    out.write_all(terminal::layout().record(&text).as_bytes())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::control::TracedDecision;

    #[test]
    fn a_replay_without_a_packet_is_no_success_and_says_why() {
        let summary = |replayed, differing, unreadable| {
            let outcome = ReplayOutcome { replayed, differing, ..ReplayOutcome::default() };
            ReplaySummary { outcome, unreadable }
        };
        for (summary, code, words) in [
            (summary(9, 0, 0), ExitCode::SUCCESS, "9 packets replayed, 0 decided otherwise\n"),
            (summary(9, 1, 0), ExitCode::FAILURE, "9 packets replayed, 1 decided otherwise\n"),
            (
                summary(0, 0, 2),
                ExitCode::FAILURE,
                "0 packets replayed, 0 decided otherwise; 2 packets without a readable decision\n",
            ),
        ] {
            assert_eq!(summary.code(), code, "{words}");
            let mut out = Vec::new();
            write_summary(&mut out, &summary, false).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), words);
        }
    }

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
            write_difference(&mut out, &difference, json, Layout::UNBOUNDED).unwrap();
            let out = String::from_utf8(out).unwrap();
            let controls: String = out.chars().filter(|one| one.is_control()).collect();
            assert_eq!(controls, "\n".repeat(lines), "{out:?}");
            assert!(out.contains("pwned"), "{out}");
        }
    }
}
