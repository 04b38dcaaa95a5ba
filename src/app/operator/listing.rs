//! `vstun list`: once, or repeatedly.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use super::command::Listing;
use super::daemon::Daemon;
use super::terminal;
use crate::control::{self, Layout, Request, ServiceList};
use crate::model::duration;

/// The interval of the first rates, unless the configured one is shorter.
const FIRST: Duration = Duration::from_secs(1);

/// One list, as text and as a value.
struct ReceivedList {
    line: Vec<u8>,
    list: ServiceList,
}

/// Asks for lists and prints them.
///
/// # Errors
/// No daemon answers; on a terminal only if it is the first list.
pub(super) fn run(sockets: &[PathBuf], listing: Listing, json: bool) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let redraws = listing.watch.is_some() && !json && io::stdout().is_terminal();
    let mut before = if listing.rate { Some(ask(sockets)?.list) } else { None };
    if listing.watch.is_some() {
        terminal::end_at_interrupt()?;
        terminal::end_with_reader();
    }
    if before.is_some() {
        thread::sleep(listing.watch.map_or(FIRST, |interval| interval.min(FIRST)));
    }
    let mut next = Instant::now();
    for round in 0_u64.. {
        let listed = match ask(sockets) {
            Ok(listed) => Ok(listed.with_rates(&mut before)),
            Err(error) if round > 0 && redraws => Err(error),
            Err(error) => return Err(error),
        };
        let layout = Layout { exact: listing.exact, ..terminal::layout() };
        let text = match listed {
            Ok(ReceivedList { line, .. }) if json => String::from_utf8_lossy(&line).into_owned(),
            Ok(ReceivedList { list, .. }) if listing.rate => list.human_rates(layout),
            Ok(ReceivedList { list, .. }) => list.human(layout),
            Err(error) => format!("{error:#}\n"),
        };
        let Some(interval) = listing.watch else {
            write(&mut out, json, &text)?;
            return Ok(out.flush()?);
        };
        if redraws {
            let now = jiff::Timestamp::now();
            let heading = format!("{now:.0}, every {}", duration::Text(interval));
            terminal::redraw(&mut out, round == 0, &format!("{heading}\n\n{text}"))?;
        } else {
            let gap = if round > 0 && !json { "\n" } else { "" };
            out.write_all(gap.as_bytes())?;
            write(&mut out, json, &text)?;
        }
        out.flush()?;
        next = (next + interval).max(Instant::now());
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

fn write(out: &mut impl Write, json: bool, text: &str) -> io::Result<()> {
    if json { terminal::write_json(out, text.as_bytes()) } else { terminal::write(out, text) }
}

/// The current list.
///
/// # Errors
/// No daemon answers, or it has none.
pub(super) fn list(sockets: &[PathBuf]) -> anyhow::Result<ServiceList> {
    Ok(ask(sockets)?.list)
}

fn ask(sockets: &[PathBuf]) -> anyhow::Result<ReceivedList> {
    let mut daemon = Daemon::connect(sockets)?;
    daemon.ask(&Request::List, &[])?;
    let line = daemon.line()?;
    let list = control::decode(&line)?;
    Ok(ReceivedList { line, list })
}

impl ReceivedList {
    /// Adds the rates since the previous list, if there is one, and becomes the previous list.
    fn with_rates(self, before: &mut Option<ServiceList>) -> Self {
        let Some(earlier) = before else { return self };
        let earlier = std::mem::replace(earlier, self.list.clone());
        let list = self.list.with_rates(&earlier);
        Self { line: control::encode(&list).into_bytes(), list }
    }
}
