//! The answer to `list`: services, their real servers, and the drops.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::balancer::{Snapshot, snapshot};
use crate::wire::encap::Encap;

use super::counts::Counts;
use super::host::HostStatus;
use super::latency::ListedLatency;

/// How much of a capacity is in use.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Use {
    /// In use.
    pub current: u64,
    /// The capacity.
    pub capacity: u64,
}

/// The director's services.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ServiceList {
    /// The connection table.
    pub connections: Use,
    /// Persistence templates.
    #[serde(default)]
    pub templates: Use,
    /// The services, in configuration order.
    pub services: Vec<ListedService>,
    /// Packets dropped, by reason.
    pub drops: Counts,
    /// The virtual IPs.
    #[serde(default)]
    pub vips: Vec<VirtualIp>,
    /// The problems of the host.
    #[serde(default)]
    pub host: HostStatus,
    /// Milliseconds since the daemon was ready, as of this list.
    #[serde(default)]
    pub uptime_milliseconds: u64,
    /// The interval of the rates in milliseconds; absent without rates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_milliseconds: Option<u64>,
}

/// Events per second, rounded.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Rate {
    /// New connections (ipvsadm's CPS).
    pub connections: u64,
    /// Packets (`InPPS`).
    pub packets: u64,
    /// Bytes (`InBPS`).
    pub bytes: u64,
}

/// A virtual IP.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct VirtualIp {
    /// Its address.
    pub address: IpAddr,
    /// Whether this director answers for it and announces it; if not, it still forwards packets
    /// that arrive.
    pub announced: bool,
}

/// A service.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ListedService {
    /// Its name.
    pub name: String,
    /// Where it listens, as configured.
    pub listen: Vec<String>,
    /// Its scheduler's name.
    pub scheduler: String,
    /// Its Maglev table; absent with other schedulers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maglev: Option<ListedMaglev>,
    /// Why none of its real servers takes new connections: `2 down, 1 of weight 0`; absent while
    /// one is in service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outage: Option<String>,
    /// Its flood counters.
    #[serde(default)]
    pub flood: ListedFlood,
    /// Whether it has its quorum; absent without health checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quorum: Option<bool>,
    /// Whether its health checks are ignored because too many real servers fail them; absent when
    /// not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub panic: bool,
    /// The sum of its real servers' rates; absent without rates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Its real servers, in configuration order.
    pub reals: Vec<ListedReal>,
}

/// A summary of a Maglev table.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ListedMaglev {
    /// How many slots it has.
    pub slots: u64,
    /// 16 hexadecimal digits: the same in all directors that place flows alike.
    pub checksum: String,
}

/// A service's flood counters.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct ListedFlood {
    /// Whether it is in flood mode.
    pub active: bool,
    /// How often it has entered flood mode.
    pub floods: u64,
    /// Packets placed without an entry because of flood mode.
    pub without_entry: u64,
}

/// A real server.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ListedReal {
    /// Its address.
    pub address: String,
    /// Its weight.
    pub weight: u32,
    /// How packets to it are encapsulated: `ipip`, `gre` or `gue`.
    #[serde(default = "ipip")]
    pub encap: String,
    /// Whether it is the service's `fallback_real`, which takes new connections only while no other
    /// real server can; absent when not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub last_resort: bool,
    /// `up`, `draining`, `down` or `disabled`.
    pub state: String,
    /// The state that the file or a verb has set, regardless of health checks.
    #[serde(default)]
    pub wanted: String,
    /// When a verb or a reload last changed that state, UTC by RFC 3339; absent if none has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted_since: Option<String>,
    /// Since when it has its health, UTC by RFC 3339; absent without health checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The latest reason for its health: `http check failed: status 503`; absent without health
    /// checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Whether it was removed, and disappears with its last connection; absent when not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
    /// Seconds until its connections are ended; absent without a deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_seconds: Option<u64>,
    /// Its effective weight during slow start; absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_weight: Option<Thousandths>,
    /// Established connections that it reports, plus those given to it since the report; absent if
    /// it reports none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<u64>,
    /// Connections in an active state.
    pub active: u64,
    /// Active connections whose handshake has not been seen completely.
    #[serde(default)]
    pub half_open: u64,
    /// The other connections.
    pub inactive: u64,
    /// Connections ever opened to it.
    pub connections: u64,
    /// Persistence templates that name it.
    #[serde(default)]
    pub templates: u64,
    /// At this many connections it takes no new one; absent without such a bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upper: Option<u32>,
    /// Below this many it takes new ones again; absent if that is three quarters of `upper`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lower: Option<u32>,
    /// Whether it takes no new connection because of `upper`.
    #[serde(default)]
    pub full: bool,
    /// Packets sent to it.
    pub packets: u64,
    /// Bytes of those packets, without the outer header.
    pub bytes: u64,
    /// How many of these packets the fast path carried; absent if it has carried none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carried_packets: Option<u64>,
    /// The same three per second; absent without rates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// ICMP protocol-unreachable: no vstun-realserver or IPIP tunnel runs there, or its socket is
    /// full.
    #[serde(default)]
    pub protocol_unreachable: u64,
    /// Other unreachable and time-exceeded errors.
    #[serde(default)]
    pub unreachable: u64,
    /// The smallest MTU that routers report on the path, in bytes; absent if none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_mtu: Option<u16>,
    /// The MTU of the director's link or route to it, in bytes; absent if it never had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_mtu: Option<u32>,
    /// How long its clients wait for it, estimated from their packets; absent before the first
    /// measurement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Box<ListedLatency>>,
}

/// The encapsulation of daemons that do not report it.
fn ipip() -> String {
    Encap::Ipip.name().to_owned()
}

/// A number with three decimals: 0.25 is 250 thousandths.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(from = "f64", into = "f64")]
pub struct Thousandths(pub u32);

impl From<Thousandths> for f64 {
    fn from(Thousandths(number): Thousandths) -> Self {
        Self::from(number) / 1_000.0
    }
}

/// Rounds to the nearest such number.
impl From<f64> for Thousandths {
    // A cast of a float saturates.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn from(number: f64) -> Self {
        Self((number * 1_000.0).round() as u32)
    }
}

impl From<&Snapshot> for ServiceList {
    fn from(snapshot: &Snapshot) -> Self {
        Self {
            uptime_milliseconds: 0,
            rate_milliseconds: None,
            connections: Use {
                current: snapshot.connections as u64,
                capacity: snapshot.capacity as u64,
            },
            templates: Use {
                current: snapshot.templates as u64,
                capacity: snapshot.templates_capacity as u64,
            },
            services: snapshot.services.iter().map(ListedService::from).collect(),
            drops: (&snapshot.counters).into(),
            vips: Vec::new(),
            host: HostStatus::default(),
        }
    }
}

impl From<&snapshot::ServiceSnapshot> for ListedService {
    fn from(service: &snapshot::ServiceSnapshot) -> Self {
        Self {
            name: service.name.as_ref().to_owned(),
            listen: service.listens.iter().map(ToString::to_string).collect(),
            scheduler: service.scheduler.name().to_owned(),
            maglev: service.maglev.map(|maglev| ListedMaglev {
                slots: maglev.slots as u64,
                checksum: format!("{:016x}", maglev.checksum),
            }),
            outage: service.outage.map(|outage| outage.to_string()),
            flood: service.flood.into(),
            quorum: None,
            panic: false,
            rate: None,
            reals: service.reals.iter().map(ListedReal::from).collect(),
        }
    }
}

impl From<snapshot::FloodSnapshot> for ListedFlood {
    fn from(flood: snapshot::FloodSnapshot) -> Self {
        let snapshot::FloodSnapshot { active, floods, without_entry } = flood;
        Self { active, floods, without_entry }
    }
}

impl From<&snapshot::RealSnapshot> for ListedReal {
    fn from(real: &snapshot::RealSnapshot) -> Self {
        let [weight, upper, lower] = real.values.numbers();
        Self {
            address: real.address.to_string(),
            weight,
            encap: real.values.encap.name().to_owned(),
            last_resort: real.last_resort,
            state: real.state.name().to_owned(),
            wanted: real.wanted.name().to_owned(),
            wanted_since: None,
            since: None,
            why: None,
            removed: real.removed,
            deadline_seconds: real.deadline.map(|left| left.as_secs()),
            effective_weight: real.effective_weight.map(Thousandths),
            reported: real.reported,
            active: real.active,
            half_open: real.half_open,
            inactive: real.inactive,
            connections: real.connections,
            templates: real.templates,
            upper: Some(upper).filter(|&upper| upper > 0),
            lower: Some(lower).filter(|&lower| lower > 0),
            full: real.full,
            packets: real.packets,
            bytes: real.bytes,
            carried_packets: Some(real.carried_packets).filter(|&packets| packets > 0),
            rate: None,
            protocol_unreachable: real.protocol_unreachable,
            unreachable: real.unreachable,
            path_mtu: real.path_mtu,
            link_mtu: real.link_mtu,
            latency: real.latency.as_deref().map(|latency| Box::new(latency.into())),
        }
    }
}
