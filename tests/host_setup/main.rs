//! The daemons' host set-up and its undoing, and the raw sockets, on real kernels' tables in
//! private namespaces.
//!
//! Each test runs this binary again inside `unshare`, for itself alone. Without root it takes a
//! user namespace too.
#![allow(clippy::unwrap_used)]

mod director;
mod director6;
mod leftovers;
mod net;
mod realserver;
mod realserver6;
mod routers;
mod send_batch;
