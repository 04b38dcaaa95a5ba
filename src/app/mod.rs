//! The glue: packet loops, control thread, host plan execution, command lines.

mod budgets;
mod busy_poll;
mod cleanup;
pub mod cli;
mod client_slots;
mod commands;
mod config_file;
mod daemon;
mod director;
mod doctor;
mod events;
mod health;
pub mod host;
mod http;
mod latest;
mod listeners;
mod log_lines;
mod log_throttle;
mod manuals;
mod operator;
mod packet_thread;
mod program_start;
mod realserver;
mod serve;
mod slow_io;
mod turns;
mod unix_socket;
