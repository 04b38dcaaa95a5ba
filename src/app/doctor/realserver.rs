//! Observes a real server.

use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;

use super::{firewall, missing, problems};
use crate::app::config_file;
use crate::app::host::survey::{self, Survey};
use crate::app::operator::daemon::Daemon;
use crate::app::realserver::desired;
use crate::control::{FastPathState, Request, Setup, Stats, Wrong};
use crate::doctor::{Diagnosis, HostFault, RealServerFacts, Tunnelled, diagnose_realserver};
use crate::host::DesiredRealServer;
use crate::sys::real_path;
use crate::wire::encap::{Encap, gue};

/// Observes a real server whose daemon answers.
pub(super) async fn running(mut daemon: Daemon, setup: &Setup) -> anyhow::Result<Diagnosis> {
    let mut facts = configured_facts(&setup.tun, &setup.vips, &setup.directors);
    let named = |name: &str| Encap::ALL.into_iter().find(|encap| encap.name() == name);
    facts.tunnelled = Tunnelled {
        encap: setup.encap.as_deref().and_then(named).unwrap_or_default(),
        gue_port: setup.gue_port.unwrap_or(gue::PORT),
    };
    if let Stats::RealServer(stats) = daemon.exchange(&Request::Stats)? {
        let strangers = stats.dropped.iter().find(|drop| drop.name == "source");
        facts.read = Some((stats.read, strangers.map_or(0, |drop| drop.count)));
        facts.host = stats.host.wrong.iter().map(reported).collect();
        facts.fast_path = stats.fast_path_state.map(observed);
    }
    let desired = DesiredRealServer {
        tun: setup.tun.clone(),
        vips: setup.vips.clone(),
        directors: setup.directors.clone(),
        ..DesiredRealServer::default()
    };
    look(&mut facts, &survey::realserver_briefly(&desired).await?);
    facts.no_way_back = survey::without_way_back(&setup.vips).await?;
    Ok(diagnose_realserver(&facts))
}

/// Observes a real server whose daemon does not run.
pub(super) async fn stopped(why: &anyhow::Error, path: &Path) -> anyhow::Result<Diagnosis> {
    let config = config_file::realserver(path)?;
    let survey = survey::realserver(&desired(&config), false).await?;
    let mut facts = configured_facts(&config.tun, &config.vips, &config.directors);
    facts.tunnelled = Tunnelled { encap: config.encap, gue_port: config.gue_port };
    facts.host = problems(&survey);
    facts.daemon = Some((missing(why), "vstun-realserver".to_owned()));
    look(&mut facts, &survey);
    Ok(diagnose_realserver(&facts))
}

fn configured_facts(tun: &str, vips: &[IpAddr], directors: &[IpNet]) -> RealServerFacts {
    let (tun, vips, directors) = (tun.to_owned(), vips.to_vec(), directors.to_vec());
    RealServerFacts { tun, vips, directors, ..RealServerFacts::default() }
}

/// Adds the facts that do not depend on a running daemon.
fn look(facts: &mut RealServerFacts, survey: &Survey) {
    let (ruleset, unseen) = firewall::read_all();
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
