//! Keeps the states that operators have set in the state folder. After a crash or an upgrade a real
//! server that was taken out of service must not get connections again by itself.

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use super::reload::RunningDirector;
use crate::app::commands::Answer;
use crate::app::slow_io;
use crate::balancer::Snapshot;
use crate::config::{self, OperatorState};
use crate::control::counted;
use crate::sys::folder::Folder;

/// The longest file: [`config::MAX_REALS`] lines of at most 150 bytes.
const MAX_LEN: u64 = 10 << 20;

/// Verbs that change no state of a real server.
const OF_NO_STATE: [&str; 4] = ["set-weight", "flush", "announce", "withdraw"];

/// So many states are logged one by one at the start.
const LOGGED: usize = 20;

/// The file with the states.
#[derive(Debug)]
pub(super) struct StatesFile {
    /// The folder and the name; `None`: nothing is kept.
    path: Option<(PathBuf, OsString)>,
    /// What the file has; `None`: there is no file.
    kept: Option<String>,
}

impl StatesFile {
    /// Reads the file, and returns the configuration with the states that apply. Logs them.
    pub(super) async fn open(config: &config::Director) -> (Self, config::Director) {
        let path = config.state.clone().map(|folder| (folder, name(&config.control)));
        let mut file = Self { path, kept: None };
        let Some((folder, name)) = file.path.clone() else { return (file, config.clone()) };
        let shown = folder.join(&name);
        let read = move || read(&folder, &name);
        let read = slow_io::run("reading the states that operators have set", read).await;
        let states = match read.flatten() {
            Ok(None) => return (file, config.clone()),
            Ok(Some((text, states))) => {
                file.kept = Some(text);
                states
            }
            Err(error) => {
                log::warn!(
                    "the states that operators have set before are not known: {error:#}; the real \
                     servers start in those of the configuration (see {})",
                    shown.display()
                );
                return (file, config.clone());
            }
        };
        let (starting, over) = config.clone().with_operator_states(&states, now());
        log_states(&states, &over);
        (file, starting)
    }

    /// A file that keeps nothing.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self { path: None, kept: None }
    }

    /// Whether there is a file.
    pub(super) fn is_there(&self) -> bool {
        self.kept.is_some()
    }

    /// Writes the states if they have changed.
    ///
    /// # Errors
    /// They cannot be written; a restart would forget them.
    pub(super) async fn keep(
        &mut self,
        config: &config::Director,
        running: &Snapshot,
    ) -> Result<()> {
        let Some((folder, name)) = self.path.clone() else { return Ok(()) };
        let states = config.operator_states(running, now());
        let text = (!states.is_empty()).then(|| config::operator_states_text(&states));
        if text == self.kept {
            return Ok(());
        }
        let new = text.clone();
        let write = move || write(&folder, &name, new.as_deref());
        slow_io::run("keeping the states that operators have set", write).await??;
        self.kept = text;
        Ok(())
    }
}

impl RunningDirector {
    /// Keeps the states that operators have set, if the verb may have changed them. If that fails,
    /// the answer has a warning.
    pub(super) async fn keeping_states(&mut self, verb: &str, answer: Answer) -> Answer {
        let Answer::Done(mut done) = answer else { return answer };
        if !done.changes.is_empty() && !OF_NO_STATE.contains(&verb) {
            done.warnings.extend(self.keep_states().await);
        }
        Answer::Done(done)
    }

    /// Keeps the states that operators have set; a warning, if that fails.
    pub(super) async fn keep_states(&mut self) -> Option<String> {
        // The end of the packet thread is handled by the code that waits for it.
        let running = self.snapshot().await.ok()?;
        let error = self.states.keep(&self.config, &running).await.err()?;
        Some(format!("a restart will forget the states that operators have set: {error:#}"))
    }
}

/// The name of the file: directors with other control sockets may have the same folder.
fn name(control: &Path) -> OsString {
    let mut name = OsString::from("states");
    for part in control.components() {
        if let Component::Normal(part) = part {
            name.push("-");
            name.push(part);
        }
    }
    name
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn read(path: &Path, name: &OsStr) -> Result<Option<(String, Vec<OperatorState>)>> {
    if !path.exists() {
        return Ok(None);
    }
    let folder = Folder::open(path)?;
    let Some(bytes) = folder.read(name, MAX_LEN)? else { return Ok(None) };
    let text = String::from_utf8(bytes).ok();
    let states = text.as_deref().and_then(config::parse_operator_states);
    let states = states.context("the file is damaged; remove it")?;
    Ok(text.map(|text| (text, states)))
}

fn write(path: &Path, name: &OsStr, text: Option<&str>) -> Result<()> {
    let Some(text) = text else { return Ok(Folder::open(path)?.remove(name)?) };
    Folder::make(path).context("cannot make the folder")?;
    Ok(Folder::open(path)?.replace(name, text.as_bytes())?)
}

fn log_states(states: &[OperatorState], over: &[OperatorState]) {
    for OperatorState { service, address, state, .. } in over.iter().take(LOGGED) {
        log::info!(
            service = service.as_str();
            "service {service}: the state {} that an operator has set for {address} has ended, \
             because the configuration has changed there",
            state.name()
        );
    }
    let set = states.iter().filter(|set| !over.contains(set));
    for OperatorState { service, address, state, .. } in set.take(LOGGED) {
        log::info!(
            service = service.as_str();
            "service {service}: {address} starts as {}, which an operator has set before the \
             restart; `vstun enable {address}` and other verbs change that",
            state.name()
        );
    }
    if states.len() > LOGGED {
        log::info!(
            "operators have set {}; `vstun list` shows them",
            counted(states.len() as u64, "state")
        );
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::*;

    #[test]
    fn the_file_is_read_as_written_and_removed_without_states() {
        let folder = std::env::temp_dir().join(format!("vstun-states-{}", std::process::id()));
        let file = name(Path::new("/run/vstun/director.sock"));
        assert_eq!(file, "states-run-vstun-director.sock");
        assert!(read(&folder, &file).unwrap().is_none(), "there is no folder yet");
        let text = "vstun states 1\nweb 10.0.0.11 up disabled -\n";
        write(&folder, &file, Some(text)).unwrap();
        let (read_text, states) = read(&folder, &file).unwrap().unwrap();
        assert_eq!((read_text.as_str(), states.len()), (text, 1));
        write(&folder, &file, None).unwrap();
        assert!(read(&folder, &file).unwrap().is_none());

        fs::write(folder.join(&file), "vstun states 1\nweb\n").unwrap();
        assert!(read(&folder, &file).unwrap_err().to_string().contains("damaged"));
        fs::remove_dir_all(&folder).unwrap();
    }
}
