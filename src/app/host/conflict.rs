//! Does another host have the address? Then: announcing that we have it.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use log::warn;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::host::{Announcement, Facts, Link};
use crate::sys::arp::Arp;

/// Probes and announcements sent for each address. RFC 5227 1.1 has three and two; three of each survive a switch
/// port that is slow to forward.
const TIMES: u32 = 3;
/// Between probes. RFC 5227 waits one to two seconds; a start-up of seven seconds is not worth the rest of the
/// certainty.
const PROBE_INTERVAL: Duration = Duration::from_millis(200);
/// Between announcements (RFC 5227 1.1, `ANNOUNCE_INTERVAL` is two seconds).
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(1);

/// Another host that has a virtual IP.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Conflict {
    link: String,
    address: Ipv4Addr,
    mac: [u8; 6],
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.mac;
        write!(
            f,
            "another host answers ARP for virtual IP {} on {}: {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}",
            self.address, self.link
        )
    }
}

/// What is asked about one address.
#[derive(Clone, Copy, Debug)]
struct Question {
    address: Ipv4Addr,
    /// An address of the interface's own, to ask in the name of: another director answers as a proxy, and a proxy
    /// answers no probe.
    asker: Option<Ipv4Addr>,
}

impl Question {
    fn send(self, arp: &Arp) -> io::Result<()> {
        arp.probe(self.address)?;
        self.asker.map_or(Ok(()), |asker| arp.ask(asker, self.address))
    }
}

/// Probes for every address on every interface, all at the same time; takes [`TIMES`] × [`PROBE_INTERVAL`].
pub(super) async fn probe(announcements: &[Announcement], facts: &Facts) -> Vec<Conflict> {
    let own: Vec<[u8; 6]> = facts.links.iter().filter_map(|link| link.mac).collect();
    let mut probes = JoinSet::new();
    for (link, addresses) in by_link(announcements, facts) {
        if let Some(arp) = open(&link) {
            let asker = |address| asker(facts, link.index, address);
            let question = |address| Question { address, asker: asker(address) };
            let questions = addresses.into_iter().map(question).collect();
            probes.spawn(probe_link(arp, link.name, questions, own.clone()));
        }
    }
    let mut conflicts = probes.join_all().await.concat();
    conflicts.sort_by(|a, b| (a.address, &a.link).cmp(&(b.address, &b.link)));
    conflicts
}

/// Announces every address on every interface: once at once, then from a task of its own, which the caller ends
/// when the addresses are withdrawn.
pub(super) fn announce(announcements: &[Announcement], facts: &Facts) -> JoinHandle<()> {
    let sockets: Vec<(Arp, String, Vec<Ipv4Addr>)> = by_link(announcements, facts)
        .into_iter()
        .filter_map(|(link, addresses)| Some((open(&link)?, link.name, addresses)))
        .collect();
    let say = move || {
        for (arp, link, addresses) in &sockets {
            for address in addresses {
                if let Err(error) = arp.announce(*address) {
                    warn!("cannot announce {address} on {link}: {error}");
                }
            }
        }
    };
    say();
    tokio::spawn(async move {
        for _ in 1..TIMES {
            tokio::time::sleep(ANNOUNCE_INTERVAL).await;
            say();
        }
    })
}

async fn probe_link(
    arp: Arp,
    link: String,
    questions: Vec<Question>,
    own: Vec<[u8; 6]>,
) -> Vec<Conflict> {
    let mut conflicts: Vec<Conflict> = Vec::new();
    for _ in 0..TIMES {
        for question in &questions {
            if let Err(error) = question.send(&arp) {
                warn!("cannot probe for {} on {link}: {error}", question.address);
                return conflicts;
            }
        }
        let end = sleep_until(Instant::now() + PROBE_INTERVAL);
        tokio::pin!(end);
        loop {
            let heard = tokio::select! {
                () = &mut end => break,
                heard = arp.heard() => heard,
            };
            let Ok(heard) = heard else { break };
            // Two of our interfaces in one network hear each other.
            if own.contains(&heard.mac) {
                continue;
            }
            let addresses = questions.iter().map(|question| question.address);
            for address in addresses.filter(|address| heard.conflicts(*address)) {
                let conflict = Conflict { link: link.clone(), address, mac: heard.mac };
                if !conflicts.contains(&conflict) {
                    conflicts.push(conflict);
                }
            }
        }
    }
    conflicts
}

/// The interface's own address to ask in the name of: one in the subnet asked about where there is one, since a strict
/// reverse path filter on the other host refuses others.
fn asker(facts: &Facts, link: u32, wanted: Ipv4Addr) -> Option<Ipv4Addr> {
    let wanted = IpAddr::V4(wanted);
    let own = facts.addresses.iter().filter(|own| own.link == link && own.address.is_ipv4());
    let best = own.max_by_key(|own| own.subnet.contains(&wanted))?;
    match best.address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

fn by_link(announcements: &[Announcement], facts: &Facts) -> Vec<(Link, Vec<Ipv4Addr>)> {
    let mut grouped: BTreeMap<&str, Vec<Ipv4Addr>> = BTreeMap::new();
    for announcement in announcements {
        let addresses = grouped.entry(&announcement.link).or_default();
        // IPv6 has neighbour discovery instead.
        if let IpAddr::V4(address) = announcement.address {
            addresses.push(address);
        }
    }
    grouped
        .into_iter()
        .filter_map(|(name, addresses)| Some((facts.link(name)?.clone(), addresses)))
        .collect()
}

fn open(link: &Link) -> Option<Arp> {
    let mac = link.mac?;
    Arp::open(link.index, mac)
        .inspect_err(|error| {
            warn!("cannot speak ARP on {}: {error}; addresses are not announced there", link.name);
        })
        .ok()
}
