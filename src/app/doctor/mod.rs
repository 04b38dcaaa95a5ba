//! `vstun doctor`: observes this host, its daemon and the hosts behind it. `crate::doctor` draws
//! the conclusions.

mod clients;
mod clients_here;
mod director;
mod directors_here;
mod firewall;
mod holders;
mod inquiry;
mod lately;
mod marked;
mod next_hops;
mod realserver;
mod refused_clients;
mod running;
mod start;

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::host::survey::Survey;
use super::operator::daemon::Daemon;
use crate::control::{Request, Setup};
use crate::doctor::{ConntrackTable, Diagnosis, HostFault};
use crate::host::Problem;
use crate::sys::sysctl;

/// Examines the host of the daemon that answers on one of `sockets`, or the one that `config`
/// describes.
///
/// # Errors
/// No daemon answers and no configuration is given; the host cannot be read.
pub(super) fn run(sockets: &[PathBuf], config: Option<&Path>) -> anyhow::Result<Diagnosis> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a tokio runtime")?;
    runtime.block_on(examine(sockets, config))
}

async fn examine(sockets: &[PathBuf], config: Option<&Path>) -> anyhow::Result<Diagnosis> {
    let asked = Daemon::connect(sockets).and_then(|mut daemon| {
        let setup: Setup = daemon.exchange(&Request::Setup)?;
        Ok((daemon, setup))
    });
    match (asked, config) {
        (Ok((daemon, setup)), _) if setup.role == "realserver" => {
            realserver::running(daemon, &setup).await
        }
        (Ok((daemon, setup)), config) => director::running(daemon, &setup, config).await,
        (Err(why), Some(config)) => stopped(&why, config).await,
        (Err(why), None) => match installed(&INSTALLED.map(Path::new)) {
            Some(config) => stopped(&why, config).await,
            None => Err(why.context(
                "cannot tell which role this host has; give --config FILE where no daemon runs",
            )),
        },
    }
}

/// The configuration files of the units.
const INSTALLED: [&str; 2] = ["/etc/vstun/director.toml", "/etc/vstun/realserver.toml"];

/// The only one of the files that exists.
fn installed<'a>(files: &[&'a Path]) -> Option<&'a Path> {
    let mut there = files.iter().copied().filter(|file| file.exists());
    there.next().filter(|_| there.next().is_none())
}

/// Examines a host whose daemon does not run.
async fn stopped(why: &anyhow::Error, config: &Path) -> anyhow::Result<Diagnosis> {
    let text = super::config_file::read(config)?;
    // Only one role's section is in a configuration.
    if String::from_utf8_lossy(&text).lines().any(|line| line.trim() == "[realserver]") {
        realserver::stopped(why, config).await
    } else {
        director::stopped(why, config).await
    }
}

/// The problems of a host whose daemon does not run.
fn problems(survey: &Survey) -> Vec<HostFault> {
    survey.problems.iter().map(fault).chain(start::obstacles(survey)).collect()
}

/// The table of connection tracking; `None` where the kernel has none.
fn conntrack() -> Option<ConntrackTable> {
    let number =
        |name: &str| sysctl::read(&format!("net/netfilter/nf_conntrack_{name}")).ok()?.parse().ok();
    Some(ConntrackTable { flows: number("count")?, most: number("max")? })
}

/// Why no daemon answers, in a line.
fn missing(why: &anyhow::Error) -> String {
    why.to_string().lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

fn fault(problem: &Problem) -> HostFault {
    HostFault {
        what: problem.kind.name().to_owned(),
        address: problem.address,
        text: problem.text.clone(),
        since: String::new(),
        prevents_start: problem.refusal.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_with_one_configuration_has_that_role() {
        let (there, missing) = (Path::new("/dev/null"), Path::new("/dev/nothing-like-this"));
        assert_eq!(installed(&[there, missing]), Some(there));
        assert_eq!(installed(&[missing, there]), Some(there));
        assert_eq!(installed(&[missing, missing]), None);
        assert_eq!(installed(&[there, there]), None);
    }
}
