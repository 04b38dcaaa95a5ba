//! Whole packets through the public API: in, verdict and bytes out. One binary, since each links on
//! its own.
#![allow(clippy::unwrap_used)]
// The fuzz targets' code has its own path to `pieces`: in the fuzz crate there is no other.
#![allow(clippy::duplicate_mod)]

#[allow(dead_code)] // shared with unit tests and benches, which need more of it
mod build;
mod forwarding;
mod fuzz_smoke;
mod pair;
#[allow(dead_code)]
mod pieces;
mod recorder;
mod wire_properties;

use vstun::balancer::{Outlet, Tunnel};
use vstun::wire::packet::MAX_PACKET_LEN;
