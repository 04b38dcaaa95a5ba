//! The state file: a daemon's changes to its host, recorded before they are made.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use log::warn;
use serde::{Deserialize, Serialize};

use crate::host::{self, HostRecord, HostStep, RecordKey, rename};
use crate::sys::folder::{FileError, Folder, NotOurs};
use crate::sys::lock;

use super::control_files::{ControlFiles, LOCK, STATE, with_suffix};

/// The only version so far.
const VERSION: u32 = 1;

/// The longest state file in bytes, about 300,000 steps: 16,384 virtual IPs on 16 uplinks. Longer
/// ones are not read, so none is written.
const MAX_LEN: u64 = 64 << 20;

/// The content of the file.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct StateFile {
    version: u32,
    /// The network namespace of the steps; they do not apply in another one.
    pub(super) namespace: String,
    /// The process that applied them.
    pub(super) pid: u32,
    /// Directories that it created.
    pub(super) directories: Vec<PathBuf>,
    /// In the order in which they were applied, guards first.
    pub(super) steps: HostRecord,
    /// The indexes of the steps' interfaces by their names: an interface may get another name while
    /// no daemon runs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) links: BTreeMap<String, u32>,
    /// Which interfaces forwarded before a step turned that on, by the setting; see
    /// [`reliance`](crate::host::reliance).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) forwarding: BTreeMap<String, String>,
}

impl StateFile {
    pub(super) fn new(namespace: String, directories: Vec<PathBuf>) -> Self {
        let pid = std::process::id();
        Self {
            version: VERSION,
            namespace,
            pid,
            directories,
            steps: HostRecord::default(),
            links: BTreeMap::new(),
            forwarding: BTreeMap::new(),
        }
    }

    /// Reads the file; `None` if it does not exist. A step that no plan makes is left out with a
    /// warning.
    ///
    /// # Errors
    /// [`NotOurs`]: another user may have written the file. Or it is not a state file, or of
    /// another version.
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
    ///
    /// # Errors
    /// It would be longer than [`MAX_LEN`].
    pub(super) fn text(&self) -> Result<Vec<u8>> {
        self.text_within(MAX_LEN)
    }

    fn text_within(&self, most: u64) -> Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        if text.len() as u64 > most {
            bail!(
                "the state file of {} changes of this host would have {} bytes, and at most {most} \
                 are read at the next start; use fewer virtual IPs or fewer uplinks",
                self.steps.len(),
                text.len()
            );
        }
        Ok(text)
    }

    /// The recorded write that keeps a setting at `value`.
    pub(super) fn holder(&self, setting: &str, value: &str) -> Option<&HostStep> {
        let step = self.steps.about(&RecordKey::Setting(setting.to_owned()));
        step.filter(|step| matches!(step, HostStep::Write { to, .. } if to == value))
    }

    /// The original values of settings.
    pub(super) fn originals(&self) -> BTreeMap<String, String> {
        let mut originals = BTreeMap::new();
        for step in self.steps.iter() {
            let HostStep::Write { sysctl, from, beside, .. } = step else { continue };
            originals.extend(beside.clone());
            originals.entry(sysctl.clone()).or_insert_with(|| from.clone());
        }
        originals
    }

    /// Records a step; it replaces the one with the same key.
    pub(super) fn add(&mut self, step: &HostStep) {
        debug_assert!(
            step.is_planned(),
            "the next start would not undo {step}; see host::recorded"
        );
        self.steps.add(step.clone());
    }

    /// Remembers the indexes of the steps' interfaces.
    pub(super) fn note_links(&mut self, indices: &BTreeMap<String, u32>) {
        let named: BTreeSet<&str> = self.steps.iter().filter_map(HostStep::link).collect();
        self.links.retain(|name, _| named.contains(name.as_str()));
        let known = named.iter().filter_map(|name| indices.get_key_value(*name));
        self.links.extend(known.map(|(name, index)| (name.clone(), *index)));
    }

    /// Interfaces were renamed: the old names and the new ones.
    pub(super) fn rename(&mut self, names: &BTreeMap<String, String>) {
        self.steps = self.steps.iter().map(|step| step.renamed(names)).collect();
        let renamed = |name: &str| names.get(name).map_or(name, String::as_str).to_owned();
        let links = std::mem::take(&mut self.links).into_iter();
        self.links = links.map(|(name, index)| (renamed(&name), index)).collect();
        let forwarding = std::mem::take(&mut self.forwarding).into_iter();
        self.forwarding = forwarding
            .map(|(setting, value)| (host::sysctl::renamed(&setting, names), value))
            .collect();
    }

    /// Follows interfaces that were renamed since the file was written, and forgets the steps on
    /// those that are gone. `now`: the names of this host's interfaces by their indexes.
    pub(super) fn find_links(&mut self, now: &BTreeMap<u32, String>) -> BTreeMap<String, String> {
        let links = std::mem::take(&mut self.links);
        let gone = |name: &str| links.get(name).is_some_and(|index| !now.contains_key(index));
        self.steps.retain(|step| !step.link().is_some_and(gone));
        self.links = links;
        let moved = rename::renamed(&self.links, now);
        self.rename(&moved);
        moved
    }
}

/// Why a state file is not trusted, and the remedy.
pub(super) fn not_believed(stranger: &NotOurs) -> String {
    format!("{stranger}, so what it says is not believed and not undone; look at it, and remove it")
}

/// The states of other running daemons, in this directory and this network namespace.
pub(super) fn of_running_daemons(files: &ControlFiles, namespace: &str) -> Vec<StateFile> {
    let folder = files.folder();
    let Ok(entries) = fs::read_dir(folder.at(OsStr::new("."))) else { return Vec::new() };
    let suffix = format!(".{STATE}");
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| OsStr::new(name) != files.state_name())
        .filter_map(|name| {
            let lock = with_suffix(OsStr::new(name.strip_suffix(&suffix)?), LOCK);
            let held = lock::held(folder, &lock).unwrap_or(false);
            held.then(|| StateFile::load(folder, OsStr::new(&name)).ok().flatten())?
        })
        .filter(|state| state.namespace == namespace)
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::IpAddr;

    use super::*;
    use crate::host::Object;

    fn write(sysctl: &str, from: &str, to: &str) -> HostStep {
        let (sysctl, from, to) = (sysctl.to_owned(), from.to_owned(), to.to_owned());
        HostStep::Write { sysctl, from, to, beside: BTreeMap::new() }
    }

    #[test]
    fn originals_are_those_before_the_first_write() {
        let mut state = StateFile::default();
        let beside = [("net/ipv6/conf/eth1/forwarding".to_owned(), "1".to_owned())].into();
        state.add(&HostStep::Write {
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

    fn names(list: &[(u32, &str)]) -> BTreeMap<u32, String> {
        list.iter().map(|(index, name)| (*index, (*name).to_owned())).collect()
    }

    #[test]
    fn interfaces_that_were_renamed_meanwhile_are_found_by_their_index() {
        let forwarding = |link: &str| write(&host::sysctl::conf(link, "forwarding"), "0", "1");
        let all = forwarding("all");
        let mut state = StateFile::default();
        for link in ["all", "eth0", "eth1", "vstun0"] {
            state.add(&forwarding(link));
        }
        state.forwarding = [(host::sysctl::conf("eth0", "forwarding"), "0".to_owned())].into();
        let indices = [("eth0", 2), ("eth1", 3), ("vstun0", 9), ("eth7", 7)];
        state.note_links(&indices.map(|(name, index)| (name.to_owned(), index)).into());
        assert_eq!(state.links.len(), 3, "those of the steps");
        // After a restart there are no indexes before the first check of the host.
        state.note_links(&BTreeMap::new());
        let text = state.text().unwrap();
        let mut state: StateFile = serde_json::from_slice(&text).unwrap();
        // eth0 is called wan, another interface has its name, and the TUN is gone.
        let now = names(&[(1, "lo"), (2, "wan"), (3, "eth1"), (10, "eth0"), (11, "vstun0")]);
        let moved = state.find_links(&now);
        assert_eq!(moved, [("eth0".to_owned(), "wan".to_owned())].into());
        assert!(state.steps.iter().eq(&[all, forwarding("wan"), forwarding("eth1")]));
        assert!(state.forwarding.contains_key("net/ipv4/conf/wan/forwarding"));
        assert_eq!(state.links.keys().collect::<Vec<_>>(), ["eth1", "vstun0", "wan"]);
        // An older version's state file has no indexes: its names count.
        state.links.clear();
        assert_eq!(state.find_links(&names(&[(1, "lo")])), BTreeMap::new());
        assert_eq!(state.steps.len(), 3);
    }

    #[test]
    fn no_file_is_written_that_would_not_be_read_again() {
        let mut state = StateFile::default();
        state.add(&write("net/ipv4/conf/eth0/forwarding", "0", "1"));
        let length = state.text().unwrap().len() as u64;
        assert!(state.text_within(length).is_ok());
        let refused = state.text_within(length - 1).unwrap_err().to_string();
        assert!(refused.contains("use fewer virtual IPs"), "{refused}");
    }

    #[test]
    fn the_file_of_the_largest_director_is_read_again() {
        let mut state = StateFile::default();
        for number in 0..16_384_u16 {
            let address =
                IpAddr::from([0x2001, 0xdb8, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, number]);
            let link = || "fifteen-letters".to_owned();
            let source = Some(address);
            state.add(&HostStep::Add(Object::Route { address, link: link(), table: 254, source }));
            state.add(&HostStep::Add(Object::Proxy { address, link: link() }));
        }
        let text = state.text().unwrap();
        // With several uplinks too.
        assert!(text.len() as u64 * 8 < MAX_LEN, "{} bytes", text.len());
        assert_eq!(serde_json::from_slice::<StateFile>(&text).unwrap(), state);
    }
}
