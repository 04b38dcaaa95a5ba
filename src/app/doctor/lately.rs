//! Asks the director what it has observed lately.

use std::net::IpAddr;
use std::time::Duration;

use crate::app::operator::daemon::Daemon;
use crate::config;
use crate::control::{self, Connection, Connections, EventText, Request, Status, Which};
use crate::doctor::DirectorFacts;

/// How far back events are asked for.
const LATELY: &str = "10m";

/// The most events that are read.
const MOST_EVENTS: usize = 10_000;

/// The most open handshakes that are asked for at one.
const MOST_OPEN: u64 = 200;

/// The most real servers whose open handshakes are asked for.
const MOST_REALS: usize = 20;

/// A client whose handshake is open sends its SYN again within this time, if it waits.
const REPEATED: Duration = Duration::from_secs(20);

/// Adds the director's events, and open handshakes at real servers that the events name. `config`:
/// the timeouts, which show how long ago a client has sent its last SYN.
///
/// # Errors
/// The daemon does not answer.
pub(super) fn add(
    facts: &mut DirectorFacts,
    daemon: &mut Daemon,
    config: Option<&config::Director>,
) -> anyhow::Result<()> {
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
        let request = Request::Connections { limit: Some(MOST_OPEN), which };
        // It may have been removed since.
        let Ok(page) = daemon.exchange_anew::<Connections>(&request) else { continue };
        let mut waiting = page.connections.iter().filter(|one| still_waits(one, config));
        facts.handshakes.extend(waiting.next().map(|one| (real, one.client.ip())));
    }
    Ok(())
}

/// Whether the client has sent a SYN lately: one that has given up says nothing about the present.
fn still_waits(connection: &Connection, config: Option<&config::Director>) -> bool {
    let Some(config) = config else { return true };
    Duration::from_secs(connection.expires_seconds) + REPEATED >= config.timeouts.tcp_syn_recv
}
