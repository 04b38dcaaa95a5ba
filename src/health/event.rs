//! What follows from the results of checks.

use std::net::IpAddr;

use super::cause::Cause;
use super::load::Rotation;
use crate::model::{Health, Load};

/// A change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// The health of a real server in a service has changed.
    Health {
        /// The service's name.
        service: String,
        /// The real server.
        address: IpAddr,
        /// Its health from now on.
        health: Health,
        /// The reason.
        why: Cause,
    },
    /// A service's checks are ignored from now on, or respected again.
    Panic {
        /// The service's name.
        service: String,
        /// Whether they are ignored.
        active: bool,
        /// How many real servers the checks report down.
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
    /// A real server can bear more or less, or has more or fewer connections.
    Load {
        /// The service's name.
        service: String,
        /// The real server.
        address: IpAddr,
        /// Its load from now on.
        load: Load,
    },
    /// A real server's part of its weight in steps is another one.
    Step {
        /// The service's name.
        service: String,
        /// The real server.
        address: IpAddr,
    },
    /// The owner of a real server or the program of its check takes it out of rotation, or puts it
    /// back.
    Rotation {
        /// The service's name.
        service: String,
        /// The real server.
        address: IpAddr,
        /// What it was.
        before: Rotation,
        /// What it is from now on.
        after: Rotation,
    },
}
