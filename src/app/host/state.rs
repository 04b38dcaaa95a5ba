//! The state file: what a daemon changes on its host, written down before it is changed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::host::Step;
use crate::sys::lock;

use super::control_files::{LOCK, STATE, beside};

/// The only version so far.
const VERSION: u32 = 1;

/// What is in the file.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct State {
    version: u32,
    /// The network namespace that the steps were made in; elsewhere they mean nothing.
    pub(super) namespace: String,
    /// The process that made them.
    pub(super) pid: u32,
    /// Directories it made.
    pub(super) directories: Vec<PathBuf>,
    /// In the order in which they were made.
    pub(super) steps: Vec<Step>,
}

impl State {
    pub(super) fn new(namespace: String, directories: Vec<PathBuf>) -> Self {
        let pid = std::process::id();
        Self { version: VERSION, namespace, pid, directories, steps: Vec::new() }
    }

    /// Reads the file; none: there is none.
    pub(super) fn load(path: &Path) -> Result<Option<Self>> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let state: Self = serde_json::from_slice(&text).with_context(|| {
            format!(
                "{} is no state file; look at what it says, undo that by hand, and remove it",
                path.display()
            )
        })?;
        if state.version != VERSION {
            bail!(
                "{} is of version {}, this program knows {VERSION}; run the `vstun cleanup` of the version that wrote it",
                path.display(),
                state.version
            );
        }
        Ok(Some(state))
    }

    /// Writes the file: after a crash it is the old one or the new one, never half of it.
    pub(super) fn save(&self, path: &Path) -> Result<()> {
        write(self, path).with_context(|| format!("cannot write {}", path.display()))
    }

    /// The write that holds a setting at `value`.
    pub(super) fn holder(&self, setting: &str, value: &str) -> Option<&Step> {
        self.steps.iter().find(|step| {
            matches!(step, Step::Write { sysctl, to, .. } if sysctl == setting && to == value)
        })
    }

    /// What settings were before they were written to.
    pub(super) fn originals(&self) -> BTreeMap<String, String> {
        let mut originals = BTreeMap::new();
        for step in &self.steps {
            let Step::Write { sysctl, from, beside, .. } = step else { continue };
            originals.extend(beside.clone());
            originals.entry(sysctl.clone()).or_insert_with(|| from.clone());
        }
        originals
    }

    /// Writes steps down, in the place of those that they supersede. Guards come first, so that they are undone last.
    pub(super) fn add(&mut self, step: &Step) {
        self.steps.retain(|known| !step.supersedes(known) && !known.same_end(step));
        self.steps.push(step.clone());
        self.steps.sort_by_key(|step| !step.guards());
    }

    pub(super) fn forget(&mut self, gone: &Step) {
        self.steps.retain(|step| step != gone);
    }
}

/// The states of other daemons that live, in this directory and this network namespace.
pub(super) fn living(control: &Path, namespace: &str) -> Vec<State> {
    let own = beside(control, STATE);
    let Some(Ok(entries)) = own.parent().map(fs::read_dir) else { return Vec::new() };
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|suffix| suffix == STATE) && *path != own)
        .filter(|path| lock::held(&path.with_extension(LOCK)).unwrap_or(false))
        .filter_map(|path| State::load(&path).ok().flatten())
        .filter(|state| state.namespace == namespace)
        .collect()
}

/// Removes the file, if it is there.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn write(state: &State, path: &Path) -> io::Result<()> {
    let new = path.with_extension("state.new");
    let mut file = File::create(&new)?;
    serde_json::to_writer_pretty(&mut file, state)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    // The new name, too, must be on the disk before the step is made.
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn write(sysctl: &str, from: &str, to: &str) -> Step {
        let (sysctl, from, to) = (sysctl.to_owned(), from.to_owned(), to.to_owned());
        Step::Write { sysctl, from, to, beside: BTreeMap::new() }
    }

    #[test]
    fn what_guards_the_host_is_undone_last_though_it_came_later() {
        let mut state = State::default();
        let forwarding = write("net/ipv6/conf/eth0/forwarding", "0", "1");
        let guard = write("net/ipv6/conf/eth1/accept_ra", "1", "2");
        state.add(&forwarding);
        state.add(&guard);
        state.add(&guard);
        assert_eq!(state.steps, [guard, forwarding]);
    }

    #[test]
    fn originals_are_those_before_the_first_write() {
        let mut state = State::default();
        let beside = [("net/ipv6/conf/eth1/forwarding".to_owned(), "1".to_owned())].into();
        state.add(&Step::Write {
            sysctl: "net/ipv6/conf/all/forwarding".into(),
            from: "0".into(),
            to: "1".into(),
            beside,
        });
        state.add(&write("net/ipv6/conf/eth0/forwarding", "0", "1"));
        let originals = state.originals();
        assert_eq!(originals["net/ipv6/conf/eth1/forwarding"], "1");
        assert_eq!(originals["net/ipv6/conf/eth0/forwarding"], "0");
    }
}
