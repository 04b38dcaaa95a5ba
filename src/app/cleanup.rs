//! `vstun cleanup`: removing what a killed daemon left on the host, without a start.

use std::path::Path;

use anyhow::{Context, Result};

use super::host::Session;

/// Undoes what the dead daemon of that control socket left, and prints each step with what became
/// of it.
///
/// # Errors
///
/// The daemon lives; its state file belongs to another network namespace; a step could not be
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
