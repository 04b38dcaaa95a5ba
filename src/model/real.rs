//! A real server: what is configured, what is wanted of it, what its health is, and its state.

use std::net::IpAddr;
use std::time::Duration;

use super::thresholds::Thresholds;

/// The largest weight of a real server (keepalived's bound).
pub const MAX_WEIGHT: u32 = 65_535;

/// A real server as configured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RealSpec {
    /// Where tunnelled packets go.
    pub address: IpAddr,
    /// Share of new connections, 0 to [`MAX_WEIGHT`]; 0 takes no new connection.
    pub weight: u32,
    /// How many connections it takes.
    pub thresholds: Thresholds,
    /// The state it begins in.
    pub state: Wanted,
    /// Whether it takes new connections only while no other real server of its service can.
    pub last_resort: bool,
}

impl RealSpec {
    /// One that is up, with that weight and the defaults.
    #[must_use]
    pub const fn new(address: IpAddr, weight: u32) -> Self {
        let thresholds = Thresholds { upper: 0, lower: 0 };
        Self { address, weight, thresholds, state: Wanted::Up, last_resort: false }
    }

    /// A service's `fallback_real`.
    #[must_use]
    pub const fn last_resort(address: IpAddr) -> Self {
        Self { last_resort: true, ..Self::new(address, 1) }
    }
}

/// What is wanted of a real server, by its configuration or its operator.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Wanted {
    /// Takes new flows (unless its weight is 0).
    #[default]
    Up,
    /// Takes no new flow; those it has go on.
    Draining {
        /// After this long those that are left are ended; `None`: the service's own deadline, if it
        /// has one.
        deadline: Option<Duration>,
    },
    /// Dead: takes no new flow, and nothing that is sent there arrives.
    Down,
    /// Out of service by the operator's own word, which no health check undoes.
    Disabled,
}

impl Wanted {
    /// The name in configuration, requests and listings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Draining { .. } => "draining",
            Self::Down => "down",
            Self::Disabled => "disabled",
        }
    }
}

/// How a real server stood at a moment, for the way back to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SavedState {
    /// What was wanted of it.
    pub wanted: Wanted,
    /// How long its flows had, whatever the deadline of its service is; `None`: for as long as they
    /// go on.
    pub left: Option<Duration>,
    /// Whether it had all of its weight, and need not start slowly again.
    pub grown: bool,
}

/// What health checks say of a real server: a word of its own beside what is [`Wanted`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Health {
    /// It answers, or nobody has asked.
    #[default]
    Up,
    /// It does not answer.
    Down,
}

impl Health {
    /// The name in events and listings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// The state of a real server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RealState {
    /// Takes new connections (unless its weight is 0).
    Up,
    /// Takes no new connection and keeps those it has, up to a deadline where there is one.
    Draining,
    /// Dead.
    Down,
    /// Out of service by the operator's own word.
    Disabled,
}

impl RealState {
    /// The state's name in listings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Draining => "draining",
            Self::Down => "down",
            Self::Disabled => "disabled",
        }
    }
}
