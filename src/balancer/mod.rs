//! The balancer: services, real servers, schedulers, connections. Pure; imports only `wire`.
//!
//! One packet in, one [`Verdict`] out. Time, seeds and limits are arguments.

pub mod change;
pub mod counters;
pub mod flow;
pub mod snapshot;
pub mod table;
pub mod tcp;
pub mod time;
pub mod verdict;

pub use change::{
    Change, ChangeError, Listen, PortRange, Protocol, RealSpec, SchedulerKind, ServiceSpec,
};
pub use counters::Counters;
pub use snapshot::Snapshot;
pub use time::{Millis, Timeouts};
pub use verdict::{RealId, Reason, Verdict};
