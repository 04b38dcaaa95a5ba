//! Observes a director.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use crate::app::config_file;
use crate::app::director::desired;
use crate::app::host::survey::{self, Survey};
use crate::app::operator::daemon::Daemon;
use crate::config;
use crate::control::{Checks, DirectorStats, Probed, Request, ServiceList, Setup, Stats, Wrong};
use crate::doctor::{
    Cause, Diagnosis, DirectorFacts, Finding, HostFault, Listened, RouteToReal, Severity,
    Tunnelled, diagnose_director,
};

use super::inquiry::{self, End};
use super::{clients, fault, firewall, missing, problems, start};
use crate::doctor::inquiry::MAX_PORTS;
use crate::host::ProblemKind;
use crate::model::{Encap, Listen};
use crate::sys::fast_path;
use crate::wire::encap::GuePorts;

/// The most virtual IPs asked about at one real server: its daemon answers 50 inquiries a second.
const MOST_VIPS: usize = 8;

/// The most inquiries in all.
const MOST_ENDS: usize = 2_048;

/// The most listens that are checked against the firewall.
const MOST_LISTENS: usize = 1_000;

/// Observes a director whose daemon answers.
pub(super) async fn running(
    mut daemon: Daemon,
    setup: &Setup,
    config: Option<&Path>,
) -> anyhow::Result<Diagnosis> {
    let list: ServiceList = daemon.exchange(&Request::List)?;
    let (tun, program) = (setup.tun.clone(), setup.program.clone());
    let mut facts = DirectorFacts { tun, program, ..DirectorFacts::default() };
    facts.host = list.host.wrong.iter().map(reported).collect();
    (facts.services, facts.vips) = (list.services.clone(), list.vips.clone());
    let mut taken = 0;
    if let Stats::Director(stats) = daemon.exchange(&Request::Stats)? {
        facts.carried_at = carried_at(&stats);
        (facts.fast_path, taken) = (stats.fast_path_state, stats.gue_ports_taken);
    }
    let path = config.or_else(|| setup.config.as_deref().map(Path::new));
    let (mut ends, mut ports) = (Vec::new(), GuePorts::default());
    let read = path.map(|path| (path, config_file::director(path)));
    match read {
        Some((_, Ok(config))) => {
            let survey = survey::director(&desired(&config, [].into(), false), true).await?;
            look(&mut facts, &config, &survey);
            add_captures(&mut facts, &survey);
            mark(&mut facts, &survey);
            (ends, ports) = (ends_of(&config, &survey, &list), config.gue);
            facts.gue_ports_taken = Some((taken, ports.sources));
        }
        Some((path, Err(refused))) => facts.unseen.push(faulty(path, &refused.to_string())),
        None => {}
    }
    daemon.reconnect()?;
    // At the same time as the probes of ports: both wait for other hosts.
    let asking = std::thread::spawn(move || inquiry::ask(&ends, ports));
    facts.probed = Some(daemon.exchange::<Probed>(&Request::Probe)?);
    // Immediately, since a daemon closes a connection that is idle for seconds.
    facts.failing = failing(&daemon.exchange(&Request::Checks)?);
    match asking.join() {
        Ok(Ok(ends)) => facts.ends = Some(ends),
        Ok(Err(error)) => facts.unseen.push(unasked(&error.to_string())),
        Err(_) => facts.unseen.push(unasked("it has failed")),
    }
    Ok(diagnose_director(&facts))
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
    facts.ruleset = ruleset;
    facts.unseen.extend(unseen);
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
    facts.ways = config.reals().into_iter().map(|real| way(real, used(real), survey)).collect();
}

/// Adds the captures that fail now and the settings that explain it, which the daemon may report
/// only in a moment.
fn add_captures(facts: &mut DirectorFacts, survey: &Survey) {
    let captures = survey.problems.iter().filter(|problem| problem.kind == ProblemKind::Capture);
    let mut now: Vec<HostFault> = captures.map(fault).collect();
    let reported = facts.host.iter().any(|known| known.what == "step");
    if !now.is_empty() && !reported {
        now.extend(start::drifted(survey));
    }
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

/// The tunnels for inquiries: for each real server its virtual IPs.
fn ends_of(config: &config::Director, survey: &Survey, list: &ServiceList) -> Vec<End> {
    let running: BTreeSet<&str> = list
        .services
        .iter()
        .flat_map(|service| service.reals.iter().map(|real| real.address.as_str()))
        .collect();
    let mut ends: BTreeMap<(IpAddr, IpAddr, Encap), Vec<Listen>> = BTreeMap::new();
    for service in config.specs() {
        let reals = service.reals.iter().map(|real| (real.address, real.values.encap));
        let known = |real: &IpAddr| running.contains(real.to_string().as_str());
        for (real, encap) in reals.filter(|(real, _)| known(real)) {
            for listen in &service.listens {
                let known = ends.entry((real, listen.address, encap)).or_default();
                if !known.contains(listen) && known.len() < MAX_PORTS {
                    known.push(*listen);
                }
            }
        }
    }
    let mut asked: BTreeMap<IpAddr, usize> = BTreeMap::new();
    let few = ends.into_iter().filter(|((real, ..), _)| {
        let count = asked.entry(*real).or_default();
        *count += 1;
        *count <= MOST_VIPS
    });
    let tunnelled = |encap| Tunnelled { encap, gue_port: config.gue.destination };
    few.filter_map(|((real, vip, encap), listens)| {
        end((real, tunnelled(encap)), vip, listens, survey)
    })
    .take(MOST_ENDS)
    .collect()
}

fn end(
    (real, tunnelled): (IpAddr, Tunnelled),
    vip: IpAddr,
    listens: Vec<Listen>,
    survey: &Survey,
) -> Option<End> {
    let lookup = survey.facts.lookups.get(&real)?;
    let link = survey.facts.link_at(lookup.link?)?;
    let source = way(real, Vec::new(), survey).source?;
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

fn way(real: IpAddr, tunnelled: Vec<Tunnelled>, survey: &Survey) -> RouteToReal {
    let lookup = survey.facts.lookups.get(&real);
    let link = lookup.and_then(|lookup| survey.facts.link_at(lookup.link?));
    let planned = survey.plan.as_ref().and_then(|plan| plan.ways.sources.get(&real).copied());
    RouteToReal {
        real,
        source: planned.or_else(|| lookup.and_then(|lookup| lookup.source)),
        link: link.map(|link| link.name.clone()),
        tunnelled,
    }
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
