//! vstun: LVS's VS/TUN in user space.
//!
//! A **director** reads the packets of a virtual IP from a TUN device, picks a real server for each
//! connection and sends the packet, wrapped in another IP packet, to it. The **real server**
//! unwraps it into its own TUN, where the virtual IP lives, and its kernel answers the client
//! directly.
//!
//! Pure code decides, thin code acts:
//!
//! ```text
//!      bin ──► app          loops, glue, lifecycle                                   impure
//!               ├──► config ───┐   text → value → checked model → changes            pure
//!               ├──► control ──┼──► balancer ──► model   services as values          pure
//!               ├──► metrics ─┤   answers → a page for Prometheus                   pure
//!               ├──► health ───┼─────────────► check specs, schedule, rise, fall     pure
//!               ├──► decap ────┴──────┴───────► wire     packets, encapsulation      pure
//!               ├──► host          plan of host set-up steps, each with its inverse  pure
//!               ├──► demo          `vstun demo`: the programs in its own namespaces  impure
//!               └──► sys           TUN, raw sockets, netlink, sysctl: all the unsafe impure
//! ```
//!
//! An arrow reads "may import"; `tests/layering.rs` keeps it. Time, random seeds and limits are
//! arguments of the pure layers.

pub mod app;
pub mod balancer;
pub mod config;
pub mod control;
pub mod decap;
pub mod demo;
pub mod health;
pub mod host;
pub mod metrics;
pub mod model;
pub mod sys;
pub mod wire;
