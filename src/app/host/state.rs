//! The state file: a daemon's changes to its host, recorded before they are made.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use log::warn;
use serde::{Deserialize, Serialize};

use crate::host::Step;
use crate::sys::folder::{FileError, Folder, NotOurs};
use crate::sys::lock;

use super::control_files::{ControlFiles, LOCK, STATE, with_suffix};

/// The only version so far.
const VERSION: u32 = 1;

/// The longest state file that is read, in bytes: four hundred thousand steps.
const MAX_LEN: u64 = 64 << 20;

/// The content of the file.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct State {
    version: u32,
    /// The network namespace of the steps; in another one they mean nothing.
    pub(super) namespace: String,
    /// The process that applied them.
    pub(super) pid: u32,
    /// Directories that it created.
    pub(super) directories: Vec<PathBuf>,
    /// In the order in which they were applied.
    pub(super) steps: Vec<Step>,
    /// Which interfaces forwarded before a step turned that on, by the setting; see
    /// [`reliance`](crate::host::reliance).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) forwarding: BTreeMap<String, String>,
}

impl State {
    pub(super) fn new(namespace: String, directories: Vec<PathBuf>) -> Self {
        let pid = std::process::id();
        Self {
            version: VERSION,
            namespace,
            pid,
            directories,
            steps: Vec::new(),
            forwarding: BTreeMap::new(),
        }
    }

    /// Reads the file; `None` if it does not exist. A step that no plan makes is left out with a
    /// warning.
    ///
    /// # Errors
    /// [`NotOurs`]: another user may have written the file. Or it is no state file, or of another
    /// version.
    pub(super) fn load(folder: &Folder, name: &OsStr) -> Result<Option<Self>> {
        let path = folder.shown(name);
        let text = match folder.read(name, MAX_LEN) {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(None),
            Err(FileError::NotOurs(stranger)) => return Err(stranger.into()),
            Err(FileError::Io(error)) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let mut state: Self = serde_json::from_slice(&text).with_context(|| {
            format!(
                "{} is not a state file; look at what it says, undo that by hand, and remove it",
                path.display()
            )
        })?;
        if state.version != VERSION {
            bail!(
                "{} is of version {}, this program knows {VERSION}; run the `vstun cleanup` of the \
                 version that wrote it",
                path.display(),
                state.version
            );
        }
        state.steps.retain(|step| {
            let planned = step.is_planned();
            if !planned {
                warn!("{}: vstun makes no such step, it is left alone: {step}", path.display());
            }
            planned
        });
        Ok(Some(state))
    }

    /// The file's text.
    pub(super) fn text(&self) -> Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }

    /// The recorded write that keeps a setting at `value`.
    pub(super) fn holder(&self, setting: &str, value: &str) -> Option<&Step> {
        self.steps.iter().find(|step| {
            matches!(step, Step::Write { sysctl, to, .. } if sysctl == setting && to == value)
        })
    }

    /// The original values of settings.
    pub(super) fn originals(&self) -> BTreeMap<String, String> {
        let mut originals = BTreeMap::new();
        for step in &self.steps {
            let Step::Write { sysctl, from, beside, .. } = step else { continue };
            originals.extend(beside.clone());
            originals.entry(sysctl.clone()).or_insert_with(|| from.clone());
        }
        originals
    }

    /// Records steps, replacing those that they supersede. Guards come first, so that they are
    /// undone last.
    pub(super) fn add(&mut self, step: &Step) {
        debug_assert!(
            step.is_planned(),
            "the next start would not undo {step}; see host::recorded"
        );
        self.steps.retain(|known| !step.supersedes(known) && !known.same_end(step));
        self.steps.push(step.clone());
        self.steps.sort_by_key(|step| !step.guards());
    }

    /// An interface was renamed.
    pub(super) fn rename(&mut self, old: &str, new: &str) {
        for step in &mut self.steps {
            *step = step.renamed(old, new);
        }
        let (old, new) = (format!("/{old}/"), format!("/{new}/"));
        self.forwarding = std::mem::take(&mut self.forwarding)
            .into_iter()
            .map(|(setting, value)| (setting.replace(&old, &new), value))
            .collect();
    }

    pub(super) fn forget(&mut self, gone: &Step) {
        self.steps.retain(|step| step != gone);
    }
}

/// Why a state file is not trusted, and what to do.
pub(super) fn not_believed(stranger: &NotOurs) -> String {
    format!("{stranger}, so what it says is not believed and not undone; look at it, and remove it")
}

/// The states of other running daemons, in this directory and this network namespace.
pub(super) fn living(files: &ControlFiles, namespace: &str) -> Vec<State> {
    let folder = files.folder();
    let Ok(entries) = fs::read_dir(folder.at(OsStr::new("."))) else { return Vec::new() };
    let suffix = format!(".{STATE}");
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| OsStr::new(name) != files.state_name())
        .filter_map(|name| {
            let lock = with_suffix(OsStr::new(name.strip_suffix(&suffix)?), LOCK);
            let held = lock::held(folder, &lock).unwrap_or(false);
            held.then(|| State::load(folder, OsStr::new(&name)).ok().flatten())?
        })
        .filter(|state| state.namespace == namespace)
        .collect()
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
    fn a_guard_is_undone_last_even_if_it_was_added_later() {
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
