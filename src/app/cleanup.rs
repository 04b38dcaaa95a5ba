//! `vstun cleanup`: removes what a killed daemon left on the host, without starting one.

use std::path::Path;

use anyhow::{Context, Result};

use super::host::Session;

/// Undoes the host changes of the dead daemon with that control socket, and prints each step with
/// its result.
///
/// # Errors
///
/// The daemon is alive; its state file belongs to another network namespace; a step could not be
/// undone.
pub(super) fn run(socket: &Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a tokio runtime")?;
    let lines = runtime.block_on(clean(socket))?;
    for line in lines {
        println!("{line}");
    }
    Ok(())
}

async fn clean(socket: &Path) -> Result<Vec<String>> {
    if !Session::leftovers(socket) {
        return Ok(vec![format!("nothing to clean up at {}", socket.display())]);
    }
    let mut session = Session::open_to_clean(socket)?;
    let outcomes = session.finish().await?;
    let mut lines: Vec<String> = outcomes
        .into_iter()
        .map(|outcome| format!("{}: {}", outcome.step, outcome.result))
        .collect();
    lines.push(format!("nothing is left of the daemon at {}", socket.display()));
    Ok(lines)
}
