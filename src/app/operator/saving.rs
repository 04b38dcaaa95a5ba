//! `vstun save`: the configuration file with the changes that verbs have made.

use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use serde::Serialize;

use super::daemon::Daemon;
use super::{listing, terminal};
use crate::app::config_file;
use crate::config::{self, RunningReal, RunningService};
use crate::control::{
    self, AlterationText, ListedReal, ListedService, ReloadPlan, Request, ServiceList, counted,
};
use crate::model::AdminState;

/// The result for the file.
#[derive(Debug, Serialize)]
struct Saved {
    file: String,
    /// Whether the file was written.
    written: bool,
    text: String,
    /// How many other changes a reload of it would make; absent if that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<usize>,
}

/// Prints the file updated to the running state, or writes it.
///
/// # Errors
/// The file cannot be read or is another's, no daemon answers, the file cannot be written.
pub(super) fn run(sockets: &[PathBuf], file: &Path, write: bool, json: bool) -> anyhow::Result<()> {
    let text = String::from_utf8(config_file::read(file)?);
    let text = text.with_context(|| format!("{} is not UTF-8", file.display()))?;
    let running = services(&listing::list(sockets)?)?;
    let saved = config::saved(&text, &running);
    let saved = saved.map_err(|error| anyhow!("{}: {error}", file.display()))?;
    let changes = other_changes(sockets, file, &saved);
    if write && saved != text {
        replace(file, &saved).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let shown = file.display().to_string();
    match &changes {
        Ok(0) => {}
        Ok(many) => terminal::warn(&format!(
            "{shown} differs from what runs in {} more; `vstun plan` shows what",
            counted(*many as u64, "change")
        )),
        Err(error) => {
            terminal::warn(&format!("cannot compare all of {shown} with what runs: {error:#}"));
        }
    }
    let mut out = io::stdout().lock();
    if json {
        let changes = changes.ok();
        let saved = Saved { file: shown, written: write, text: saved, changes };
        terminal::write_json(&mut out, control::encode(&saved).as_bytes())?;
    } else if write {
        let what = if saved == text { "has nothing to save" } else { "is saved" };
        terminal::write(&mut out, &format!("{shown} {what}\n"))?;
    } else {
        // The operator's own file, byte by byte.
        out.write_all(saved.as_bytes())?;
    }
    Ok(out.flush()?)
}

fn services(list: &ServiceList) -> anyhow::Result<Vec<RunningService>> {
    let service = |ListedService { name, reals, .. }: &ListedService| {
        let reals = reals.iter().filter(|real| !real.removed && !real.last_resort);
        Ok(RunningService { name: name.clone(), reals: reals.map(real).collect::<Result<_, _>>()? })
    };
    list.services.iter().map(service).collect()
}

fn real(real: &ListedReal) -> anyhow::Result<RunningReal> {
    let ListedReal { address, weight, wanted, .. } = real;
    let wanted = match wanted.as_str() {
        "up" => AdminState::Up,
        "draining" => AdminState::Draining { deadline: None },
        "disabled" => AdminState::Disabled,
        "down" => AdminState::Down,
        other => {
            return Err(anyhow!(
                "the daemon lists {address} with the unknown state {other:?}; use the vstun of its \
                 release"
            ));
        }
    };
    let address: IpAddr = address.parse().with_context(|| {
        format!("the daemon lists a real server at {address:?}; use the vstun of its release")
    })?;
    Ok(RunningReal { address, weight: *weight, wanted })
}

/// How many changes a reload of the text would make.
fn other_changes(sockets: &[PathBuf], file: &Path, text: &str) -> anyhow::Result<usize> {
    let mut daemon = Daemon::connect(sockets)?;
    let file = file.display().to_string();
    daemon.ask(&Request::Plan { file, bytes: text.len() }, text.as_bytes())?;
    Ok(control::decode::<ReloadPlan<AlterationText>>(&daemon.line()?)?.changes.len())
}

/// Replaces the file whole, with its mode, owner and group: a reader sees the old text or the new
/// one. A symbolic link stays one. A temporary file that a killed process left is removed.
fn replace(file: &Path, text: &str) -> anyhow::Result<()> {
    let file = fs::canonicalize(file)?;
    let old = fs::metadata(&file)?;
    let mut name = file.clone().into_os_string();
    name.push(".new");
    let new = PathBuf::from(name);
    let temporary = || format!("cannot write {}, the file's new text", new.display());
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(temporary);
        }
        _ => {}
    }
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new);
    let mut out = made.with_context(temporary)?;
    let is_own = |meta: &Metadata| (meta.uid(), meta.gid()) == (old.uid(), old.gid());
    let written = out
        .write_all(text.as_bytes())
        .and_then(|()| match out.metadata()? {
            meta if is_own(&meta) => Ok(()),
            _ => fchown(&out, Some(old.uid()), Some(old.gid())),
        })
        .and_then(|()| out.set_permissions(old.permissions()))
        .and_then(|()| out.sync_all())
        .and_then(|()| fs::rename(&new, &file));
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&new);
    }
    Ok(written?)
}
