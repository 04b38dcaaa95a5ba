//! Observes a director.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use crate::app::config_file;
use crate::app::director::desired;
use crate::app::host::survey::{self, Survey};
use crate::app::operator::daemon::Daemon;
use crate::config;
use crate::control::{
    Checks, DirectorStats, Probed, ProbedPort, Request, ServiceList, Setup, Stats, Wrong,
};
use crate::doctor::{
    Cause, Diagnosis, DirectorFacts, EndFacts, Finding, HostFault, Listened, NeighbourEntry,
    RouteToReal, Severity, Tunnelled, diagnose_director,
};

use super::inquiry::{self, End};
use super::running::RunningServices;
use super::{
    clients, conntrack, fault, firewall, holders, lately, missing, next_hops, problems,
    refused_clients, start,
};
use crate::doctor::inquiry::MAX_PORTS;
use crate::host::ProblemKind;
use crate::model::{Encap, Listen};
use crate::sys::fast_path;
use crate::wire::encap::GuePorts;

/// The most virtual IPs asked about at one real server: its daemon answers 50 inquiries a second.
const MOST_VIPS: usize = 8;

/// The most inquiries in all.
const MOST_ENDS: usize = 2_048;

/// The most inquiries about further virtual IPs, of which ports fail.
const MOST_LATER: usize = 256;

/// The most listens that are checked against the firewall.
const MOST_LISTENS: usize = 1_000;

/// Observes a director whose daemon answers.
pub(super) async fn running(
    mut daemon: Daemon,
    setup: &Setup,
    config: Option<&Path>,
) -> anyhow::Result<Diagnosis> {
    let list: ServiceList = daemon.exchange(&Request::List)?;
    let (tun, program, user) = (setup.tun.clone(), setup.program.clone(), daemon.user());
    let mut facts = DirectorFacts { tun, program, user, ..DirectorFacts::default() };
    facts.host = list.host.wrong.iter().map(reported).collect();
    (facts.services, facts.vips) = (list.services.clone(), list.vips.clone());
    let (mut taken, mut probes_before) = (0, 0);
    if let Stats::Director(stats) = daemon.exchange(&Request::Stats)? {
        facts.carried_at = carried_at(&stats);
        probes_before = stats.packets.probes;
        (facts.fast_path, taken) = (stats.fast_path_state, stats.gue_ports_taken);
    }
    let path = config.or_else(|| setup.config.as_deref().map(Path::new));
    let (mut ends, mut ports) = ((Vec::new(), Vec::new()), GuePorts::default());
    let (mut holding, mut configured) = (None, None);
    let read = path.map(|path| (path, config_file::director(path)));
    match read {
        Some((path, Ok(config))) => {
            let survey = survey::director(&desired(&config, [].into(), false), true).await?;
            let running = RunningServices::of(&list);
            look(&mut facts, &config, &survey);
            facts.listened.retain(|one| running.listens.contains(&one.listen));
            facts.differs = running.differs(&config).map(|what| (path.to_path_buf(), what));
            add_problems(&mut facts, &survey, &running.reals);
            mark(&mut facts, &survey);
            refused_clients::add(&mut facts, &survey, &mut daemon).await?;
            let reals: Vec<IpAddr> = running.reals.iter().copied().collect();
            holding = Some(holders::ask(&reals, &survey));
            (ends, ports) = (ends_of(&config, &survey, &running), config.gue);
            facts.gue_ports_taken = Some((taken, ports.sources));
            configured = Some(config);
        }
        Some((path, Err(refused))) => facts.unseen.push(faulty(path, &refused.to_string())),
        None => {}
    }
    // At the same time as the probes of ports: both wait for other hosts.
    let (first, later) = ends;
    let asking = std::thread::spawn(move || inquiry::ask(&first, ports));
    facts.probed = Some(daemon.exchange_anew::<Probed>(&Request::Probe)?);
    if let Stats::Director(stats) = daemon.exchange_anew(&Request::Stats)? {
        facts.probe_packets = stats.packets.probes.saturating_sub(probes_before);
    }
    facts.duplicates = holding.map(|thread| thread.join().unwrap_or_default()).unwrap_or_default();
    facts.failing = failing(&daemon.exchange_anew(&Request::Checks)?);
    match asking.join() {
        Ok(Ok(ends)) => add_ends(&mut facts, ends, later, ports)?,
        Ok(Err(error)) => facts.unseen.push(unasked(&error.to_string())),
        Err(_) => facts.unseen.push(unasked("it has failed")),
    }
    lately::add(&mut facts, &mut daemon, configured.as_ref())?;
    // After the probes, which make the kernel ask for the next hosts.
    next_hops::add(&mut facts).await?;
    Ok(diagnose_director(&facts))
}

/// Adds the answers of real servers' daemons, and asks further ones of which ports fail.
fn add_ends(
    facts: &mut DirectorFacts,
    mut ends: Vec<EndFacts>,
    later: Vec<End>,
    ports: GuePorts,
) -> anyhow::Result<()> {
    let asked = |end: &End| facts.probed.iter().any(|probed| fails(probed, end));
    let more: Vec<End> = later.into_iter().filter(asked).take(MOST_LATER).collect();
    if !more.is_empty() {
        ends.extend(inquiry::ask(&more, ports)?);
    }
    facts.ends = Some(ends);
    Ok(())
}

/// Where the kernel carries connections, if it does.
fn carried_at(stats: &DirectorStats) -> Option<Vec<String>> {
    if !stats.fast_path {
        return None;
    }
    let links = fast_path::attached().unwrap_or_default();
    Some(if links.is_empty() { vec!["the uplinks".to_owned()] } else { links })
}

/// Observes a director whose daemon does not run.
pub(super) async fn stopped(why: &anyhow::Error, path: &Path) -> anyhow::Result<Diagnosis> {
    let config = config_file::director(path)?;
    let mut facts = DirectorFacts {
        tun: config.tun.clone(),
        daemon: Some((missing(why), "vstun-director".to_owned())),
        ..DirectorFacts::default()
    };
    let survey = survey::director(&desired(&config, [].into(), false), false).await?;
    facts.host = problems(&survey);
    look(&mut facts, &config, &survey);
    Ok(diagnose_director(&facts))
}

/// Adds the facts that do not depend on a running daemon.
fn look(facts: &mut DirectorFacts, config: &config::Director, survey: &Survey) {
    let (ruleset, unseen) = firewall::read();
    facts.conntrack = conntrack();
    facts.ruleset = ruleset;
    facts.unseen.extend(unseen);
    let down = survey.facts.links.iter().filter(|link| !link.up || !link.carrier);
    facts.down = down
        .map(|link| {
            let own = survey.facts.addresses.iter().filter(|one| one.link == link.index);
            (link.name.clone(), own.map(|one| one.address).collect())
        })
        .collect();
    let links = survey.facts.links.iter().map(|link| link.name.clone());
    facts.bridges = links.filter(|name| is_bridge(name)).collect();
    let Some(plan) = &survey.plan else { return };
    let listens = config.specs().flat_map(|service| service.listens.iter());
    facts.listened = listens
        .flat_map(|listen| plan.uplinks.iter().map(|uplink| (*listen, uplink.clone())))
        .take(MOST_LISTENS)
        .map(|(listen, uplink)| Listened { listen, uplink })
        .collect();
    let used = |real: IpAddr| {
        let all = config.specs().flat_map(|service| service.reals.iter());
        let encaps: BTreeSet<Encap> =
            all.filter(|one| one.address == real).map(|one| one.values.encap).collect();
        let gue_port = config.gue.destination;
        encaps.into_iter().map(|encap| Tunnelled { encap, gue_port }).collect()
    };
    facts.routes = config.reals().into_iter().map(|real| route(real, used(real), survey)).collect();
}

/// Whether the interface is a bridge of the kernel.
fn is_bridge(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).join("bridge").is_dir()
}

/// Adds the captures that fail now and the settings that explain it, and what keeps packets from
/// these real servers. The daemon may report it only in a moment, or later: a new IPsec policy is
/// no event.
fn add_problems(facts: &mut DirectorFacts, survey: &Survey, reals: &BTreeSet<IpAddr>) {
    let of_kind = |kind| survey.problems.iter().filter(move |problem| problem.kind == kind);
    let mut now: Vec<HostFault> = of_kind(ProblemKind::Capture).map(fault).collect();
    let reported = facts.host.iter().any(|known| known.what == "step");
    if !now.is_empty() && !reported {
        now.extend(start::drifted(survey));
    }
    let routed = of_kind(ProblemKind::RealServer).map(fault);
    now.extend(routed.filter(|one| one.address.is_some_and(|real| reals.contains(&real))));
    for problem in now {
        let same =
            |known: &HostFault| (&known.what, known.address) == (&problem.what, problem.address);
        if problem.what == "step" || !facts.host.iter().any(same) {
            facts.host.push(problem);
        }
    }
}

/// Sends marked packets from the uplinks to the TUN.
fn mark(facts: &mut DirectorFacts, survey: &Survey) {
    let Some(ruleset) = &facts.ruleset else { return };
    match clients::send(&facts.listened, &facts.tun, survey, ruleset) {
        Ok(marked) => facts.marked = marked,
        Err(why) => facts.unmarked = Some(why.to_string()),
    }
}

/// Whether a port of this end's virtual IP does not answer there.
fn fails(probed: &Probed, end: &End) -> bool {
    let is_of = |port: &&ProbedPort| (port.address, port.destination.ip()) == (end.real, end.vip);
    probed.ports.iter().filter(is_of).any(|port| !port.passed)
}

/// The tunnels for inquiries: for each real server its virtual IPs. First those that are asked at
/// once, then those of which ports must fail.
fn ends_of(
    config: &config::Director,
    survey: &Survey,
    running: &RunningServices,
) -> (Vec<End>, Vec<End>) {
    let mut ends: BTreeMap<(IpAddr, IpAddr, Encap), Vec<Listen>> = BTreeMap::new();
    for service in config.specs() {
        let reals = service.reals.iter().map(|real| (real.address, real.values.encap));
        for (real, encap) in reals.filter(|(real, _)| running.reals.contains(real)) {
            for listen in service.listens.iter().filter(|one| running.listens.contains(one)) {
                let known = ends.entry((real, listen.address, encap)).or_default();
                if !known.contains(listen) && known.len() < MAX_PORTS {
                    known.push(*listen);
                }
            }
        }
    }
    let mut asked: BTreeMap<IpAddr, usize> = BTreeMap::new();
    let tunnelled = |encap| Tunnelled { encap, gue_port: config.gue.destination };
    let all = ends.into_iter().filter_map(|((real, vip, encap), listens)| {
        end((real, tunnelled(encap)), vip, listens, survey)
    });
    let (mut first, later): (Vec<End>, Vec<End>) = all.partition(|end| {
        let count = asked.entry(end.real).or_default();
        *count += 1;
        *count <= MOST_VIPS
    });
    first.truncate(MOST_ENDS);
    (first, later)
}

fn end(
    (real, tunnelled): (IpAddr, Tunnelled),
    vip: IpAddr,
    listens: Vec<Listen>,
    survey: &Survey,
) -> Option<End> {
    let lookup = survey.facts.lookups.get(&real)?;
    let link = survey.facts.link_at(lookup.link?)?;
    let source = route(real, Vec::new(), survey).source?;
    let mtu = lookup.mtu.unwrap_or(link.mtu).min(link.mtu);
    let (asker, mtu) = (asker(vip, source, survey)?, usize::try_from(mtu).ok()?);
    Some(End { real, source, asker, vip, listens, mtu, tunnelled })
}

/// An address of this host of the virtual IP's family: the tunnel's own, if it is one.
fn asker(vip: IpAddr, source: IpAddr, survey: &Survey) -> Option<IpAddr> {
    if source.is_ipv4() == vip.is_ipv4() {
        return Some(source);
    }
    let mut own = survey.facts.addresses.iter().filter(|own| {
        let loopback = survey.facts.link_at(own.link).is_none_or(|link| link.loopback);
        let link_local = matches!(own.address, IpAddr::V6(own) if own.is_unicast_link_local());
        own.address.is_ipv4() == vip.is_ipv4() && !loopback && !link_local && !own.tentative
    });
    own.next().map(|own| own.address)
}

fn unasked(why: &str) -> Finding {
    let text = "the daemons of the real servers could not be asked";
    Finding::new(Cause::Tunnel, Severity::Note, text).seen(why).mended_by("sudo vstun doctor")
}

fn route(real: IpAddr, tunnelled: Vec<Tunnelled>, survey: &Survey) -> RouteToReal {
    let lookup = survey.facts.lookups.get(&real);
    let link = lookup.and_then(|lookup| survey.facts.link_at(lookup.link?));
    let planned =
        survey.plan.as_ref().and_then(|plan| plan.tunnel_routes.sources.get(&real).copied());
    let usual = lookup.and_then(|lookup| lookup.source);
    let of_link = link.and_then(|link| masqueraded(real, link.index, survey));
    RouteToReal {
        real,
        source: planned.or(usual),
        // IPv6 chooses by the destination, as for any packet.
        masqueraded: if real.is_ipv4() { of_link } else { usual },
        link: link.map(|link| link.name.clone()),
        tunnelled,
        next: None,
        neighbour: NeighbourEntry::Unknown,
    }
}

/// The address of a link that masquerading takes: the first one in the next hop's network, else the
/// first one (`inet_select_addr`).
fn masqueraded(real: IpAddr, link: u32, survey: &Survey) -> Option<IpAddr> {
    let own = || {
        let all = survey.facts.addresses.iter();
        all.filter(move |own| own.link == link && own.address.is_ipv4() == real.is_ipv4())
    };
    own().find(|own| own.subnet.contains(&real)).or_else(|| own().next()).map(|own| own.address)
}

fn reported(wrong: &Wrong) -> HostFault {
    let Wrong { what, address, since, text, .. } = wrong.clone();
    HostFault { what, address, text, since, prevents_start: false }
}

fn faulty(path: &Path, why: &str) -> Finding {
    let text = format!("{} cannot be read as the director's configuration", path.display());
    Finding::new(Cause::Configuration, Severity::Warning, text)
        .seen(why.lines().next().unwrap_or_default())
        .mended_by(format!("vstun-director --config {} --check", path.display()))
}

/// The configured checks whose last result is a failure.
fn failing(checks: &Checks) -> Vec<(IpAddr, String, String)> {
    let failed = checks.checks.iter().filter_map(|check| {
        let last = check.results.first().filter(|last| !last.passed)?;
        Some((check.address.parse().ok()?, check.check.clone(), last.detail.clone()))
    });
    failed.collect()
}
