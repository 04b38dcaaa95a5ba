//! What can change in a running balancer. Configuration, operator and health checks all speak
//! `Change`: one path writes the tables.

use std::net::IpAddr;
use std::sync::Arc;

use super::maglev;
use super::probes::{MAX_PINNED, ProbeFlow};
use super::tunnel::Sources;
use crate::model::{
    Health, Listen, MAX_WEIGHT, Policy, RealSpec, SavedState, SchedulerKind, Seed, ServiceSpec,
    Thresholds, Timeouts, Wanted,
};

/// One change. Names and addresses, not ids: a change can come from outside.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// A new service with its real servers.
    AddService(ServiceSpec),
    /// A service goes; its connections with it.
    RemoveService {
        /// The service's name.
        service: String,
    },
    /// Services have other names from now on, all at once: two may swap theirs.
    RenameServices {
        /// Each service's old name and its new one.
        names: Vec<(String, String)>,
    },
    /// Where the service listens, anew.
    SetListens {
        /// The service's name.
        service: String,
        /// All its listens.
        listens: Vec<Listen>,
    },
    /// Another scheduler.
    SetScheduler {
        /// The service's name.
        service: String,
        /// The new scheduler.
        scheduler: SchedulerKind,
    },
    /// Another way to treat its flows; those there are keep what they have.
    SetPolicy {
        /// The service's name.
        service: String,
        /// The new policy.
        policy: Policy,
    },
    /// A real server joins; one that was being drained comes back with its connections and
    /// counters.
    AddReal {
        /// The service's name.
        service: String,
        /// The real server.
        real: RealSpec,
    },
    /// A real server takes no new connection and goes when its last one has gone.
    RemoveReal {
        /// The service's name.
        service: String,
        /// The real server's address.
        address: IpAddr,
    },
    /// A new weight.
    SetWeight {
        /// The service's name.
        service: String,
        /// The real server's address.
        address: IpAddr,
        /// 0 to [`MAX_WEIGHT`].
        weight: u32,
    },
    /// A service's Maglev table, made by a [`maglev::MaglevTables`]; used while its scheduler is
    /// mh.
    SetMaglev {
        /// The service's name.
        service: String,
        /// The table.
        table: Arc<maglev::Table>,
    },
    /// What flows that are placed by hash are hashed with. Directors that are to agree have the
    /// same.
    SetHashSeed(Seed),
    /// Another state of a real server.
    SetState {
        /// The service's name.
        service: String,
        /// The real server's address.
        address: IpAddr,
        /// What is wanted of it from now on.
        state: Wanted,
    },
    /// A real server stands again as it did before changes that could not be kept.
    RestoreState {
        /// The service's name.
        service: String,
        /// The real server's address.
        address: IpAddr,
        /// How it stood.
        saved: SavedState,
    },
    /// What health checks say of a real server; what is wanted of it stays as it is.
    SetHealth {
        /// The service's name.
        service: String,
        /// The real server's address.
        address: IpAddr,
        /// Their word.
        health: Health,
    },
    /// A probe's flow goes to this real server from now on, whatever the services say, and is
    /// counted by none.
    PinProbe {
        /// The flow.
        flow: ProbeFlow,
        /// The real server's address.
        address: IpAddr,
    },
    /// It does not any more.
    UnpinProbe(ProbeFlow),
    /// Other thresholds.
    SetThresholds {
        /// The service's name.
        service: String,
        /// The real server's address.
        address: IpAddr,
        /// How many connections it takes.
        thresholds: Thresholds,
    },
    /// The director's own addresses towards the real servers, all of them: also for those that join
    /// later.
    SetSources(Sources),
    /// New timeouts; flows take them with their next packet.
    SetTimeouts(Timeouts),
}

/// Why a change was refused; nothing has changed then.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ChangeError {
    /// A service of that name exists.
    #[error("service {0:?} exists already")]
    ServiceExists(String),
    /// No service of that name.
    #[error("there is no service {0:?}")]
    NoService(String),
    /// The service has that real server already.
    #[error("service {service:?} has real server {address} already")]
    RealExists {
        /// The service's name.
        service: String,
        /// The address.
        address: IpAddr,
    },
    /// The service does not have that real server.
    #[error("service {service:?} has no real server {address}")]
    NoReal {
        /// The service's name.
        service: String,
        /// The address.
        address: IpAddr,
    },
    /// The real server was removed and only serves its last flows.
    #[error("real server {address} was removed from service {service:?}; add it to have it back")]
    Removed {
        /// The service's name.
        service: String,
        /// The address.
        address: IpAddr,
    },
    /// Two listens share a port.
    #[error("listen {listen} overlaps one of service {other:?}")]
    Overlap {
        /// The listen that was asked for.
        listen: Listen,
        /// The name of the service that has it.
        other: String,
    },
    /// A weight above [`MAX_WEIGHT`].
    #[error("weight {0} is above {MAX_WEIGHT}")]
    Weight(u32),
    /// [`MAX_PINNED`] flows of probes are pinned already.
    #[error("{MAX_PINNED} flows of probes are pinned already")]
    Probes,
    /// Thresholds that contradict each other, or an upper one above what the largest table holds.
    #[error("threshold lower = {} is above upper = {}, or that above {}", .0.lower, .0.upper, Thresholds::MAX)]
    Thresholds(Thresholds),
}
