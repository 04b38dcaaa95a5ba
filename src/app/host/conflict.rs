//! Probes whether another host has an address, and announces that this one has it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use log::warn;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::host::{Announcement, Facts, Family, Link, resolution};

use super::neighbour_socket::{NeighbourSocket, asker};

/// Probes and announcements sent for each address. RFC 5227 1.1 has three and two; three of each
/// survive a switch port that is slow to forward.
const TIMES: u32 = 3;
/// The time between probes. RFC 5227 waits one to two seconds; that certainty is not worth a start
/// of seven seconds.
const PROBE_INTERVAL: Duration = Duration::from_millis(200);
/// The time between announcements (RFC 5227 1.1, `ANNOUNCE_INTERVAL` is two seconds).
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(1);

/// Another host that has a virtual IP.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Conflict {
    pub(super) link: String,
    pub(super) address: IpAddr,
    pub(super) mac: [u8; 6],
}

impl Conflict {
    pub(super) fn of(one: &Announcement, mac: [u8; 6]) -> Self {
        Self { link: one.link.clone(), address: one.address, mac }
    }

    pub(super) fn is_about(&self, one: &Announcement) -> bool {
        self.link == one.link && self.address == one.address
    }
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.mac;
        write!(
            f,
            "another host answers {} for virtual IP {} on {}: \
             {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}",
            resolution(self.address),
            self.address,
            self.link
        )
    }
}

/// The probe of one address.
#[derive(Clone, Copy, Debug)]
struct ConflictProbe {
    address: IpAddr,
    asker: Option<Ipv4Addr>,
}

/// Probes for every address on every interface, all at the same time; takes [`TIMES`] ×
/// [`PROBE_INTERVAL`].
pub(super) async fn probe(announcements: &[Announcement], facts: &Facts) -> Vec<Conflict> {
    probe_times(TIMES, announcements, facts).await
}

/// As [`probe`], with this many probes for each.
pub(super) async fn probe_times(
    times: u32,
    announcements: &[Announcement],
    facts: &Facts,
) -> Vec<Conflict> {
    let own: Vec<[u8; 6]> = facts.links.iter().filter_map(|link| link.mac).collect();
    let mut probes = JoinSet::new();
    for (neighbour_socket, link, addresses) in neighbour_sockets(announcements, facts) {
        let asker = |address| asker(facts, link.index, address);
        let question = |address| ConflictProbe { address, asker: asker(address) };
        let questions = addresses.into_iter().map(question).collect();
        probes.spawn(probe_link(times, neighbour_socket, link.name, questions, own.clone()));
    }
    let mut conflicts = probes.join_all().await.concat();
    conflicts.sort_by(|a, b| (a.address, &a.link).cmp(&(b.address, &b.link)));
    conflicts
}

/// Announces one address once, to defend it.
pub(super) fn defend(one: &Announcement, facts: &Facts) {
    for (neighbour_socket, link, _) in neighbour_sockets(std::slice::from_ref(one), facts) {
        if let Err(error) = neighbour_socket.announce(one.address) {
            let (address, link) = (one.address, link.name.as_str());
            warn!(address:% = address, link; "cannot announce {address} on {link}: {error}");
        }
    }
}

/// Announces every address on every interface: once now, then from a task, which the caller ends
/// when the addresses are withdrawn.
pub(super) fn announce(announcements: &[Announcement], facts: &Facts) -> JoinHandle<()> {
    let neighbour_sockets = neighbour_sockets(announcements, facts);
    let announce_all = move || {
        for (neighbour_socket, link, addresses) in &neighbour_sockets {
            for address in addresses {
                if let Err(error) = neighbour_socket.announce(*address) {
                    let link = link.name.as_str();
                    warn!(
                        address:% = address, link;
                        "cannot announce {address} on {link}: {error}"
                    );
                }
            }
        }
    };
    announce_all();
    tokio::spawn(async move {
        for _ in 1..TIMES {
            tokio::time::sleep(ANNOUNCE_INTERVAL).await;
            announce_all();
        }
    })
}

async fn probe_link(
    times: u32,
    neighbour_socket: NeighbourSocket,
    link: String,
    questions: Vec<ConflictProbe>,
    own: Vec<[u8; 6]>,
) -> Vec<Conflict> {
    let mut conflicts: Vec<Conflict> = Vec::new();
    for question in &questions {
        neighbour_socket.listen(question.address);
    }
    for _ in 0..times {
        for ConflictProbe { address, asker } in &questions {
            if let Err(error) = neighbour_socket.ask(*address, *asker) {
                let link = link.as_str();
                warn!(address:% = address, link; "cannot probe for {address} on {link}: {error}");
                return conflicts;
            }
        }
        let end = sleep_until(Instant::now() + PROBE_INTERVAL);
        tokio::pin!(end);
        loop {
            let message = tokio::select! {
                () = &mut end => break,
                message = neighbour_socket.receive() => message,
            };
            let Ok(message) = message else { break };
            // Two interfaces of this host in one network receive each other's packets.
            if own.contains(&message.mac()) {
                continue;
            }
            let addresses = questions.iter().map(|question| question.address);
            for address in addresses.filter(|address| message.conflicts(*address)) {
                let conflict = Conflict { link: link.clone(), address, mac: message.mac() };
                if !conflicts.contains(&conflict) {
                    conflicts.push(conflict);
                }
            }
        }
    }
    conflicts
}

/// The sockets by interface and family, with their addresses.
fn neighbour_sockets(
    announcements: &[Announcement],
    facts: &Facts,
) -> Vec<(NeighbourSocket, Link, Vec<IpAddr>)> {
    let mut grouped: BTreeMap<(&str, Family), Vec<IpAddr>> = BTreeMap::new();
    for Announcement { link, address } in announcements {
        grouped.entry((link, Family::of(*address))).or_default().push(*address);
    }
    let neighbour_socket = |((name, family), addresses): ((&str, Family), Vec<IpAddr>)| {
        let link = facts.link(name)?.clone();
        let neighbour_socket = NeighbourSocket::open(&link, family)?;
        let neighbour_socket = neighbour_socket.inspect_err(|error| {
            warn!(
                link = name;
                "cannot speak to the neighbours on {name}: {error}; no {} address is announced \
                 there",
                family.name()
            );
        });
        Some((neighbour_socket.ok()?, link, addresses))
    };
    grouped.into_iter().filter_map(neighbour_socket).collect()
}
