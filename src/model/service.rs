//! A service as the balancer uses it.

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
    /// How it chooses a real server.
    pub scheduler: SchedulerKind,
    /// How it treats its flows.
    pub policy: Policy,
    /// The real servers among which it chooses.
    pub reals: Vec<RealSpec>,
}
