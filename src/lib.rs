//! vstun: LVS's VS/TUN in user space.
//!
//! A **director** reads the packets of a virtual IP from a TUN device, picks a real server for each
//! connection and sends it the packet inside another IP packet. The **real server** unwraps it into
//! its own TUN, which holds the virtual IP, and its kernel answers the client directly.
//!
//! Pure code decides; the impure layers do the IO:
//!
//! ```text
//!      bin ──► app          loops, glue, lifecycle                                   impure
//!               ├──► config ───┐   text → value → checked model → changes            pure
//!               ├──► control ──┼──► balancer ──► model   services as values          pure
//!               ├──► metrics ─┤   answers → a page for Prometheus                   pure
//!               ├──► trace ───┤   filters, files and replays of decisions           pure
//!               ├──► health ───┼─────────────► check specs, schedule, rise, fall     pure
//!               ├──► decap ────┴──────┴───────► wire     packets, encapsulation      pure
//!               ├──► doctor ──┤   facts of both ends → findings and commands         pure
//!               ├──► host          plan of host set-up steps, each with its inverse  pure
//!               ├──► demo ──► netns   `vstun demo`; namespaces and cables            impure
//!               └──► sys           TUN, raw sockets, netlink, sysctl: all the unsafe impure
//! ```
//!
//! An arrow means "may import"; `tests/layering.rs` enforces it. The pure layers get time, random
//! seeds and limits as arguments.

pub mod app;
pub mod balancer;
pub mod config;
pub mod control;
pub mod decap;
pub mod demo;
pub mod doctor;
pub mod health;
pub mod host;
pub mod metrics;
pub mod model;
pub mod netns;
pub mod sys;
pub mod trace;
pub mod wire;
