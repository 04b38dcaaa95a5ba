//! The glue: packet loops, control thread, host plan execution, command lines.

pub mod cli;
mod daemon;
mod director;
mod host;
mod line;
mod quiet;
mod realserver;
mod serve;
