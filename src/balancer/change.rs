//! The changes of a running balancer. Configuration, operator and health checks all send a
//! `Change`: one path writes the tables.

use std::net::IpAddr;
use std::sync::Arc;

use super::carriage::Interfaces;
use super::maglev;
use super::probe_flows::{MAX_PINNED, ProbeFlow};
use super::tunnel::{LinkMtus, Sources};
use crate::model::{
    AdminState, Encap, Health, Listen, Load, Policy, RealSpec, RealValue, SavedState,
    SchedulerKind, Seed, ServiceSpec, Timeouts, WeightStep,
};

/// One change. It contains names and addresses, not IDs, since it can come from outside.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// Adds a service with its real servers.
    AddService(ServiceSpec),
    /// Removes a service. A connection stays if another service listens there after the batch and
    /// has its real server; the others end.
    RemoveService {
        /// The service's name.
        service: String,
    },
    /// Renames services, all at once: two may swap their names.
    RenameServices {
        /// Each service's old name and its new one.
        names: Vec<(String, String)>,
    },
    /// Replaces a service's listens. Connections follow them, as for
    /// [`RemoveService`](Self::RemoveService), or stay with the service.
    SetListens {
        /// The service's name.
        service: String,
        /// All its listens.
        listens: Vec<Listen>,
    },
    /// Sets another scheduler.
    SetScheduler {
        /// The service's name.
        service: String,
        /// The new scheduler.
        scheduler: SchedulerKind,
    },
    /// Sets another policy; existing flows keep their real servers.
    SetPolicy {
        /// The service's name.
        service: String,
        /// The new policy.
        policy: Policy,
    },
    /// Adds a real server; one that was removed and still drains returns with its connections and
    /// counters.
    AddReal {
        /// The service's name.
        service: String,
        /// The real server.
        real: RealSpec,
    },
    /// Removes a real server: it takes no new connection, and is freed when its last one has ended.
    RemoveReal {
        /// The service's name.
        service: String,
        /// The real server's address.
        address: IpAddr,
    },
    /// Sets a value of a real server.
    SetReal {
        /// The service's name.
        service: String,
        /// The real server's address.
        address: IpAddr,
        /// The value.
        value: RealValue,
    },
    /// Sets a service's Maglev table, computed by a [`maglev::MaglevTables`]; used while its
    /// scheduler is mh.
    SetMaglev {
        /// The service's name.
        service: String,
        /// The table.
        table: Arc<maglev::MaglevTable>,
    },
    /// Sets the seed of the hash that places flows. Directors with the same seed place flows alike.
    SetHashSeed(Seed),
    /// Sets the wanted state of a real server.
    SetState {
        /// The service's name.
        service: String,
        /// The real server's address.
        address: IpAddr,
        /// The wanted state.
        state: AdminState,
    },
    /// Restores the state of a real server from before changes that are rolled back.
    RestoreState {
        /// The service's name.
        service: String,
        /// The real server's address.
        address: IpAddr,
        /// The saved state.
        saved: SavedState,
    },
    /// Sets the health of a real server; its wanted state stays.
    SetHealth {
        /// The service's name.
        service: String,
        /// The real server's address.
        address: IpAddr,
        /// Its health.
        health: Health,
    },
    /// Sets the load that a real server reports.
    SetLoad {
        /// The service's name.
        service: String,
        /// The real server's address.
        address: IpAddr,
        /// Its load.
        load: Load,
    },
    /// Sets the share of its weight that a real server has where flows are placed by hash.
    SetStep {
        /// The service's name.
        service: String,
        /// The real server's address.
        address: IpAddr,
        /// The share of its weight.
        step: WeightStep,
    },
    /// Sends a probe's flow to this real server from now on, independent of services and their
    /// counters.
    PinProbe {
        /// The flow.
        flow: ProbeFlow,
        /// The real server's address.
        address: IpAddr,
        /// How packets to it are encapsulated.
        encap: Encap,
    },
    /// Ends the pinning of this flow.
    UnpinProbe(ProbeFlow),
    /// Sets the director's own addresses towards the real servers, also for real servers added
    /// later.
    SetSources(Sources),
    /// Sets the MTU of the director's own link or route to each real server, also for real servers
    /// added later.
    SetLinkMtus(LinkMtus),
    /// Sets the interfaces towards the real servers, which carried packets need.
    SetInterfaces(Interfaces),
    /// Sets the table's capacity, at most [`MAX_CAPACITY`](super::table::MAX_CAPACITY). If it has
    /// more connections, none is added until there are fewer.
    SetCapacity(u32),
    /// Sets timeouts; a flow uses them from its next packet on.
    SetTimeouts(Timeouts),
}

impl Change {
    /// Whether connections may belong to another service after this change; see
    /// [`Balancer::follows_listens`](super::Balancer::follows_listens).
    #[must_use]
    pub fn may_move_connections(&self) -> bool {
        matches!(
            self,
            Self::AddService(_)
                | Self::RemoveService { .. }
                | Self::SetListens { .. }
                | Self::AddReal { .. }
                | Self::RemoveReal { .. }
        )
    }
}

/// Why a change was refused; then nothing has changed, except for [`Self::PartlyApplied`].
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
    /// The real server was removed, and is listed only until its last flows end.
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
        /// The requested listen.
        listen: Listen,
        /// The name of the service that listens there.
        other: String,
    },
    /// A value that breaks its rule.
    #[error("{}", .0.broken_rule().unwrap_or_default())]
    Value(RealValue),
    /// There are [`MAX_PINNED`] pinned flows of probes already.
    #[error("{MAX_PINNED} flows of probes are pinned already")]
    Probes,
    /// No memory for a table of this capacity.
    #[error("there is no memory for a table of {0} connections; set a smaller `max_connections`")]
    Memory(u32),
    /// The check of a batch has missed this error of one of its changes; the others are applied.
    #[error(
        "all was changed except that {0}: this is a fault of vstun; restart it, and report this"
    )]
    PartlyApplied(Box<Self>),
}
