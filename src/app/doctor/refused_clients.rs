//! Asks a director's kernel for the routes of clients' packets: of clients that the director knows,
//! of a host on the internet, and of networks that routes or routing rules refuse.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::app::host::reply_lookup;
use crate::app::host::survey::{self, Survey};
use crate::app::operator::daemon::Daemon;
use crate::control::{Connections, Request, Which};
use crate::doctor::{ClientSeen, DirectorFacts, RefusedClient, SourceRefusal};
use crate::host::capture::RouteQuestion;
use crate::host::{Family, PROTOCOL, replies};

/// The most networks that are looked at.
const MOST: usize = 32;

/// Adds the clients whose packets do not get from the uplinks into the TUN. Where no packets do,
/// another finding says so.
///
/// # Errors
/// There is no netlink, or the daemon does not answer.
pub(super) async fn add(
    facts: &mut DirectorFacts,
    survey: &Survey,
    daemon: &mut Daemon,
) -> anyhow::Result<()> {
    let all = facts.host.iter().any(|fault| matches!(fault.what.as_str(), "capture" | "uplink"));
    let Some(plan) = survey.plan.as_ref().filter(|_| !all) else { return Ok(()) };
    let routes = reply_lookup::dropping(None).await?;
    let rules = survey.facts.rules.iter().filter(|rule| {
        let partial = rule.only.mark || rule.only.other;
        rule.table.is_none() && !rule.only.idle && !partial && rule.protocol != PROTOCOL
    });
    let rules: Vec<_> = rules.collect();
    let networks = routes.iter().map(|route| route.net);
    let networks = networks.chain(rules.iter().filter_map(|rule| rule.from));
    let mut clients: Vec<(IpAddr, ClientSeen)> = Vec::new();
    for net in networks.take(MOST) {
        clients.push(match connected(net, daemon)? {
            Some(client) => (client, ClientSeen::Connected),
            None => (net.hosts().next().unwrap_or_else(|| net.addr()), ClientSeen::Possible),
        });
    }
    let uplinks = || plan.uplinks.iter().filter_map(|name| survey.facts.link(name));
    for family in Family::BOTH {
        let of_family = |vip: &&IpAddr| Family::of(**vip) == family;
        let Some(&vip) = plan.captured.iter().find(of_family) else { continue };
        let far = (replies::far(vip), ClientSeen::Far);
        let own = clients.iter().filter(|(client, _)| Family::of(*client) == family);
        for &(client, seen) in own.chain([&far]) {
            for uplink in uplinks().filter(|link| link.up) {
                let question = RouteQuestion { vip, from: client, uplink: uplink.index };
                if survey::arrives_at(question, &facts.tun, &survey.facts).await? {
                    continue;
                }
                let rule = rules.iter().find(|rule| {
                    rule.family == family && rule.from.is_some_and(|net| net.contains(&client))
                });
                let Some(why) = why(client, rule.map(|rule| rule.priority)).await? else {
                    continue;
                };
                let uplink = uplink.name.clone();
                facts.refused_clients.push(RefusedClient { vip, uplink, client, seen, why });
            }
        }
    }
    Ok(())
}

/// A client in this network of which the director has a connection.
fn connected(net: IpNet, daemon: &mut Daemon) -> anyhow::Result<Option<IpAddr>> {
    let which = Which { client: Some(net.to_string()), ..Which::default() };
    let page: Connections =
        daemon.exchange_anew(&Request::Connections { limit: Some(1), which })?;
    Ok(page.connections.first().map(|one| one.client.ip()))
}

/// Why packets of a client are dropped; `None`: its route back is not the reason.
async fn why(client: IpAddr, rule: Option<u32>) -> anyhow::Result<Option<SourceRefusal>> {
    if let Some(rule) = rule {
        return Ok(Some(SourceRefusal::Rule(rule)));
    }
    let Some(kind) = reply_lookup::refusal(client).await? else { return Ok(None) };
    Ok(Some(match reply_lookup::refusing(client, kind, None).await? {
        Some((net, table)) => {
            let table = if table == MAIN { String::new() } else { format!(" table {table}") };
            SourceRefusal::Route { kind, net, table }
        }
        None => SourceRefusal::NoRoute,
    }))
}

/// The main table, which `ip route` need not be told.
const MAIN: u32 = 254;
