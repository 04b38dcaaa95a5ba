//! Reads the state that a killed daemon has left on the host.

use std::io;

use anyhow::{Context, Result, bail};
use log::{info, warn};

use crate::host;
use crate::sys::folder::NotOurs;
use crate::sys::{interfaces, sysctl};

use super::control_files::ControlFiles;
use super::report::LOGGED;
use super::state::{self, StateFile};

/// How to treat a state file of another network namespace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum OtherNamespace {
    Ignore,
    Refuse,
}

/// The state of a dead predecessor, or an empty one.
pub(super) fn inherit(
    files: &mut ControlFiles,
    namespace: &str,
    other: OtherNamespace,
) -> Result<StateFile> {
    let path = files.state();
    let mut state = StateFile::new(namespace.to_owned(), files.made().to_vec());
    let left = match StateFile::load(files.folder(), files.state_name()) {
        Ok(Some(left)) => left,
        Ok(None) => return Ok(state),
        Err(error) => match error.downcast_ref::<NotOurs>() {
            Some(stranger) if other == OtherNamespace::Ignore => {
                warn!("{}", state::not_believed(stranger));
                return Ok(state);
            }
            Some(stranger) => bail!("{}", state::not_believed(stranger)),
            None => return Err(error),
        },
    };
    if left.namespace != namespace {
        let what = format!(
            "{} was written by process {} in another network namespace or before a reboot",
            path.display(),
            left.pid
        );
        if other == OtherNamespace::Refuse {
            bail!("{what}; clean up there, or remove the file if that namespace is gone");
        }
        info!("{what}; what it names is not on this host");
        return Ok(state);
    }
    state.steps = left.steps;
    state.links = left.links;
    state.forwarding = left.forwarding;
    let names = interfaces::names().context("cannot list the interfaces of this host")?;
    for (old, new) in state.find_links(&names) {
        let pid = left.pid;
        warn!(
            link = new.as_str();
            "interface {old} is called {new} now; what process {pid} set on it is kept and undone \
             there"
        );
    }
    state.steps.retain(|step| step.link().is_none_or(link_exists));
    if other == OtherNamespace::Ignore {
        for step in state.steps.iter().take(LOGGED) {
            info!("left on this host by process {}, taken over: {step}", left.pid);
        }
        if let Some(more) = state.steps.len().checked_sub(LOGGED).filter(|more| *more > 0) {
            info!("left on this host by process {}, taken over: {more} more changes", left.pid);
        }
    }
    files.inherit(left.directories);
    state.directories = files.made().to_vec();
    Ok(state)
}

/// Whether steps on this interface can still exist: a TUN is removed with its daemon. Every
/// interface with IPv4 has this setting.
fn link_exists(link: &str) -> bool {
    match sysctl::read(&host::sysctl::conf(link, "forwarding")) {
        Err(error) => error.kind() != io::ErrorKind::NotFound,
        Ok(_) => true,
    }
}
