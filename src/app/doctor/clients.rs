//! Marked packets like clients', from the uplinks of a director to its TUN.

use std::io;
use std::net::IpAddr;

use super::marked::{ArrivingFrame, MarkedTrace};
use crate::app::host::survey::Survey;
use crate::doctor::Listened;
use crate::doctor::firewall::Ruleset;
use crate::doctor::marked::{
    Ending, Interface, Mark, MarkedClient, MarkedPacket, TraceTables, client_packet, ethernet,
};
use crate::host::Link;
use crate::sys::random;

/// The most listens that are tried; rules alone are evaluated for the others.
const MOST: usize = 64;

/// The most interfaces that are watched for packets that leave.
const MOST_EXITS: usize = 32;

/// The addresses of an uplink's network that are considered as a source.
const MOST_HOSTS: usize = 64;

/// The lowest source port of marked packets, and how many such ports there are.
const PORTS: (u16, u16) = (40_000, 20_000);

/// A listen and the packets for it.
struct ListenTrial<'a> {
    listened: &'a Listened,
    link: &'a Link,
    source: IpAddr,
    /// The number of the first packet; the second one's is larger by one.
    number: u16,
    port: u16,
}

/// Sends a client's first two packets for each listen.
///
/// # Errors
/// No marked packet can be sent here.
pub(super) fn send(
    listened: &[Listened],
    tun: &str,
    survey: &Survey,
    ruleset: &Ruleset,
) -> io::Result<Vec<MarkedClient>> {
    let [random, mark] = random::words::<2>()?;
    let [one, two, three, four, five, ..] = random.to_ne_bytes();
    let most = u16::try_from(MOST).unwrap_or_default();
    let first_port = PORTS.0 + u16::from_ne_bytes([one, two]) % (PORTS.1 - most);
    let attempts = attempts(listened, first_port, survey);
    let links = &survey.facts.links;
    let Some(aim) = links.iter().find(|link| link.name == tun) else { return Ok(Vec::new()) };
    if attempts.is_empty() {
        return Ok(Vec::new());
    }
    let mut entries: Vec<_> = attempts.iter().map(|one| interface(one.link)).collect();
    entries.sort_by_key(|entry| entry.index);
    entries.dedup();
    let others = links.iter().filter(|link| link.arp && link.up && is_plain(&link.name));
    let exits = std::iter::once(aim).chain(others).take(MOST_EXITS);
    let tables = TraceTables {
        name: format!("vstun_doctor_{}", std::process::id()),
        mac: [2, three, four, five],
        mark: Mark(u32::try_from(mark >> 32).unwrap_or_default()),
        entries,
        exits: exits.map(interface).collect(),
        aim: Some(aim.index),
    };
    let mut tracing = MarkedTrace::begin(&tables, ruleset)?;
    let first = send_all(&mut tracing, &tables, &attempts, MarkedPacket::First)?;
    let through: Vec<&ListenTrial<'_>> =
        attempts.iter().filter(|one| first.contains(&(one.number, Ending::Through))).collect();
    let second = send_all(&mut tracing, &tables, through, MarkedPacket::Second)?;
    let ending = |all: &[(u16, Ending)], number| {
        all.iter().find(|(one, _)| *one == number).map(|(_, ending)| ending.clone())
    };
    let clients = attempts.iter().filter_map(|one| {
        Some(MarkedClient {
            listen: one.listened.listen,
            uplink: one.listened.uplink.clone(),
            source: one.source,
            first: ending(&first, one.number)?,
            second: ending(&second, one.number),
            translated: tracing.translated(one.number),
        })
    });
    Ok(clients.collect())
}

/// Sends a packet of this kind of each attempt. Returns the attempts' numbers with the endings.
fn send_all<'a, 't: 'a>(
    tracing: &mut MarkedTrace<'_>,
    tables: &TraceTables,
    attempts: impl IntoIterator<Item = &'a ListenTrial<'t>>,
    kind: MarkedPacket,
) -> io::Result<Vec<(u16, Ending)>> {
    let frames: Vec<(u16, ArrivingFrame)> = attempts
        .into_iter()
        .filter_map(|one| {
            let number = one.number + u16::from(kind == MarkedPacket::Second);
            let packet =
                client_packet(kind, (one.source, one.port), &one.listened.listen, tables.mark)?;
            let bytes = ethernet(one.link.mac?, tables.source(number), &packet);
            Some((one.number, ArrivingFrame { number, entry: one.link.index, bytes }))
        })
        .collect();
    let sent: Vec<ArrivingFrame> = frames.iter().map(|(_, frame)| frame.clone()).collect();
    let endings = tracing.send(&sent)?;
    Ok(frames.iter().map(|(number, _)| *number).zip(endings).collect())
}

/// The listens at uplinks that are Ethernets with an address of the listen's family.
fn attempts<'a>(listened: &'a [Listened], port: u16, survey: &'a Survey) -> Vec<ListenTrial<'a>> {
    let fit = listened.iter().filter_map(|listened| {
        let link = survey.facts.links.iter().find(|link| link.name == listened.uplink)?;
        let usable = link.arp && link.mac.is_some() && is_plain(&link.name);
        let source = usable.then(|| neighbour(link, listened.listen.address, survey))??;
        Some((listened, link, source))
    });
    let numbered = (0_u16..).zip(fit.take(MOST));
    numbered
        .map(|(index, (listened, link, source))| ListenTrial {
            listened,
            link,
            source,
            number: 2 * index,
            port: port + index,
        })
        .collect()
}

/// An address of another host in the uplink's network: packets from there pass every reverse path
/// filter.
fn neighbour(link: &Link, vip: IpAddr, survey: &Survey) -> Option<IpAddr> {
    let own = &survey.facts.addresses;
    let here = own.iter().filter(|one| {
        let link_local = matches!(one.address, IpAddr::V6(six) if six.is_unicast_link_local());
        one.link == link.index && one.address.is_ipv4() == vip.is_ipv4() && !link_local
    });
    here.flat_map(|one| one.subnet.hosts().take(MOST_HOSTS)).find(|host| {
        let vips = survey.plan.iter().flat_map(|plan| &plan.captured);
        own.iter().map(|one| &one.address).chain(vips).all(|taken| taken != host)
    })
}

fn interface(link: &Link) -> Interface {
    Interface { index: link.index, name: link.name.clone() }
}

/// Whether nft takes the name between quotes.
fn is_plain(name: &str) -> bool {
    name.chars().all(|one| one.is_ascii_alphanumeric() || "._-@".contains(one))
}
