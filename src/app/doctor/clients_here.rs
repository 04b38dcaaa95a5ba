//! What a real server's own sockets and TUN show: where programs listen, which clients wait, which
//! ports get packets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use log::debug;

use super::next_hops;
use crate::app::host::reply_lookup::{self, ReplyLookup};
use crate::app::host::survey;
use crate::app::listeners::{ListenerSum, kind};
use crate::doctor::inquiry::ListenerKinds;
use crate::doctor::{
    Listening, RealServerFacts, ReplyRoute, ReplyTable, ReplyTo, RouteResult, needs_traffic,
};
use crate::host::replies::{self, Reply};
use crate::host::{Facts, Family, PROTOCOL, Rule};
use crate::sys::sock_diag::{ClientConnection, bound_sockets, client_connections};
use crate::sys::tun_packets::TunPackets;
use crate::wire::{Packet, Transport, protocol};

/// The most clients whose replies' routes are looked up, of those that wait and of the others.
const MOST_CLIENTS: usize = 32;

/// How long packets out of the TUN are looked at: health checks come every few seconds.
const LISTENED: Duration = Duration::from_secs(3);

/// More than the longest packet.
const ROOM: usize = 65_600;

/// Adds the programs' sockets, and the routes of replies to their clients.
pub(super) async fn look(facts: &mut RealServerFacts, host: &Facts) -> anyhow::Result<()> {
    let tun = host.link(&facts.tun).map(|link| link.index);
    let mut connections = Vec::new();
    client_connections(|one| {
        if facts.vips.contains(&one.address) && host.owners(one.client).next().is_none() {
            connections.push(one);
        }
    })?;
    facts.listening = listening(&facts.vips, tun, &connections)?;
    let own = host.rules.iter().find(|rule| {
        let of_vip = |vip: &IpAddr| rule.from == Some((*vip).into());
        rule.protocol == PROTOCOL && facts.vips.iter().any(of_vip)
    });
    facts.reply_table =
        own.and_then(|rule| Some(ReplyTable { table: rule.table?, priority: rule.priority }));
    facts.reply_routes = routes(facts, host, &connections).await?;
    facts.silent_neighbours = silent_neighbours(&facts.reply_routes, ReplyTo::Waiting).await?;
    // A route that drops is more exact than that there is none.
    facts.no_reply_route.retain(|vip| {
        let of_vip = |route: &&ReplyRoute| route.vip == *vip && route.to == ReplyTo::Far;
        !facts.reply_routes.iter().any(|route| of_vip(&route))
    });
    Ok(())
}

fn listening(
    vips: &[IpAddr],
    tun: Option<u32>,
    connections: &[ClientConnection],
) -> std::io::Result<Vec<Listening>> {
    let mut found: BTreeMap<(IpAddr, u8, u16), ListenerSum> = BTreeMap::new();
    bound_sockets(|bound| {
        for &vip in vips {
            let kind = kind(&bound, vip, tun);
            if kind == Some(ListenerKinds::VIP) || kind == Some(ListenerKinds::WILDCARD) {
                let number = if bound.udp { protocol::UDP } else { protocol::TCP };
                let sum = found.entry((vip, number, bound.port)).or_default();
                kind.into_iter().for_each(|kind| sum.add(kind, bound.full));
            }
        }
    })?;
    let passes = |vip, number, port| {
        number == protocol::TCP
            && connections.iter().any(|one| one.answered && (one.address, one.port) == (vip, port))
    };
    let all = found.into_iter().map(|((vip, protocol, port), sum)| {
        let (passes, kinds) = (passes(vip, protocol, port), sum.kinds());
        let (own, full) = (kinds.has(ListenerKinds::VIP), kinds.has(ListenerKinds::FULL));
        Listening { vip, protocol, port, own, used: false, passes, full }
    });
    Ok(all.collect())
}

/// The routes of replies to clients, and to a host on the internet.
async fn routes(
    facts: &RealServerFacts,
    host: &Facts,
    connections: &[ClientConnection],
) -> anyhow::Result<Vec<ReplyRoute>> {
    let mut asked: BTreeMap<(ReplyTo, IpAddr, IpAddr), Reply> = BTreeMap::new();
    let mut ask = |to, vip, client| {
        let known = asked.keys().filter(|(known, ..)| *known == to).count();
        if known < MOST_CLIENTS {
            asked.insert((to, vip, client), Reply { vip, to: client });
        }
    };
    for one in connections {
        // A director's own probes say nothing about clients.
        let director = facts.directors.iter().any(|net| net.contains(&one.client));
        if one.open && !director {
            ask(ReplyTo::Answering, one.address, one.client);
        }
        // The first SYN-ACK may be on its way.
        if !one.answered && one.repeated > 0 {
            ask(ReplyTo::Waiting, one.address, one.client);
        }
    }
    for &vip in facts.vips.iter().filter(|vip| host.owners(**vip).next().is_some()) {
        ask(ReplyTo::Far, vip, replies::far(vip));
    }
    let mut found = looked_up(asked.into_iter().collect(), facts, host).await?;
    // Without any route, another finding says so.
    let nowhere = |result: &RouteResult| {
        matches!(result, RouteResult::Refused { route: None, rule: None, .. })
    };
    found.retain(|route| route.to != ReplyTo::Far || !nowhere(&route.result));
    Ok(found)
}

/// The clients of this sort that this host takes for neighbours and that do not answer, each with
/// the router of other clients.
async fn silent_neighbours(
    routes: &[ReplyRoute],
    to: ReplyTo,
) -> anyhow::Result<BTreeMap<IpAddr, Option<IpAddr>>> {
    let on_link = |route: &&ReplyRoute| {
        let near = matches!(route.result, RouteResult::Link { router: false, .. });
        near && route.to == to
    };
    let near: Vec<&ReplyRoute> = routes.iter().filter(on_link).collect();
    if near.is_empty() {
        return Ok(BTreeMap::new());
    }
    let asked = near.iter().flat_map(|route| [route.client, replies::far(route.vip)]);
    let hops = survey::next_hops(&asked.collect::<Vec<_>>()).await?;
    let hop = |to: IpAddr| hops.iter().find(|found| found.to == to);
    let silent = near.iter().filter(|route| {
        let entry = hop(route.client).and_then(|found| found.entry.as_ref());
        entry.is_some_and(|(state, _)| next_hops::is_silent(*state))
    });
    let with_router = silent.map(|route| {
        let far = replies::far(route.vip);
        (route.client, hop(far).map(|found| found.hop).filter(|router| *router != far))
    });
    Ok(with_router.collect())
}

/// The kernel's routes of these replies.
async fn looked_up(
    asked: Vec<((ReplyTo, IpAddr, IpAddr), Reply)>,
    facts: &RealServerFacts,
    host: &Facts,
) -> anyhow::Result<Vec<ReplyRoute>> {
    let answers =
        reply_lookup::reply_routes(asked.iter().map(|(_, reply)| *reply).collect()).await?;
    let mut found = Vec::new();
    for ((to, vip, client), reply) in asked {
        let Some((_, lookup)) = answers.iter().find(|(known, _)| *known == reply) else { continue };
        if let Some(result) = result(*lookup, client, vip, host, facts.reply_table).await? {
            found.push(ReplyRoute { vip, client, to, result });
        }
    }
    Ok(found)
}

/// The routing rules that refuse packets.
fn refusing_rules(host: &Facts) -> impl Iterator<Item = &Rule> {
    host.rules.iter().filter(|rule| {
        let partial = rule.only.mark || rule.only.other;
        rule.table.is_none() && !rule.only.idle && !partial && rule.protocol != PROTOCOL
    })
}

/// The networks that routes or routing rules refuse, and hosts that do not answer as neighbours, at
/// most [`MOST_CLIENTS`] of each.
///
/// # Errors
/// There is no netlink.
pub(super) async fn refused_networks(
    facts: &RealServerFacts,
    host: &Facts,
) -> anyhow::Result<Vec<IpNet>> {
    let routes = reply_lookup::dropping(facts.reply_table.map(|own| own.table)).await?;
    let networks = routes.iter().map(|route| route.net);
    let networks = networks.chain(refusing_rules(host).filter_map(|rule| rule.only.to));
    let director = |host: &IpAddr| facts.directors.iter().any(|net| net.contains(host));
    let silent = survey::unanswered_neighbours().await?;
    let silent = silent.into_iter().filter(|host| !director(host)).map(IpNet::from);
    Ok(networks.take(MOST_CLIENTS).chain(silent.take(MOST_CLIENTS)).collect())
}

/// Adds the routes of replies to these networks: to the clients there whose packets come out of the
/// TUN, or to an address of each.
///
/// # Errors
/// There is no netlink.
pub(super) async fn add_refused(
    facts: &mut RealServerFacts,
    host: &Facts,
    networks: &[IpNet],
    sending: &BTreeSet<(IpAddr, IpAddr)>,
) -> anyhow::Result<()> {
    let mut asked = Vec::new();
    for &(vip, client) in sending.iter().take(MOST_CLIENTS) {
        asked.push(((ReplyTo::Sending, vip, client), Reply { vip, to: client }));
    }
    for net in networks {
        let own = facts.vips.iter().find(|vip| {
            vip.is_ipv4() == net.addr().is_ipv4() && host.owners(**vip).next().is_some()
        });
        let Some(&vip) = own else { continue };
        let client = net.hosts().next().unwrap_or_else(|| net.addr());
        asked.push(((ReplyTo::Possible, vip, client), Reply { vip, to: client }));
    }
    let mut found = looked_up(asked, facts, host).await?;
    let silent = silent_neighbours(&found, ReplyTo::Sending).await?;
    found.retain(|route| {
        matches!(route.result, RouteResult::Refused { .. }) || silent.contains_key(&route.client)
    });
    facts.reply_routes.extend(found);
    facts.silent_neighbours.extend(silent);
    Ok(())
}

async fn result(
    lookup: ReplyLookup,
    client: IpAddr,
    vip: IpAddr,
    host: &Facts,
    own: Option<ReplyTable>,
) -> anyhow::Result<Option<RouteResult>> {
    let (link, router, prefix, table) = match lookup {
        ReplyLookup::Link { link, router, prefix, table } => (link, router, prefix, table),
        ReplyLookup::Refused(kind) => {
            let rule = refusing_rules(host)
                .find(|rule| {
                    rule.family == Family::of(vip)
                        && rule.from.is_none_or(|net| net.contains(&vip))
                        && rule.only.to.is_none_or(|net| net.contains(&client))
                })
                .map(|rule| rule.priority);
            let route = match rule {
                Some(_) => None,
                None => reply_lookup::refusing(client, kind, own.map(|own| own.table)).await?,
            };
            return Ok(Some(RouteResult::Refused { kind, route, rule }));
        }
        ReplyLookup::Local => return Ok(None),
    };
    let Some(link) = host.link_at(link) else { return Ok(None) };
    let leads = host.rules.iter().filter(|rule| {
        let before = own.is_none_or(|own| rule.priority <= own.priority);
        let matches = rule.from.is_none_or(|from| from.contains(&vip));
        rule.family == Family::of(vip) && rule.protocol != PROTOCOL && before && matches
    });
    let standard = [254, 253, 255].contains(&table) || own.is_some_and(|own| own.table == table);
    let mut leads = leads.filter(|rule| rule.table == Some(table) && !standard);
    let rule = leads.next().map(|rule| rule.priority);
    let (name, ethernet) = (link.name.clone(), link.arp);
    Ok(Some(RouteResult::Link { link: name, ethernet, router, prefix, table, rule }))
}

/// Notes which ports get packets out of the TUN. Returns the clients in these networks that send
/// any, each with the virtual IP.
pub(super) fn watch(
    facts: &mut RealServerFacts,
    host: &Facts,
    networks: &[IpNet],
) -> BTreeSet<(IpAddr, IpAddr)> {
    let mut traffic =
        TunTraffic { networks, sending: BTreeSet::new(), ports: needs_traffic(facts) };
    if let Some(link) = host.link(&facts.tun)
        && let Err(error) = traffic.note(&mut facts.listening, link.index)
    {
        debug!("cannot look at the packets of {}: {error}", facts.tun);
    }
    traffic.sending
}

/// What packets out of the TUN are looked at for.
struct TunTraffic<'a> {
    networks: &'a [IpNet],
    sending: BTreeSet<(IpAddr, IpAddr)>,
    /// Whether the ports matter.
    ports: bool,
}

impl TunTraffic<'_> {
    fn note(&mut self, listening: &mut [Listening], tun: u32) -> std::io::Result<()> {
        let (mut packets, mut buffer) = (TunPackets::open(tun)?, vec![0; ROOM]);
        let end = Instant::now() + LISTENED;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.is_done(listening) {
                return Ok(());
            }
            let packet =
                packets.next(left, &mut buffer)?.and_then(|bytes| Packet::parse(bytes).ok());
            let Some(packet) = packet else { continue };
            if self.networks.iter().any(|net| net.contains(&packet.source)) {
                self.sending.insert((packet.destination, packet.source));
            }
            let port = match packet.transport {
                Transport::Tcp(header) => header.destination_port,
                Transport::Udp { destination_port, .. } => destination_port,
                _ => continue,
            };
            let key = (packet.destination, packet.protocol, port);
            let of_it = |one: &&mut Listening| (one.vip, one.protocol, one.port) == key;
            listening.iter_mut().filter(of_it).for_each(|one| one.used = true);
        }
    }

    /// Whether further packets would show nothing new.
    fn is_done(&self, listening: &[Listening]) -> bool {
        let has_client = |net: &IpNet| self.sending.iter().any(|(_, client)| net.contains(client));
        let ports = !self.ports || listening.iter().all(|one| one.used);
        ports && (self.sending.len() >= MOST_CLIENTS || self.networks.iter().all(has_client))
    }
}
