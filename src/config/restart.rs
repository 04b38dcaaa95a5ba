//! The keys that only a restart can change.

use std::path::{Path, PathBuf};

use crate::model::{Difference, Setting, Settings, differences};

use super::access::Access;
use super::director::Director;
use super::fault::Fault;
use super::realserver::RealServer;

/// A fault for each such key of `[director]` that differs, at its line in `new`.
pub(super) fn of_director(old: &Director, new: &Director) -> Vec<Fault> {
    let lines = &new.lines;
    let line = |key| lines.keys.get(key).copied().unwrap_or(lines.section);
    let found = differences(&FixedByDirector(old), &FixedByDirector(new)).into_iter();
    found.map(|one| fault("director", line(one.key), &one)).collect()
}

/// A fault for each such key of `[realserver]` that differs.
#[must_use]
pub fn needs_restart(old: &RealServer, new: &RealServer) -> Vec<Fault> {
    let found = differences(&FixedByRealServer(old), &FixedByRealServer(new)).into_iter();
    found.map(|one| fault("realserver", 0, &one)).collect()
}

fn fault(section: &str, line: usize, difference: &Difference) -> Fault {
    let Difference { key, before, after } = difference;
    let message = format!("{before} → {after} needs a restart; put the old value back, or restart");
    Fault { line, key: format!("{section}.{key}"), message }
}

/// The keys of `[director]` that only a restart can change.
struct FixedByDirector<'a>(&'a Director);

impl Settings for FixedByDirector<'_> {
    fn settings(&self) -> Vec<Setting> {
        let Self(config) = self;
        let mut settings = of_socket(&config.tun, &config.control, &config.access);
        settings.extend([
            ("state", path(config.state.as_ref()).into()),
            ("offload", config.offload.into()),
            ("fast_path", config.fast_path.name().into()),
            ("recorder", config.recorder.into()),
        ]);
        settings
    }
}

/// The keys of `[realserver]` that only a restart can change.
struct FixedByRealServer<'a>(&'a RealServer);

impl Settings for FixedByRealServer<'_> {
    fn settings(&self) -> Vec<Setting> {
        let Self(config) = self;
        let agent = config.agent.as_ref();
        let mut settings = of_socket(&config.tun, &config.control, &config.access);
        settings.extend([
            ("agent", agent.map(|agent| agent.listen.to_string()).into()),
            ("agent_state", path(agent.and_then(|agent| agent.state.as_ref())).into()),
            ("agent_cgroup", path(agent.and_then(|agent| agent.cgroup.as_ref())).into()),
            ("gue_port", u32::from(config.gue_port).into()),
            ("offload", config.offload.into()),
            ("fast_path", config.fast_path.name().into()),
        ]);
        settings
    }
}

/// The keys that both daemons have.
fn of_socket(tun: &str, control: &Path, access: &Access) -> Vec<Setting> {
    vec![
        ("tun", tun.to_owned().into()),
        ("control", control.display().to_string().into()),
        ("control_mode", format!("{:04o}", access.mode).into()),
        ("control_group", access.group.clone().into()),
    ]
}

fn path(path: Option<&PathBuf>) -> Option<String> {
    path.map(|path| path.display().to_string())
}
