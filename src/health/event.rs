//! The events that follow from the results of checks.

use std::net::IpAddr;

use super::cause::CheckCause;
use super::load::Rotation;
use crate::model::{Health, Load};

/// A change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HealthEvent {
    /// The health of a real server in a service has changed.
    Health {
        /// The service's name.
        service: String,
        /// The real server.
        address: IpAddr,
        /// Its health from now on.
        health: Health,
        /// The reason.
        why: CheckCause,
    },
    /// A service's checks are ignored from now on, or respected again.
    Panic {
        /// The service's name.
        service: String,
        /// Whether they are ignored.
        active: bool,
        /// How many real servers fail their checks.
        down: usize,
        /// How many real servers are counted.
        all: usize,
    },
    /// A service has lost or regained its quorum.
    Quorum {
        /// The service's name.
        service: String,
        /// Whether it has it.
        reached: bool,
        /// The sum of the weights of those that are up.
        alive: u64,
    },
    /// The load that a real server reports has changed.
    Load {
        /// The service's name.
        service: String,
        /// The real server.
        address: IpAddr,
        /// Its load from now on.
        load: Load,
    },
    /// A real server's share of its weight, in steps, has changed.
    Step {
        /// The service's name.
        service: String,
        /// The real server.
        address: IpAddr,
    },
    /// The agent or the program of a check has taken a real server out of rotation, or put it back.
    Rotation {
        /// The service's name.
        service: String,
        /// The real server.
        address: IpAddr,
        /// The rotation before.
        before: Rotation,
        /// The rotation from now on.
        after: Rotation,
    },
}
