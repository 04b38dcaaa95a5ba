//! Observes a real server.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;

use super::{clients_here, conntrack, directors_here, fault, firewall, missing, problems};
use crate::app::config_file;
use crate::app::host::reply_lookup;
use crate::app::host::survey::{self, Survey};
use crate::app::operator::daemon::Daemon;
use crate::app::realserver::{RAW_SOCKETS, desired, gue_port};
use crate::control::{FastPathState, RealServerStats, Request, Setup, Stats, Wrong};
use crate::doctor::{
    Cause, Diagnosis, Finding, HostFault, RealServerFacts, Severity, Tunnelled,
    diagnose_realserver, needs_traffic,
};
use crate::host::{DesiredRealServer, SelectiveRule, ipsec};
use crate::sys::raw::Receiver;
use crate::sys::real_path;
use crate::wire::encap::{Encap, gue};

/// The most directors whose routes are looked up.
const MOST_DIRECTORS: usize = 64;

/// Observes a real server whose daemon answers.
pub(super) async fn running(mut daemon: Daemon, setup: &Setup) -> anyhow::Result<Diagnosis> {
    let mut facts = configured_facts(&setup.tun, &setup.vips, &setup.directors);
    let named = |name: &str| Encap::ALL.into_iter().find(|encap| encap.name() == name);
    facts.tunnelled = Tunnelled {
        encap: setup.encap.as_deref().and_then(named).unwrap_or_default(),
        gue_port: setup.gue_port.unwrap_or(gue::PORT),
    };
    if let Stats::RealServer(stats) = daemon.exchange(&Request::Stats)? {
        facts.read = Some(counts(&stats));
        facts.host = stats.host.wrong.iter().map(reported).collect();
        facts.fast_path = stats.fast_path_state.map(observed);
    }
    facts.config = setup.config.clone();
    let desired = DesiredRealServer {
        tun: setup.tun.clone(),
        vips: setup.vips.clone(),
        directors: setup.directors.clone(),
        ..DesiredRealServer::default()
    };
    let survey = survey::realserver_briefly(&desired).await?;
    facts.no_reply_route = survey::without_reply_route(&setup.vips).await?;
    // A new policy is no event, so the daemon sees it only when it looks at the host again.
    for rule in ipsec::at_realserver(&desired, &survey.facts) {
        let SelectiveRule::Leads(problem) = rule else { continue };
        if facts.host.iter().all(|known| known.text != problem.text) {
            facts.host.push(fault(&problem));
        }
    }
    look(&mut facts, &survey).await?;
    let refused = clients_here::refused_networks(&facts, &survey.facts).await?;
    let mut sending = BTreeSet::new();
    if needs_traffic(&facts) || !refused.is_empty() {
        sending = clients_here::watch(&mut facts, &survey.facts, &refused);
    }
    clients_here::add_refused(&mut facts, &survey.facts, &refused, &sending).await?;
    // Again, for what has come meanwhile.
    if let Stats::RealServer(stats) = daemon.exchange_anew(&Request::Stats)? {
        facts.growing =
            facts.read.is_some_and(|before| admitted(counts(&stats)) > admitted(before));
        facts.read = Some(counts(&stats));
        let delivered =
            [(Encap::Ipip, stats.ipip), (Encap::Gre, stats.gre), (Encap::Gue, stats.gue)];
        facts.delivered = delivered.into();
        facts.last = stats.last;
    }
    Ok(diagnose_realserver(&facts))
}

/// Tunnelled packets read, and how many of them came from strangers.
fn counts(stats: &RealServerStats) -> (u64, u64) {
    let strangers = stats.dropped.iter().find(|drop| drop.name == "source");
    (stats.read, strangers.map_or(0, |drop| drop.count))
}

fn admitted((read, strangers): (u64, u64)) -> u64 {
    read.saturating_sub(strangers)
}

/// Observes a real server whose daemon does not run.
pub(super) async fn stopped(why: &anyhow::Error, path: &Path) -> anyhow::Result<Diagnosis> {
    let config = config_file::realserver(path)?;
    let survey = survey::realserver(&desired(&config), false).await?;
    let mut facts = configured_facts(&config.tun, &config.vips, &config.directors);
    facts.tunnelled = Tunnelled { encap: config.encap, gue_port: config.gue_port };
    facts.host = problems(&survey);
    facts.host.extend(closed_sockets(config.gue_port));
    facts.daemon = Some((missing(why), "vstun-realserver".to_owned()));
    look(&mut facts, &survey).await?;
    Ok(diagnose_realserver(&facts))
}

fn configured_facts(tun: &str, vips: &[IpAddr], directors: &[IpNet]) -> RealServerFacts {
    let (tun, vips, directors) = (tun.to_owned(), vips.to_vec(), directors.to_vec());
    RealServerFacts { tun, vips, directors, ..RealServerFacts::default() }
}

/// The sockets that the daemon needs and cannot open.
fn closed_sockets(gue_port: u16) -> Vec<HostFault> {
    let raw = Receiver::open_each().err().map(|error| {
        let text = format!(
            "{RAW_SOCKETS} ({error}): `systemctl show -p CapabilityBoundingSet vstun-realserver` \
             shows what its unit leaves"
        );
        HostFault { what: "raw".to_owned(), text, prevents_start: true, ..HostFault::default() }
    });
    let gue = Receiver::open_gue(gue_port).err();
    let gue = gue.map(|error| fault(&gue_port::problem(gue_port, &error)));
    raw.into_iter().chain(gue).collect()
}

/// Adds the facts that do not depend on a running daemon.
async fn look(facts: &mut RealServerFacts, survey: &Survey) -> anyhow::Result<()> {
    let directors = facts.directors.iter().take(MOST_DIRECTORS);
    // Of a network, a host that is not this one.
    let hosts: Vec<IpAddr> = directors.flat_map(|net| net.hosts().take(3)).collect();
    let links = reply_lookup::links_towards(&hosts).await?;
    // A rule that takes replies elsewhere takes the route to a neighbour too.
    let connected = |host: &IpAddr| {
        let subnets = survey.facts.addresses.iter().filter(|own| own.subnet.contains(host));
        let alone = |net: &IpNet| net.prefix_len() == net.max_prefix_len();
        let subnets = subnets.filter(|own| !alone(&own.subnet));
        subnets.max_by_key(|own| own.subnet.prefix_len()).map(|own| own.link)
    };
    let input = |net: &IpNet| {
        let (host, index) = links.iter().find(|(host, _)| net.contains(host))?;
        let link = survey.facts.link_at(connected(host).unwrap_or(*index))?;
        Some((*net, link.name.clone()))
    };
    facts.inputs = facts.directors.iter().filter_map(input).collect();
    if let Err(error) = clients_here::look(facts, &survey.facts).await {
        let text = "the sockets of this host's programs, and replies to clients, are not looked at";
        let unseen = Finding::new(Cause::Listener, Severity::Note, text);
        facts
            .unseen
            .push(unseen.seen(format!("{error:#}")).mended_by("modprobe tcp_diag udp_diag"));
    }
    let (ruleset, unseen) = firewall::read_all();
    facts.conntrack = conntrack();
    let copies = facts.reply_table.map(|own| own.table);
    let directors = &facts.directors[..facts.directors.len().min(MOST_DIRECTORS)];
    facts.strays = directors_here::strays(directors, &survey.facts, copies).await?;
    facts.lost = directors_here::lost(directors, &survey.facts).await?;
    facts.ruleset = ruleset;
    facts.unseen.extend(unseen);
    let host = &survey.facts;
    let conf = |link: &str, name: &str| host.conf(link, name).max(host.conf("all", name));
    facts.strict = conf(&facts.tun, "rp_filter") == 1;
    let arriving = host.links.iter().filter(|link| link.up && !link.loopback);
    let arriving = arriving.filter(|link| link.name != facts.tun);
    facts.links = arriving.map(|link| link.name.clone()).collect();
    let others = host.links.iter().filter(|link| link.arp && link.name != facts.tun);
    // 1, 2 and 8 keep the kernel from answering for an address of another interface.
    let answers = others.filter(|link| !matches!(conf(&link.name, "arp_ignore"), 1 | 2 | 8));
    facts.answers_arp = answers.map(|link| link.name.clone()).collect();
    Ok(())
}

/// The fast path as the daemon says, without interfaces that the kernel does not have it at.
fn observed(mut state: FastPathState) -> FastPathState {
    if let Ok(attached) = real_path::attached() {
        let (at, gone) = state.at.into_iter().partition(|name| attached.contains(name));
        let gone: Vec<String> = gone;
        state.at = at;
        state.missing.extend(gone.iter().map(|name| format!("{name}: the program was detached")));
    }
    state
}

fn reported(wrong: &Wrong) -> HostFault {
    let Wrong { what, address, since, text, .. } = wrong.clone();
    HostFault { what, address, text, since, prevents_start: false }
}
