//! Services and their real servers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::change::{Listen, Protocol};
use super::maglev;
use super::placement::{self, Flow};
use super::policy::{Policy, Quiescent};
use super::sched::{self, Pool, Scheduler};
use super::snapshot::{self, RealState};
use super::spec::{RealSpec, SchedulerKind, Wanted};
use super::tcp::State;
use super::thresholds::Thresholds;
use super::time::Millis;
use super::tunnel::{Room, Tunnel};
use super::verdict::RealId;

/// An index into the balancer's services.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct ServiceId(pub(super) usize);

/// Where a real server is in its life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Life {
    /// Configured.
    Up,
    /// Removed from its service, which still lists it while it has connections.
    Draining,
    /// No service lists it any more; the connections and templates that still name it are dead.
    Gone,
    /// Nothing names it; its place can be used anew.
    Free,
}

/// A real server of one service, with its counters.
#[derive(Debug)]
pub(super) struct Real {
    service: ServiceId,
    address: IpAddr,
    /// See [`placement::salt`].
    salt: u64,
    weight: u32,
    /// The last weight that was not 0.
    hash_weight: u32,
    life: Life,
    wanted: Wanted,
    thresholds: Thresholds,
    /// Whether it has had as many connections as it takes, and still has too many.
    full: bool,
    active: u64,
    inactive: u64,
    connections: u64,
    /// Persistence templates that name it.
    templates: u64,
    packets: u64,
    bytes: u64,
    /// See [`Sources`](super::tunnel::Sources).
    source: Option<IpAddr>,
    pub(super) room: Room,
    pub(super) errors: TunnelErrors,
}

/// What came back from the tunnel to one real server.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TunnelErrors {
    pub(super) protocol_unreachable: u64,
    pub(super) unreachable: u64,
    pub(super) path_mtu: Option<u16>,
}

impl Real {
    pub(super) fn new(service: ServiceId, spec: RealSpec, source: Option<IpAddr>) -> Self {
        Self {
            service,
            address: spec.address,
            salt: placement::salt(spec.address),
            weight: spec.weight,
            hash_weight: spec.weight,
            life: Life::Up,
            wanted: Wanted::Up,
            thresholds: spec.thresholds,
            full: false,
            active: 0,
            inactive: 0,
            connections: 0,
            templates: 0,
            packets: 0,
            bytes: 0,
            source,
            room: Room::UNKNOWN,
            errors: TunnelErrors::default(),
        }
    }

    /// A connection comes to it, in no state that counts as active yet.
    pub(super) fn bind(&mut self) {
        self.inactive += 1;
        self.connections += 1;
        self.full = self.thresholds.full(self.active + self.inactive, self.full);
    }

    /// A datagram comes to it that is a flow of its own.
    pub(super) fn visit(&mut self) {
        self.connections += 1;
    }

    /// A connection in `state` leaves it.
    pub(super) fn unbind(&mut self, state: State) {
        let count = if state.active() { &mut self.active } else { &mut self.inactive };
        *count = count.saturating_sub(1);
        self.full = self.thresholds.full(self.active + self.inactive, self.full);
    }

    /// A template names it from now on.
    pub(super) fn remember(&mut self) {
        self.templates += 1;
    }

    /// A template names it no more.
    pub(super) fn forget(&mut self) {
        self.templates = self.templates.saturating_sub(1);
    }

    /// Whether a template that names it is good for a new flow.
    pub(super) fn persists(&self, quiescent: Quiescent) -> bool {
        let alive = matches!(self.wanted, Wanted::Up | Wanted::Draining { .. });
        self.in_rotation() || self.life == Life::Up && alive && quiescent == Quiescent::Keep
    }

    /// Whether a template names it.
    pub(super) fn remembered(&self) -> bool {
        self.templates > 0
    }

    /// One of its connections goes from one state to another.
    #[inline]
    pub(super) fn moved(&mut self, before: State, after: State) {
        match (before.active(), after.active()) {
            (false, true) => {
                self.inactive = self.inactive.saturating_sub(1);
                self.active += 1;
            }
            (true, false) => {
                self.active = self.active.saturating_sub(1);
                self.inactive += 1;
            }
            (true, true) | (false, false) => {}
        }
    }

    /// Counts what is sent to it, and tells the tunnel.
    #[inline]
    pub(super) fn count(&mut self, packets: u64, bytes: u64) -> Tunnel {
        let (real, source, sequence) = (self.address, self.source, self.packets);
        let tunnel = Tunnel { real, source, sequence, limit: self.room.limit() };
        self.packets += packets;
        self.bytes += bytes;
        tunnel
    }

    pub(super) fn set_source(&mut self, source: IpAddr) {
        self.source = Some(source);
    }

    pub(super) fn service(&self) -> ServiceId {
        self.service
    }

    pub(super) fn address(&self) -> IpAddr {
        self.address
    }

    pub(super) fn salt(&self) -> u64 {
        self.salt
    }

    pub(super) fn weight(&self) -> u32 {
        self.weight
    }

    pub(super) fn active(&self) -> u64 {
        self.active
    }

    pub(super) fn inactive(&self) -> u64 {
        self.inactive
    }

    /// Whether it may take a new connection.
    pub(super) fn usable(&self) -> bool {
        self.in_rotation() && !self.full
    }

    /// Whether it has a share of the flows, even if it is full at the moment. Where a flow without an entry belongs must not
    /// depend on how many connections others have.
    pub(super) fn in_rotation(&self) -> bool {
        self.life == Life::Up && self.wanted == Wanted::Up && self.weight > 0
    }

    pub(super) fn set_wanted(&mut self, wanted: Wanted) {
        self.wanted = wanted;
    }

    /// Whether flows belong to it, usable or not.
    pub(super) fn configured(&self) -> bool {
        self.life == Life::Up
    }

    /// The share of flows that belong to it by hash: its weight, or its last one that was not 0, so that weight 0 makes
    /// nobody else's flows move.
    pub(super) fn hash_weight(&self) -> u32 {
        self.hash_weight
    }

    /// Whether a SYN on one of its connections is to be another's: it is removed, being drained, down or disabled.
    pub(super) fn leaving(&self) -> bool {
        self.life != Life::Up || self.wanted != Wanted::Up
    }

    pub(super) fn set_thresholds(&mut self, thresholds: Thresholds) {
        self.thresholds = thresholds;
        self.full = thresholds.full(self.active + self.inactive, self.full);
    }

    pub(super) fn set_weight(&mut self, weight: u32) {
        self.weight = weight;
        if weight > 0 {
            self.hash_weight = weight;
        }
    }

    pub(super) fn set_life(&mut self, life: Life) {
        self.life = life;
    }

    pub(super) fn life(&self) -> Life {
        self.life
    }

    /// Whether no connection needs it any more.
    pub(super) fn idle(&self) -> bool {
        self.active == 0 && self.inactive == 0
    }

    fn state(&self) -> RealState {
        match (self.life, self.wanted) {
            (Life::Up, Wanted::Up) => RealState::Up,
            (_, Wanted::Down) => RealState::Down,
            (_, Wanted::Disabled) => RealState::Disabled,
            _ => RealState::Draining,
        }
    }

    pub(super) fn snapshot(&self) -> snapshot::Real {
        snapshot::Real {
            address: self.address,
            weight: self.weight,
            state: self.state(),
            active: self.active,
            inactive: self.inactive,
            connections: self.connections,
            templates: self.templates,
            thresholds: self.thresholds,
            full: self.full,
            packets: self.packets,
            bytes: self.bytes,
            protocol_unreachable: self.errors.protocol_unreachable,
            unreachable: self.errors.unreachable,
            path_mtu: self.errors.path_mtu,
        }
    }
}

/// A service: who listens where, and who is chosen how.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) listens: Vec<Listen>,
    pub(super) kind: SchedulerKind,
    pub(super) policy: Policy,
    scheduler: Box<dyn Scheduler>,
    /// For a scheduler that draws lots.
    random: u64,
    /// See [`maglev`]; gone with that scheduler.
    maglev: Option<Arc<maglev::Table>>,
    /// Its real servers in configuration order, draining ones among them.
    pub(super) reals: Vec<RealId>,
    /// Until then flows without an entry may be alive, which only the hash can place.
    pub(super) hashed_until: Option<Millis>,
}

impl Service {
    /// `random` is the service's own.
    pub(super) fn new(name: String, kind: SchedulerKind, random: u64) -> Self {
        Self {
            name,
            listens: Vec::new(),
            kind,
            policy: Policy::default(),
            scheduler: sched::new(kind, random),
            random,
            maglev: None,
            reals: Vec::new(),
            hashed_until: None,
        }
    }

    /// The scheduler's choice for a new flow.
    pub(super) fn schedule(&mut self, flow: Flow<'_>, reals: &[Real]) -> Option<RealId> {
        let Self { scheduler, reals: ids, policy, maglev, .. } = self;
        let place = scheduler
            .pick(flow, Pool { ids, reals, policy, maglev: maglev.as_deref(), full_too: false })?;
        ids.get(place).copied()
    }

    /// Where a flow belongs by hash: by the scheduler's own, or by rendezvous hashing where it has none.
    pub(super) fn place(&self, flow: Flow<'_>, reals: &[Real]) -> Option<RealId> {
        let Self { reals: ids, policy, maglev, .. } = self;
        let pool = Pool { ids, reals, policy, maglev: maglev.as_deref(), full_too: true };
        ids.get(self.scheduler.place(flow, pool)?).copied()
    }

    pub(super) fn set_scheduler(&mut self, kind: SchedulerKind, reals: &[Real]) {
        self.kind = kind;
        self.scheduler = sched::new(kind, self.random);
        self.maglev = None;
        self.changed(reals);
    }

    pub(super) fn set_maglev(&mut self, table: Arc<maglev::Table>, reals: &[Real]) {
        self.maglev = Some(table);
        self.changed(reals);
    }

    /// Members or weights have changed.
    pub(super) fn changed(&mut self, reals: &[Real]) {
        let Self { scheduler, reals: ids, policy, maglev, .. } = self;
        scheduler.changed(Pool { ids, reals, policy, maglev: maglev.as_deref(), full_too: false });
    }

    /// What a listing says of its Maglev table. With a policy that places otherwise the checksum is another too.
    pub(super) fn maglev(&self) -> Option<snapshot::Maglev> {
        let table = self.maglev.as_deref()?;
        let Policy { hash_ports, fallback, .. } = self.policy;
        let policy = u64::from(hash_ports == Some(false)) << 1 | u64::from(!fallback);
        Some(snapshot::Maglev { slots: table.slots(), checksum: table.checksum() ^ policy })
    }

    /// Whether TCP that opens nothing and has no entry is taken for a flow of before.
    pub(super) fn adopts(&self) -> bool {
        self.policy.adopts(self.kind)
    }

    /// Whether the hash, not the scheduler, places flows now.
    pub(super) fn hashed(&self, now: Millis) -> bool {
        self.hashed_until.is_some_and(|until| now < until)
    }
}

/// Who listens where: ranges of ports that do not overlap, found by their first port.
#[derive(Debug, Default)]
pub(super) struct Listens {
    ranges: BTreeMap<(Protocol, IpAddr, u16), (u16, ServiceId)>,
}

impl Listens {
    /// The service that listens there.
    pub(super) fn find(&self, protocol: Protocol, vip: IpAddr, port: u16) -> Option<ServiceId> {
        let first = (protocol, vip, 0);
        let (_, &(last, service)) = self.ranges.range(first..=(protocol, vip, port)).next_back()?;
        (port <= last).then_some(service)
    }

    /// Whether some service listens on that address.
    pub(super) fn is_vip(&self, address: IpAddr) -> bool {
        [Protocol::Tcp, Protocol::Udp].into_iter().any(|protocol| {
            let all = (protocol, address, 0)..=(protocol, address, u16::MAX);
            self.ranges.range(all).next().is_some()
        })
    }

    /// A service that listens on a port of `listen`, other than `except`.
    pub(super) fn overlap(&self, listen: Listen, except: Option<ServiceId>) -> Option<ServiceId> {
        let Listen { protocol, address, ports } = listen;
        self.ranges
            .range((protocol, address, 0)..=(protocol, address, ports.last))
            .filter(|(_, (_, service))| Some(*service) != except)
            .find(|(_, (last, _))| *last >= ports.first)
            .map(|(_, &(_, service))| service)
    }

    pub(super) fn insert(&mut self, listen: Listen, service: ServiceId) {
        let key = (listen.protocol, listen.address, listen.ports.first);
        self.ranges.insert(key, (listen.ports.last, service));
    }

    pub(super) fn remove(&mut self, listen: Listen) {
        self.ranges.remove(&(listen.protocol, listen.address, listen.ports.first));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::balancer::change::PortRange;

    const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 10));

    fn listen() -> impl Strategy<Value = Listen> {
        let ports = (1_u16..40, 0_u16..10);
        let address = prop::sample::select(vec![VIP, "192.0.2.11".parse().unwrap()]);
        (ports, address, any::<bool>()).prop_map(|((first, more), address, udp)| Listen {
            protocol: if udp { Protocol::Udp } else { Protocol::Tcp },
            address,
            ports: PortRange { first, last: first + more },
        })
    }

    proptest! {
        /// The model: a list, searched from one end to the other.
        #[test]
        fn listens_are_found_as_in_a_list(candidates in prop::collection::vec(listen(), 0..30)) {
            let mut listens = Listens::default();
            let mut model: Vec<(Listen, ServiceId)> = Vec::new();
            for (number, candidate) in candidates.into_iter().enumerate() {
                let id = ServiceId(number % 4);
                let taken = |except| {
                    model
                        .iter()
                        .filter(|(other, service)| {
                            other.overlaps(candidate) && Some(*service) != except
                        })
                        .count()
                };
                prop_assert_eq!(listens.overlap(candidate, None).is_some(), taken(None) > 0);
                prop_assert_eq!(listens.overlap(candidate, Some(id)).is_some(), taken(Some(id)) > 0);
                if taken(None) == 0 {
                    listens.insert(candidate, id);
                    model.push((candidate, id));
                } else if number % 3 == 0 {
                    listens.remove(model.swap_remove(0).0);
                }
            }
            for port in 0..60 {
                for protocol in [Protocol::Tcp, Protocol::Udp] {
                    let ports = PortRange { first: port, last: port };
                    let here = Listen { protocol, address: VIP, ports };
                    let expected = model.iter().find(|(listen, _)| listen.overlaps(here));
                    prop_assert_eq!(
                        listens.find(protocol, VIP, port),
                        expected.map(|(_, service)| *service)
                    );
                }
            }
            let vip = model.iter().any(|(listen, _)| listen.address == VIP);
            prop_assert_eq!(listens.is_vip(VIP), vip);
        }
    }

    #[test]
    fn port_zero_is_no_port_even_where_all_are_listened_on() {
        let mut listens = Listens::default();
        let (protocol, address, ports) = (Protocol::Tcp, VIP, PortRange::ALL);
        listens.insert(Listen { protocol, address, ports }, ServiceId(0));
        assert_eq!(listens.find(Protocol::Tcp, VIP, 0), None);
        assert_eq!(listens.find(Protocol::Tcp, VIP, 1), Some(ServiceId(0)));
        assert_eq!(listens.find(Protocol::Tcp, VIP, 65_535), Some(ServiceId(0)));
    }
}
