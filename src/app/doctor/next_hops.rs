//! Reads the kernel's neighbour entries on the way to real servers.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::app::host::survey;
use crate::doctor::{DirectorFacts, EndAnswer, NeighbourEntry};
use crate::sys::netlink::packet_route::neighbour::NeighbourState;

/// How long the kernel may take to find out whether a host answers: it waits five seconds before it
/// asks a host that it knows, and asks for three (`delay_first_probe_time`, `retrans_time`).
const PATIENCE: Duration = Duration::from_secs(9);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// Adds the next host on the way to each real server that answers nothing, and what the kernel
/// knows about it. The probes have made the kernel ask.
pub(super) async fn add(facts: &mut DirectorFacts) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    let mut reals: Vec<IpAddr> = facts.ways.iter().map(|way| way.real).collect();
    reals.retain(|real| !answers(*real, facts));
    while !reals.is_empty() {
        let mut open = Vec::new();
        for found in survey::next_hops(&reals).await? {
            let entry = found.entry.map(judged);
            if matches!(entry, Some(None)) {
                open.push(found.to);
            }
            if let Some(way) = facts.ways.iter_mut().find(|way| way.real == found.to) {
                way.next = Some(found.hop);
                way.neighbour = entry.flatten().unwrap_or_default();
            }
        }
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
    let mut ends = ends.filter(|end| end.real == real && end.heard != EndAnswer::Silent);
    let mut ports = facts.probed.iter().flat_map(|probed| &probed.ports);
    ends.next().is_some() || ports.any(|port| port.address == real && port.passed && !port.is_udp())
}

/// What an entry means; `None`: the kernel finds out now.
fn judged((state, address): (NeighbourState, Vec<u8>)) -> Option<NeighbourEntry> {
    Some(match state {
        // A host that answers does so at once, and the probes were seconds ago.
        NeighbourState::Failed | NeighbourState::Incomplete => NeighbourEntry::Silent,
        NeighbourState::Permanent => {
            let bytes: Vec<String> = address.iter().map(|byte| format!("{byte:02x}")).collect();
            NeighbourEntry::Fixed(bytes.join(":"))
        }
        NeighbourState::Reachable => NeighbourEntry::Answers,
        NeighbourState::Delay | NeighbourState::Probe => return None,
        _ => NeighbourEntry::Unknown,
    })
}
