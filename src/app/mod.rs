//! The glue: packet loops, control thread, host plan execution, command lines.

pub mod cli;
mod config_file;
mod daemon;
mod director;
mod host;
mod line;
mod operator;
mod quiet;
mod realserver;
mod serve;

mod cleanup {
    pub(super) fn run(_socket: &std::path::Path) -> anyhow::Result<()> {
        anyhow::bail!("not there yet")
    }
}

mod demo {
    pub(super) fn run(_keep: bool) -> anyhow::Result<()> {
        anyhow::bail!("not there yet")
    }
}
