//! The built programs: command lines, configurations, answers. One test binary, to save linking.
#![allow(clippy::unwrap_used)]

mod bad_configurations;
mod config_example;
mod manuals;
mod operator;
#[cfg(debug_assertions)]
mod panics;
mod printed_commands;
mod tally;
