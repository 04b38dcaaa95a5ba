//! A service as the balancer has it.

use super::listen::Listen;
use super::policy::Policy;
use super::real::RealSpec;
use super::scheduler::SchedulerKind;

/// A service as configured.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServiceSpec {
    /// Its name, unique.
    pub name: String,
    /// Where it listens.
    pub listens: Vec<Listen>,
    /// How it chooses.
    pub scheduler: SchedulerKind,
    /// How it treats its flows.
    pub policy: Policy,
    /// Among whom it chooses.
    pub reals: Vec<RealSpec>,
}
