//! `vstun cleanup`: undoes the host changes of a killed daemon, without starting one.

use std::path::Path;

use anyhow::{Context, Result};

use super::host::Session;
use crate::control::{Cleaned, CleanedStep};
use crate::sys::{fast_path, real_path};

/// Undoes the host changes of the dead daemon with that control socket; returns each step with
/// its result.
///
/// # Errors
///
/// The daemon is alive; its state file belongs to another network namespace; a step could not be
/// undone.
pub(super) fn run(socket: &Path) -> Result<Cleaned> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a tokio runtime")?;
    runtime.block_on(clean(socket))
}

async fn clean(socket: &Path) -> Result<Cleaned> {
    let shown = socket.display().to_string();
    if !Session::leftovers(socket) {
        let done = format!("nothing to clean up at {shown}");
        return Ok(Cleaned { socket: shown, steps: Vec::new(), done });
    }
    let mut session = Session::open_to_clean(socket)?;
    let outcomes = session.finish().await?;
    let steps = outcomes.into_iter().map(|outcome| CleanedStep {
        step: outcome.step.to_string(),
        result: outcome.result.to_string(),
    });
    let steps = steps.chain(fast_paths()).collect();
    let done = format!("nothing is left of the daemon at {shown}");
    Ok(Cleaned { socket: shown, steps, done })
}

/// What is left of the fast paths of either role, which need no cleanup; nothing where the kernel
/// does not say.
fn fast_paths() -> impl Iterator<Item = CleanedStep> {
    let found = [("director", fast_path::attached()), ("real server", real_path::attached())];
    let found = found.into_iter().filter_map(|(role, links)| Some((role, links.ok()?)));
    found.map(|(role, links)| {
        let result = match links.as_slice() {
            [] => "attached nowhere: the kernel has detached what there was".to_owned(),
            links => format!("attached at {}, by a process that runs", links.join(" ")),
        };
        CleanedStep { step: format!("fast path of a {role}"), result }
    })
}
