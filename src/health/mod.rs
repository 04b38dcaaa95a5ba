//! Health checks: which run, when, and what their results mean for the real servers. Pure; imports
//! `model`.
//!
//! 1. [`spec`]: one check as it is configured.
//! 2. [`plan`]: the checks of all services. Checks of one real server with the same text run once.
//! 3. [`state`]: rise and fall, a table.
//! 4. [`schedule`]: when the next probe is due.
//! 5. [`pattern`]: the regular expressions that answers must match.
//! 6. [`rule`]: a service's rules for its real servers' checks: quorum and panic.
//! 7. [`board`]: the state of all checks: returns due probes and [`event`]s, takes results.
//! 8. [`load`]: the load that real servers report.
//!
//! Time and seeds are arguments; `app::health` sends the probes.

pub mod board;
mod cause;
pub mod event;
pub mod load;
pub mod pattern;
pub mod plan;
pub mod report;
pub mod rule;
pub mod schedule;
pub mod spec;
pub mod state;
mod weighed;

#[cfg(test)]
mod tests;

pub use board::{Board, CheckId, DueProbe};
pub use cause::{CheckCause, CheckFailure};
pub use event::HealthEvent;
pub use pattern::Patterns;
pub use plan::{Destination, MAX_CHECKS, Plan, PlannedCheck, ServiceInput, ServicePlan};
pub use report::{
    AgentReport, CheckReport, HealthReport as BoardReport, ProbeResult, RealReport, ServiceReport,
};
pub use rule::{Panic, Quorum, Rules};
pub use schedule::Doubt;
pub use spec::{CheckSpec, Initial, Probe, Timing, Via};
