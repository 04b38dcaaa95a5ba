//! Explains where a flow goes without sending it: the decision of [`Balancer::forward`] at this
//! moment.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use super::Balancer;
use super::flow::Key;
use super::persistence::By;
use super::real::Life;
use super::sched::Eligible;
use super::table::Entry;
use super::tcp::State;
use crate::model::{Millis, Protocol, RealId, SchedulerKind, ServiceId};
use crate::wire::protocol;

/// A flow in text form: `tcp 198.51.100.7:40000 192.0.2.10:80`, or
/// `udp [2001:db8::7]:40000 [2001:db8::10]:53`. Without the client's port it is any new flow of
/// the client: `tcp 198.51.100.7 192.0.2.10:80`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FlowQuery {
    /// The transport.
    pub protocol: Protocol,
    /// The client; its port is 0 where none was named, which no packet's is (RFC 6335 section 6).
    pub client: SocketAddr,
    /// The virtual IP and port.
    pub virtual_address: SocketAddr,
}

/// Why a text is not a [`FlowQuery`]; the message says what to write.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FlowError {
    /// Not three words.
    #[error("{0} words; write three, as in tcp 198.51.100.7:40000 192.0.2.10:80")]
    Words(usize),
    /// The first word is neither `tcp` nor `udp`.
    #[error("{0:?} is no transport; write tcp or udp")]
    Protocol(String),
    /// The second or third word is not an address with a port.
    #[error("{0:?} is no address with a port; write 198.51.100.7:40000 or [2001:db8::7]:40000")]
    Address(String),
    /// Client and virtual IP are of different families.
    #[error("{0} and {1} are of different families, which no packet is")]
    Families(IpAddr, IpAddr),
}

impl fmt::Display for FlowQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.protocol)?;
        match self.any_port() {
            true => write!(f, "{}", self.client.ip()),
            false => write!(f, "{}", self.client),
        }?;
        write!(f, " {}", self.virtual_address)
    }
}

impl FromStr for FlowQuery {
    type Err = FlowError;

    fn from_str(text: &str) -> Result<Self, FlowError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [protocol, client, virtual_address] = words[..] else {
            return Err(FlowError::Words(words.len()));
        };
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            other => return Err(FlowError::Protocol(cut(other))),
        };
        let (client, virtual_address) = (client_of(client)?, endpoint(virtual_address)?);
        if client.is_ipv4() != virtual_address.is_ipv4() {
            return Err(FlowError::Families(client.ip(), virtual_address.ip()));
        }
        Ok(Self { protocol, client, virtual_address })
    }
}

impl FlowQuery {
    /// Whether the client's port was not named.
    #[must_use]
    pub fn any_port(&self) -> bool {
        self.client.port() == 0
    }
}

/// A client with its port or without.
fn client_of(text: &str) -> Result<SocketAddr, FlowError> {
    let address = text.parse::<IpAddr>().ok().filter(|address| address.to_canonical() == *address);
    address.map_or_else(|| endpoint(text), |address| Ok((address, 0).into()))
}

/// The parser accepts a numeric zone, and an IPv4-mapped address would be the key of an IPv4 flow:
/// packets have neither.
fn endpoint(text: &str) -> Result<SocketAddr, FlowError> {
    let mapped = |address: &SocketAddr| address.ip().to_canonical() != address.ip();
    let parsed = text.parse().ok().filter(|address| !text.contains('%') && !mapped(address));
    parsed.ok_or_else(|| FlowError::Address(cut(text)))
}

/// Untrusted text, cut for a message.
fn cut(text: &str) -> String {
    const SHOWN: usize = 64;
    text.chars().take(SHOWN).collect()
}

/// The decision about a flow's next packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Explanation {
    /// The service that it belongs to.
    pub service: Option<String>,
    /// Its real server, if it opens a connection or has one.
    pub real: Option<IpAddr>,
    /// The real server for TCP without a SYN; `None`: that is refused.
    pub mid_stream: Option<IpAddr>,
    /// Whether TCP in mid-stream is adopted, and where it goes depends on the client's port, which
    /// was not named.
    pub adopted_by_port: bool,
    /// The reason.
    pub why: Why,
}

/// The reason for a decision.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Why {
    /// It has an entry in the connection table.
    Entry {
        /// The state's name in IPVS.
        state: &'static str,
        /// The time since its last packet.
        idle: Duration,
        /// The time until it expires without a further packet.
        expires: Duration,
        /// Whether a SYN would start a new connection, which is placed like any other.
        reusable: bool,
    },
    /// It has no entry, but its client has a template.
    Template,
    /// It has no entry: the scheduler places a new flow.
    Scheduler(SchedulerKind),
    /// It never has an entry: the scheduler places each datagram.
    OnePacket(SchedulerKind),
    /// It has no entry, and the hash places it: the table of connections or templates is or was
    /// full, or its service is or was in flood mode.
    Hash,
    /// The hash of the whole flow places it, and the client's port was not named.
    Port(SchedulerKind),
    /// No real server of the service takes new connections.
    NoRealServer,
    /// It is a virtual IP, but no service listens on that port.
    NoService,
    /// No service listens on that address.
    NotVip,
}

impl Balancer {
    /// Where the flow's next packet would go, and why. A TCP packet without an entry is assumed to
    /// be a SYN. Changes nothing.
    #[must_use]
    pub fn explain(&self, now: Millis, flow: &FlowQuery) -> Explanation {
        let FlowQuery { protocol, client, virtual_address: vip } = flow;
        let key = Key::new(protocol.number(), client.ip(), client.port(), vip.ip(), vip.port());
        if let Some(explained) = self.explain_entry(now, &key).filter(|_| !flow.any_port()) {
            return explained;
        }
        let refused = |why| Explanation {
            service: None,
            real: None,
            mid_stream: None,
            adopted_by_port: false,
            why,
        };
        if !self.registry.listens.is_vip(vip.ip()) {
            return refused(Why::NotVip);
        }
        let Some(id) = self.registry.listens.find(*protocol, vip.ip(), vip.port()) else {
            return refused(Why::NoService);
        };
        let explained = self.explain_new(now, &key, id);
        if flow.any_port() { self.of_any_port(explained, id) } else { explained }
    }

    /// The same for whatever port the client takes.
    fn of_any_port(&self, explained: Explanation, id: ServiceId) -> Explanation {
        let service = &self.registry.services[id];
        let (kind, policy) = (service.kind, &service.policy);
        if policy.persistence.is_some() {
            return explained;
        }
        // What the schedulers hash, and what stands in for those that hash nothing.
        let hashes_ports = match kind {
            SchedulerKind::Maglev => policy.hash_ports.unwrap_or(true),
            SchedulerKind::SourceHashing => policy.hash_ports.unwrap_or(false),
            SchedulerKind::DestinationHashing | SchedulerKind::Failover => false,
            _ => true,
        };
        let new = match explained.why {
            Why::Hash => hashes_ports,
            Why::Scheduler(_) | Why::OnePacket(_) => hashes_ports && kind.by_hash(),
            _ => false,
        };
        let adopted_by_port = hashes_ports && explained.mid_stream.is_some();
        Explanation {
            real: explained.real.filter(|_| !new),
            mid_stream: explained.mid_stream.filter(|_| !adopted_by_port),
            adopted_by_port,
            why: if new { Why::Port(kind) } else { explained.why },
            ..explained
        }
    }

    /// For a flow without an entry.
    fn explain_new(&self, now: Millis, key: &Key, id: ServiceId) -> Explanation {
        let service = &self.registry.services[id];
        let (tcp, kind) = (key.protocol() == protocol::TCP, service.kind);
        let full = self.tables.connections.len() >= self.tables.connections.capacity();
        let hashed = service.hashed(now) || service.watch.flooded();
        let alone = !tcp && service.policy.one_packet;
        let by_hash = (!alone && (full || hashed)).then_some(Eligible::InRotation);
        let (chosen, by) = self.preview(now, key, id, by_hash);
        let real = chosen.map(|real| self.address_of(real));
        let known = tcp && (service.adopts() || hashed);
        let eligible =
            if service.adopts() { Eligible::ForExistingFlows } else { Eligible::InRotation };
        let mid_stream = known.then(|| self.preview(now, key, id, Some(eligible)).0).flatten();
        let mid_stream = mid_stream.filter(|&real| self.ending(now, real, Protocol::Tcp).is_none());
        Explanation {
            service: Some(service.name.clone()),
            real,
            mid_stream: mid_stream.map(|real| self.address_of(real)),
            adopted_by_port: false,
            why: match by {
                _ if real.is_none() => Why::NoRealServer,
                By::Template => Why::Template,
                By::Hash => Why::Hash,
                By::Scheduler if alone => Why::OnePacket(kind),
                By::Scheduler => Why::Scheduler(kind),
            },
        }
    }

    fn explain_entry(&self, now: Millis, key: &Key) -> Option<Explanation> {
        let entry: &Entry = self.tables.connections.entry(self.tables.connections.find(key)?)?;
        let real = &self.registry.reals[entry.real()];
        // Its next packet would remove such an entry.
        if real.life() == Life::Gone {
            return None;
        }
        let expires = self.lives(now, entry);
        let whole = match entry.state() {
            State::Established | State::Idle => self.settings.timeouts.tcp_established,
            state => state.timeout(&self.settings.timeouts),
        };
        let idle = whole.saturating_sub(expires);
        let service = Some(self.registry.services[real.service()].name.clone());
        let reusable = entry.state().reusable() || self.leaving(entry.real());
        let why = Why::Entry { state: entry.state().name(), idle, expires, reusable };
        let (real, mid_stream) = (Some(real.address()), Some(real.address()));
        Some(Explanation { service, real, mid_stream, adopted_by_port: false, why })
    }

    fn address_of(&self, id: RealId) -> IpAddr {
        self.registry.reals[id].address()
    }
}
