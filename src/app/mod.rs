//! The glue: packet loops, control thread, host plan execution, command lines.

pub mod cli;
