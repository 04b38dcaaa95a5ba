//! The glue: packet loops, control thread, host plan execution, command lines.

mod cleanup;
pub mod cli;
mod config_file;
mod daemon;
mod director;
pub mod host;
mod line;
mod operator;
mod quiet;
mod realserver;
mod serve;

mod demo {
    pub(super) fn run(_keep: bool) -> anyhow::Result<()> {
        anyhow::bail!("not there yet")
    }
}
