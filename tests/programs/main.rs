//! The built programs: command lines, configurations, answers. One binary, since each links on its
//! own.
#![allow(clippy::unwrap_used)]

mod bad_configurations;
mod config_example;
mod manuals;
mod operator;
