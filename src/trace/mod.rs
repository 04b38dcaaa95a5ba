//! Traces: selections of packets, the parts of them that are kept, and files of them. Pure; imports
//! `balancer`, `config`, `control`, `model` and `wire`.

pub mod capture;
pub mod filter;
pub mod pcapng;
pub mod reading;
pub mod replay;
pub mod ring;

pub use filter::{Filter, FilterError, clients};
