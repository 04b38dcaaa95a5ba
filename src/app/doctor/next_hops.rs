//! Reads the kernel's neighbour entries on the way to real servers.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::app::host::survey;
use crate::doctor::{DirectorFacts, EndAnswer, NeighbourEntry};
use crate::sys::netlink::packet_route::neighbour::NeighbourState;

/// How long the kernel may take to find out whether a host answers: it asks for three seconds
/// (`ucast_solicit`, `retrans_time`).
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Adds the next host on the way to each real server that answers nothing, and what the kernel
/// knows about it. The probes have made the kernel ask for hosts that it does not know. Here it
/// asks again for one that has answered, at once. By itself it would do that up to 45 seconds after
/// the last answer (`base_reachable_time`), and five seconds after the next packet
/// (`delay_first_probe_time`).
pub(super) async fn add(facts: &mut DirectorFacts) -> anyhow::Result<()> {
    let until = Instant::now() + TIME_LIMIT;
    let mut reals: Vec<IpAddr> = facts.routes.iter().map(|route| route.real).collect();
    reals.retain(|real| !answers(*real, facts));
    let mut asked: HashSet<(u32, IpAddr)> = HashSet::new();
    while !reals.is_empty() {
        let (mut open, mut waiting) = (Vec::new(), Vec::new());
        for found in survey::next_hops(&reals).await? {
            if found.may_be_old() && asked.insert((found.link, found.hop)) {
                waiting.push((found.link, found.hop));
            }
            let entry = found.entry.map(judged);
            if waiting.contains(&(found.link, found.hop)) || matches!(entry, Some(None)) {
                open.push(found.to);
            }
            if let Some(route) = facts.routes.iter_mut().find(|route| route.real == found.to) {
                route.next = Some(found.hop);
                route.neighbour = entry.flatten().unwrap_or_default();
            }
        }
        survey::probe_hops(&waiting).await?;
        reals = if Instant::now() < until { open } else { Vec::new() };
        if !reals.is_empty() {
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(())
}

/// Whether anything has come from the real server.
fn answers(real: IpAddr, facts: &DirectorFacts) -> bool {
    let ends = facts.ends.iter().flatten();
    let mut ends = ends.filter(|end| end.real == real && end.answer != EndAnswer::Silent);
    let mut ports = facts.probed.iter().flat_map(|probed| &probed.ports);
    ends.next().is_some() || ports.any(|port| port.address == real && port.passed && !port.is_udp())
}

/// Whether the host was asked and has not answered. One that answers does so at once, and what has
/// made the kernel ask was seconds ago.
pub(super) fn is_silent(state: NeighbourState) -> bool {
    matches!(state, NeighbourState::Failed | NeighbourState::Incomplete)
}

/// What an entry means; `None`: the kernel finds out now.
fn judged((state, address): (NeighbourState, Vec<u8>)) -> Option<NeighbourEntry> {
    Some(match state {
        _ if is_silent(state) => NeighbourEntry::Silent,
        NeighbourState::Permanent => NeighbourEntry::Fixed(survey::mac(&address)),
        NeighbourState::Reachable => NeighbourEntry::Answers,
        NeighbourState::Delay | NeighbourState::Probe => return None,
        _ => NeighbourEntry::Unknown,
    })
}
