//! Asks the director what it has observed lately.

use std::net::IpAddr;

use crate::app::operator::daemon::Daemon;
use crate::control::{self, Connections, EventText, Request, Status, Which};
use crate::doctor::DirectorFacts;

/// How far back events are asked for.
const LATELY: &str = "10m";

/// The most events that are read.
const MOST_EVENTS: usize = 10_000;

/// The most real servers whose open handshakes are asked for.
const MOST_REALS: usize = 20;

/// Adds the director's events, and open handshakes at real servers that the events name.
///
/// # Errors
/// The daemon does not answer.
pub(super) fn add(facts: &mut DirectorFacts, daemon: &mut Daemon) -> anyhow::Result<()> {
    let request = Request::Events { since: Some(LATELY.to_owned()), until_now: true };
    daemon.exchange_anew::<Status>(&request)?;
    while facts.events.len() < MOST_EVENTS && !daemon.has_closed()? {
        // A line that says how many are missing is none.
        facts.events.extend(control::decode::<EventText>(&daemon.line()?).ok());
    }
    let unanswered = facts.events.iter().filter(|event| event.change.what == "unanswered");
    let mut reals: Vec<IpAddr> = unanswered.filter_map(|event| event.change.address).collect();
    reals.sort_unstable();
    reals.dedup();
    for real in reals.into_iter().take(MOST_REALS) {
        let which = Which {
            address: Some(real.to_string()),
            state: Some("SYN_RECV".to_owned()),
            ..Which::default()
        };
        let request = Request::Connections { limit: Some(1), which };
        // It may have been removed since.
        let Ok(page) = daemon.exchange_anew::<Connections>(&request) else { continue };
        let client = page.connections.first().map(|one| one.client.ip());
        facts.handshakes.extend(client.map(|client| (real, client)));
    }
    Ok(())
}
