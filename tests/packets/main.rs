//! Whole packets through the public API: packet in, verdict and bytes out. One test binary, to save
//! linking.
#![allow(clippy::unwrap_used)]
// The fuzz targets' code includes `pieces` by its own path, the only one in the fuzz crate.
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
