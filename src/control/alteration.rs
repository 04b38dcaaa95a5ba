//! One change of a running director or real server, as a value.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use crate::balancer::Outage;
use crate::health::CheckCause;
use crate::health::load::Rotation;
use crate::model::{
    Difference, Health, Listen, RealSpec, RealState, RealValue, SchedulerKind, ServiceSpec,
};

/// A change, and what it concerns. [`AlterationText`](super::AlterationText) is how it prints.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Alteration {
    /// The service concerned.
    pub service: Option<String>,
    /// The real server, or the virtual IP.
    pub address: Option<IpAddr>,
    /// What has changed.
    pub what: Altered,
}

/// The kind of a change, with its old and its new value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Altered {
    /// A service was added.
    AddService(Summary),
    /// A service was removed; `None`: it is not known.
    RemoveService(Option<Summary>),
    /// A service has another name.
    Name {
        /// The old name.
        before: String,
        /// The new name.
        after: String,
    },
    /// A service has other listens.
    Listens {
        /// Where it listened.
        before: Vec<Listen>,
        /// Where it listens.
        after: Vec<Listen>,
    },
    /// A service has another scheduler.
    Scheduler {
        /// The old one; `None`: it is not known.
        before: Option<SchedulerKind>,
        /// The new one.
        after: SchedulerKind,
    },
    /// A key of the configuration has another value.
    Setting(Difference),
    /// A key of `[director.timeouts]` has another value.
    Timeout(Difference),
    /// A real server was added.
    AddReal(RealSpec),
    /// A real server was removed; `None`: it is not known.
    RemoveReal(Option<RealSpec>),
    /// A value of a real server.
    Real {
        /// The old one.
        before: RealValue,
        /// The new one.
        after: RealValue,
    },
    /// The wanted state of a real server.
    State {
        /// The old one; `None`: it is not known.
        before: Option<StateUntil>,
        /// The new one.
        after: StateUntil,
    },
    /// The health of a real server.
    Health {
        /// The old one; `None`: it is not known.
        before: Option<Health>,
        /// The new one.
        after: Health,
        /// Why, by its checks; `None`: it is not known.
        why: Option<CheckCause>,
    },
    /// The rotation of a real server, as its agent reports it.
    Rotation {
        /// The old one.
        before: Rotation,
        /// The new one.
        after: Rotation,
    },
    /// A service has its quorum again, or has lost it.
    Quorum {
        /// Whether it has it.
        reached: bool,
        /// The sum of the weights of the real servers that take connections.
        alive: u64,
    },
    /// A service's checks are ignored because too many fail, or used again.
    Panic {
        /// Whether they are ignored.
        active: bool,
        /// How many of its real servers fail their checks.
        down: usize,
        /// How many it has.
        all: usize,
    },
    /// A service has entered flood mode, or left it.
    FloodMode {
        /// Whether it is in it.
        active: bool,
    },
    /// A service has lost its last available real server, or has one again.
    Served {
        /// Why none of its real servers takes new connections; `None`: one takes them again.
        outage: Option<Outage>,
    },
    /// Clients' SYNs at a real server lead to no connection.
    Unanswered {
        /// SYNs since the last handshake that ended.
        syns: u32,
        /// The time since the first of them.
        lasting: Duration,
    },
    /// A virtual IP is announced, or withdrawn.
    Announced {
        /// Whether it is announced.
        announced: bool,
        /// Whether the quorum of its services is the reason; otherwise an operator's command is.
        by_quorum: bool,
    },
    /// The source address of the tunnel to a real server.
    Source {
        /// The old one; `None`: there was none.
        before: Option<IpAddr>,
        /// The new one.
        after: IpAddr,
    },
    /// The MTU of the director's link or route to a real server, in bytes.
    LinkMtu {
        /// The old one; `None`: there was none.
        before: Option<u32>,
        /// The new one.
        after: u32,
    },
    /// A virtual IP was added.
    AddVip,
    /// A virtual IP was removed.
    RemoveVip,
    /// The connections of a real server end, because its deadline has passed.
    Ended {
        /// How many.
        connections: u64,
    },
    /// Connections were forgotten.
    Flush {
        /// How many.
        connections: u64,
    },
    /// A step of host set-up that another program had undone was made again.
    PutBack {
        /// The step, as text.
        step: String,
    },
    /// A problem of the host has begun.
    HostWrong {
        /// The problem, as text.
        problem: String,
    },
    /// A problem of the host is over.
    HostRight {
        /// The problem, as text.
        problem: String,
    },
}

/// A service in brief.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Summary {
    /// Its scheduler.
    pub scheduler: SchedulerKind,
    /// Where it listens.
    pub listens: Vec<Listen>,
    /// How many real servers it has.
    pub reals: usize,
}

/// A state of a real server, and how long it keeps its connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StateUntil {
    /// The state.
    pub state: RealState,
    /// The time left to its connections; `None`: no limit.
    pub left: Option<Duration>,
}

impl Alteration {
    /// A change of the whole director or real server.
    #[must_use]
    pub fn of(what: Altered) -> Self {
        Self { service: None, address: None, what }
    }

    /// A change of a service.
    #[must_use]
    pub fn of_service(service: &str, what: Altered) -> Self {
        Self { service: Some(service.to_owned()), ..Self::of(what) }
    }

    /// A change of a service's real server.
    #[must_use]
    pub fn of_real(service: &str, address: IpAddr, what: Altered) -> Self {
        Self { address: Some(address), ..Self::of_service(service, what) }
    }

    /// A change of a real server in all services, or of a virtual IP.
    #[must_use]
    pub fn of_address(address: IpAddr, what: Altered) -> Self {
        Self { address: Some(address), ..Self::of(what) }
    }

    /// Virtual IPs that are removed, and those that are added.
    #[must_use]
    pub fn of_virtual_ips(before: &[IpAddr], after: &[IpAddr]) -> Vec<Self> {
        let only = |what: Altered, these: &[IpAddr], others: &[IpAddr]| {
            let only: BTreeSet<_> = these.iter().filter(|vip| !others.contains(vip)).collect();
            let one = |vip: &IpAddr| Self::of_address(*vip, what.clone());
            only.into_iter().map(one).collect::<Vec<_>>()
        };
        let removed = only(Altered::RemoveVip, before, after);
        removed.into_iter().chain(only(Altered::AddVip, after, before)).collect()
    }
}

impl Altered {
    /// Whether the new value is the old one.
    #[must_use]
    pub fn is_none(&self) -> bool {
        match self {
            Self::Name { before, after } => before == after,
            Self::Listens { before, after } => before == after,
            Self::Scheduler { before, after } => *before == Some(*after),
            Self::Real { before, after } => before == after,
            Self::State { before, after } => *before == Some(*after),
            _ => false,
        }
    }
}

impl From<&ServiceSpec> for Summary {
    fn from(spec: &ServiceSpec) -> Self {
        let ServiceSpec { scheduler, listens, reals, .. } = spec;
        Self { scheduler: *scheduler, listens: listens.clone(), reals: reals.len() }
    }
}
