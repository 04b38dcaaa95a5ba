//! The daemons' host set-up and its undo, and the raw sockets, with a real kernel's tables in
//! private namespaces.
//!
//! Each test runs this binary again inside `unshare`. Without root it uses a user namespace too.
#![allow(clippy::unwrap_used)]

mod director;
mod director6;
mod leftovers;
mod net;
mod realserver;
mod realserver6;
mod routers;
mod send_batch;
