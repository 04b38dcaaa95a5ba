//! Explains where a flow goes without sending it: the decision of [`Balancer::forward`] at this
//! moment.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use super::Balancer;
use super::decide::{First, Outcome};
use super::flow::Key;
use super::persistence::By;
use super::port_reuse::SynMatch;
use super::table::Entry;
use super::tcp::ConnState;
use super::verdict::Reason;
use crate::model::{Millis, Protocol, RealId, SchedulerKind, ServiceId};
use crate::wire::tcp::Flags;
use crate::wire::{is_host, protocol};

/// A flow in text form: `tcp 198.51.100.7:40000 192.0.2.10:80`, or
/// `udp [2001:db8::7]:40000 [2001:db8::10]:53`. Without the client's port it is any new flow of
/// the client: `tcp 198.51.100.7 192.0.2.10:80`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FlowQuery {
    /// The transport.
    pub protocol: Protocol,
    /// The client. Its port is 0 if none was named; packets do not have port 0 (RFC 6335 section
    /// 6).
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
    #[error("{0:?} is not a transport; write tcp or udp")]
    Protocol(String),
    /// The second or third word is not an address with a port.
    #[error("{0:?} is not an address with a port; write 198.51.100.7:40000 or [2001:db8::7]:40000")]
    Address(String),
    /// Client and virtual IP are of different families.
    #[error("{0} and {1} are of different families; write two IPv4 or two IPv6 addresses")]
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
    /// The real server for a SYN that opens another connection although the flow has an entry, see
    /// [`Why::Entry`]; `None`: no real server takes it, or no SYN would.
    pub syn: Option<IpAddr>,
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
        /// Whether a SYN would start a new connection, which is placed like any other:
        /// [`Explanation::syn`] says where.
        reusable: bool,
        /// Whether its real server ends it: a packet that is not a SYN is answered by a reset, and
        /// [`Explanation::real`] is where a SYN goes.
        ends: bool,
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
    /// Every real server of the service is out, or it has none.
    NoRealServer,
    /// Every real server of the service that is not out is at its upper threshold.
    RealServersFull,
    /// The flow's real server takes no new flow, and the service has no fallback to another.
    NoFallback,
    /// It is a virtual IP, but no service listens on that port.
    NoService,
    /// No service listens on that address.
    NotVip,
    /// The client is a virtual IP itself, or not the address of a host.
    BadSource,
}

impl Balancer {
    /// Where the flow's next packet would go, and why. A TCP packet without an entry is assumed to
    /// be a SYN. Changes nothing: counts that it changes to decide are restored.
    #[must_use]
    pub fn explain(&mut self, now: Millis, flow: &FlowQuery) -> Explanation {
        let &FlowQuery { protocol, client, virtual_address: vip } = flow;
        if !is_host(client.ip()) {
            return refused(Why::BadSource);
        }
        let key = Key::new(protocol.number(), client.ip(), client.port(), vip.ip(), vip.port());
        if flow.any_port() {
            let explained = self.explain_new(now, &key, 0);
            return match self.service_of(&key) {
                Ok(id) => self.of_any_port(explained, id),
                Err(_) => explained,
            };
        }
        self.bring_home_all_of(now, &key);
        let (found, dead) = self.peek(&key);
        let Some((handle, _, real)) = found else { return self.explain_new(now, &key, dead) };
        let ends = self.ending(now, real, protocol).is_some();
        let timeouts = &self.settings.timeouts;
        let Some(entry) = self.tables.connections.as_seen(handle, now, timeouts) else {
            return refused(Why::NotVip);
        };
        if protocol == Protocol::Udp {
            return match ends {
                false => self.explain_entry(now, &entry, false, None),
                true => self.explain_new(now, &key, dead + 1),
            };
        }
        let syn = self.explain_syn(now, &key, &entry, dead);
        let explained = self.explain_entry(now, &entry, ends, syn);
        if !ends {
            return explained;
        }
        Explanation { real: explained.syn, mid_stream: None, ..explained }
    }

    /// A connection that has not followed its listen yet does so with its next packet, and before
    /// the decision.
    fn bring_home_all_of(&mut self, now: Millis, key: &Key) {
        if !self.follows_listens() {
            return;
        }
        for key in [*key, key.former()] {
            if let Some(handle) = self.tables.connections.find(&key) {
                self.move_to_owner(now, handle);
            }
        }
    }

    /// Where a SYN on the entry goes if it opens another connection; `None`: it does not.
    fn explain_syn(
        &mut self,
        now: Millis,
        key: &Key,
        entry: &Entry,
        dead: usize,
    ) -> Option<Option<IpAddr>> {
        let new = match self.meets(key, entry, dead) {
            SynMatch::Over { elsewhere: true } => {
                // The scheduler decides without the connection that the new one replaces.
                let real = entry.real();
                let counted = self.registry.reals[real].counted();
                self.registry.reals[real].unbind(entry.state());
                let new = self.explain_new(now, key, dead + 1);
                self.registry.reals[real].recall(counted);
                new
            }
            SynMatch::Former { elsewhere: true } => self.explain_new(now, key, dead),
            SynMatch::Over { .. } | SynMatch::Former { .. } | SynMatch::Same => return None,
        };
        Some(new.real)
    }

    /// The same for all ports of the client.
    fn of_any_port(&self, explained: Explanation, id: ServiceId) -> Explanation {
        let service = &self.registry.services[id];
        let (kind, policy) = (service.kind, &service.policy);
        if policy.persistence.is_some() {
            return explained;
        }
        // Whether placement by hash uses the client's port. Failover needs no hash; other
        // schedulers without one use the hash of the whole flow.
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

    /// For a flow without an entry. `freed` entries are removed with its next packet.
    fn explain_new(&self, now: Millis, key: &Key, freed: usize) -> Explanation {
        let id = match self.service_of(key) {
            Ok(id) => id,
            Err(Reason::BadSource) => return refused(Why::BadSource),
            Err(Reason::NoService) => return refused(Why::NoService),
            Err(_) => return refused(Why::NotVip),
        };
        let service = &self.registry.services[id];
        let tcp = key.protocol() == protocol::TCP;
        let opening = First::Opening(if tcp { ConnState::SynRecv } else { ConnState::Udp });
        let opening = self.decide(now, key, id, opening, freed);
        let middle = First::Middle(Flags(Flags::ACK));
        let middle = tcp.then(|| self.decide(now, key, id, middle, freed));
        Explanation {
            service: Some(service.name.as_ref().to_owned()),
            real: opening.outcome.real().map(|real| self.address_of(real)),
            syn: None,
            mid_stream: middle
                .and_then(|middle| middle.outcome.real())
                .map(|real| self.address_of(real)),
            adopted_by_port: false,
            why: match (opening.outcome, opening.by) {
                (Outcome::Refuse(Reason::RealServersFull), _) => Why::RealServersFull,
                (Outcome::Refuse(Reason::NoFallback), _) => Why::NoFallback,
                (Outcome::Refuse(_), _) => Why::NoRealServer,
                (_, By::Template) => Why::Template,
                (_, By::Hash) => Why::Hash,
                (Outcome::Alone(_), By::Scheduler(_)) => Why::OnePacket(service.kind),
                (_, By::Scheduler(_)) => Why::Scheduler(service.kind),
            },
        }
    }

    fn explain_entry(
        &self,
        now: Millis,
        entry: &Entry,
        ends: bool,
        syn: Option<Option<IpAddr>>,
    ) -> Explanation {
        let real = &self.registry.reals[entry.real()];
        let expires = self.remaining_life(now, entry);
        let whole = match entry.state() {
            ConnState::Established | ConnState::Idle => self.settings.timeouts.tcp_established,
            state => state.timeout(&self.settings.timeouts),
        };
        let idle = whole.saturating_sub(expires);
        let service = Some(self.registry.services[real.service()].name.as_ref().to_owned());
        let (reusable, syn) = (syn.is_some(), syn.flatten());
        let why = Why::Entry { state: entry.state().name(), idle, expires, reusable, ends };
        let (real, mid_stream) = (Some(real.address()), Some(real.address()));
        Explanation { service, real, syn, mid_stream, adopted_by_port: false, why }
    }

    fn address_of(&self, id: RealId) -> IpAddr {
        self.registry.reals[id].address()
    }
}

fn refused(why: Why) -> Explanation {
    Explanation {
        service: None,
        real: None,
        syn: None,
        mid_stream: None,
        adopted_by_port: false,
        why,
    }
}
