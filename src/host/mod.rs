//! Host set-up as a plan of steps, each with its inverse. Pure; imports no other module of vstun.
//!
//! [`Facts`] are the state of the host; a role's configuration and the facts give a [`HostPlan`] or
//! a [`HostRefusal`]. Nothing here touches the host: the plan is read, recorded and carried out
//! elsewhere.
//!
//! Two routes, two meanings: the **capture** `VIP dev TUN` brings a virtual IP's packets into the
//! program and stays from start to exit. The **announcement** (proxy neighbour entries, the copy of
//! the route in `announce_table`) shows other hosts where the virtual IP is, and removing it
//! withdraws the virtual IP.

pub mod capture;
pub mod contest;
pub mod copies;
pub mod default_route;
pub mod defence;
mod desired;
pub mod director;
mod facts;
mod family;
pub mod ipsec;
mod ipsec_policy;
mod ipv6;
pub mod own_macs;
mod plan;
mod problem;
pub mod realserver;
mod record;
mod recorded;
mod refusal;
pub mod reliance;
pub mod rename;
pub mod replies;
mod route;
mod routes;
pub mod selective;
mod selectors;
mod step;
pub mod sysctl;
pub mod undone;

#[cfg(test)]
mod tests;

pub use desired::{DesiredDirector, DesiredRealServer, ServedPorts};
pub use facts::{Facts, Link, LocalAddress, Lookup, Proxies, Rule, TUNNEL_MODULES, TunnelDevice};
pub use family::Family;
pub use ipsec_policy::{IpsecPolicy, PolicyAction, PolicyDirection};
pub use plan::{
    AdvertisedMss, Announcement, HostPlan, LinkMtus, MIN_TUN_MTU, MIN_TUN_MTU_V6, OuterSources,
    TunnelRoutes,
};
pub use problem::{CurrentProblems, OngoingProblem, Problem, ProblemChange, ProblemKind};
pub use record::{HostRecord, RecordKey};
pub use refusal::{HostRefusal, resolution};
pub use route::{Hop, Raw, Route, RouteKey, RouteKind, metric};
pub use routes::{AmbiguousRoute, RouteEvent, Routes};
pub use selective::SelectiveRule;
pub use selectors::Selectors;
pub use step::{HostStep, LOCAL, MAIN, Object, PROTOCOL};
