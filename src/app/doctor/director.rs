//! Observes a director.

use std::net::IpAddr;
use std::path::Path;

use crate::app::config_file;
use crate::app::director::desired;
use crate::app::host::survey::{self, Survey};
use crate::app::operator::daemon::Daemon;
use crate::config;
use crate::control::{Checks, List, Probed, Request, Setup, Wrong};
use crate::doctor::{
    Cause, DirectorFacts, Finding, HostFault, Listened, Report, Severity, WayOut, diagnose_director,
};

use super::{fault, firewall, missing};

/// Listens whose way through the firewall is looked up, at most.
const MOST_LISTENS: usize = 1_000;

/// A director whose daemon answers.
pub(super) async fn running(
    mut daemon: Daemon,
    setup: &Setup,
    config: Option<&Path>,
) -> anyhow::Result<Report> {
    let list: List = daemon.exchange(&Request::List)?;
    let mut facts = DirectorFacts { tun: setup.tun.clone(), ..DirectorFacts::default() };
    facts.host = list.host.wrong.iter().map(reported).collect();
    let path = config.or_else(|| setup.config.as_deref().map(Path::new));
    let read = path.map(|path| (path, config_file::director(path)));
    match read {
        Some((_, Ok(config))) => {
            let survey = survey::director(&desired(&config, [].into(), false), true).await?;
            look(&mut facts, &config, &survey);
        }
        Some((path, Err(refused))) => facts.unseen.push(faulty(path, &refused.to_string())),
        None => {}
    }
    facts.probed = Some(daemon.exchange::<Probed>(&Request::Probe)?);
    facts.failing = failing(&daemon.exchange(&Request::Checks)?);
    Ok(diagnose_director(&facts))
}

/// A director whose daemon does not run.
pub(super) async fn stopped(why: &anyhow::Error, path: &Path) -> anyhow::Result<Report> {
    let config = config_file::director(path)?;
    let start = "systemctl start vstun-director".to_owned();
    let mut facts = DirectorFacts {
        tun: config.tun.clone(),
        daemon: Some((missing(why), start)),
        ..DirectorFacts::default()
    };
    let survey = survey::director(&desired(&config, [].into(), false), false).await?;
    facts.host = survey.problems.iter().map(fault).collect();
    look(&mut facts, &config, &survey);
    Ok(diagnose_director(&facts))
}

/// What the host shows, whether the daemon runs or not.
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
    facts.ways = config.reals().into_iter().map(|real| way(real, survey)).collect();
}

fn way(real: IpAddr, survey: &Survey) -> WayOut {
    let lookup = survey.facts.lookups.get(&real);
    let link = lookup.and_then(|lookup| survey.facts.link_at(lookup.link?));
    let planned = survey.plan.as_ref().and_then(|plan| plan.ways.sources.get(&real).copied());
    WayOut {
        real,
        source: planned.or_else(|| lookup.and_then(|lookup| lookup.source)),
        link: link.map(|link| link.name.clone()),
    }
}

fn reported(wrong: &Wrong) -> HostFault {
    let Wrong { what, address, since, text, .. } = wrong.clone();
    HostFault { what, address, text, since }
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
