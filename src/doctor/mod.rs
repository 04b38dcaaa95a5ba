//! The conclusions of `vstun doctor` from observations: findings, each with its evidence and the
//! commands that correct it. Pure; `app::doctor` observes.
//!
//! 1. `director`, `realserver`: from the facts of a host and its daemon to findings.
//! 2. `firewall`: the verdict of an nftables ruleset on a packet.
//! 3. `marked`: packets whose path through nftables the kernel reports.
//! 4. `inquiry`: the inquiry to a real server's daemon through the tunnel, and its answer.
//! 5. `finding`: a finding, its position in the order, and the report.

mod cause;
mod conntrack;
mod delivery;
mod director;
mod director_routes;
mod duplicates;
mod ends;
mod fast_path;
mod finding;
pub mod firewall;
mod happened;
mod host;
pub mod inquiry;
mod link_layer;
pub mod marked;
mod neighbours;
mod no_reply_route;
mod observed;
mod observed_realserver;
mod passage;
mod ports;
mod probe_packets;
mod realserver;
mod refused_clients;
mod reply_routes;
mod serving;
mod translation;
mod tunnels;

pub use cause::Cause;
pub use conntrack::ConntrackTable;
pub use delivery::needs_traffic;
pub use director::diagnose_director;
pub use director_routes::{LostDirector, LostWay, RouteLeads, StrayDirector};
pub use duplicates::DuplicateAddress;
pub use ends::{EndAnswer, EndFacts, FullSize};
pub use finding::{Diagnosis, Finding, Severity};
pub use host::{HostFault, host_findings};
pub use observed::{DirectorFacts, Listened, NeighbourEntry, RouteToReal};
pub use observed_realserver::{
    Listening, RealServerFacts, ReplyRoute, ReplyTable, ReplyTo, RouteResult,
};
pub use realserver::diagnose_realserver;
pub use refused_clients::{ClientSeen, RefusedClient, SourceRefusal};
pub use tunnels::Tunnelled;
