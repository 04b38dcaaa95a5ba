//! Observes a real server.

use std::path::Path;

use super::{fault, missing};
use crate::app::config_file;
use crate::app::host::survey;
use crate::app::operator::daemon::Daemon;
use crate::app::realserver::desired;
use crate::control::{Request, Setup, Status, Wrong};
use crate::doctor::{Cause, Finding, HostFault, Report, Severity, host_findings};

/// A real server whose daemon answers.
pub(super) async fn running(mut daemon: Daemon, _setup: &Setup) -> anyhow::Result<Report> {
    let status: Status = daemon.exchange(&Request::Status)?;
    let faults: Vec<HostFault> = status.host.wrong.iter().map(reported).collect();
    Ok(Report::new("realserver", host_findings(&faults), Vec::new()))
}

/// A real server whose daemon does not run.
pub(super) async fn stopped(why: &anyhow::Error, path: &Path) -> anyhow::Result<Report> {
    let config = config_file::realserver(path)?;
    let survey = survey::realserver(&desired(&config), false).await?;
    let faults: Vec<HostFault> = survey.problems.iter().map(fault).collect();
    let mut findings = host_findings(&faults);
    let text = "vstun-realserver does not run";
    findings.push(
        Finding::new(Cause::DaemonMissing, Severity::Fault, text)
            .seen(missing(why))
            .mended_by("systemctl start vstun-realserver"),
    );
    Ok(Report::new("realserver", findings, Vec::new()))
}

fn reported(wrong: &Wrong) -> HostFault {
    let Wrong { what, address, since, text, .. } = wrong.clone();
    HostFault { what, address, text, since }
}
