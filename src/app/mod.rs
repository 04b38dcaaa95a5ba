//! The glue: packet loops, control thread, host plan execution, command lines.

pub mod cleanup;
pub mod cli;
mod config_file;
mod daemon;
mod demo;
mod director;
pub mod host;
mod line;
mod operator;
mod quiet;
mod realserver;
mod serve;
