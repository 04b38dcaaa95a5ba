//! Services, and the index of their listens.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::flood::Watch;
use super::maglev;
use super::outage::{Outage, OutageNotice};
use super::placement::PlacementKey;
use super::pool::{Eligible, Pool};
use super::real::{Life, Real, Reals};
use super::sched::{self, Scheduler};
use super::snapshot;
use super::verdict::Reason;
use crate::model::{Listen, Millis, Policy, Protocol, RealId, RealState, SchedulerKind};

/// A service: its scheduler, policy and real servers.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: Arc<str>,
    pub(super) listens: Arc<[Listen]>,
    pub(super) kind: SchedulerKind,
    pub(super) policy: Policy,
    scheduler: Box<dyn Scheduler>,
    /// For a randomised scheduler.
    random: u64,
    /// See [`maglev`]; dropped with that scheduler.
    maglev: Option<Arc<maglev::MaglevTable>>,
    /// Its real servers in configuration order, with removed ones.
    pub(super) reals: Vec<RealId>,
    /// Whether one of them may be in its slow start.
    pub(super) ramping: bool,
    /// Whether [`Self::changed`] has to be called before the next packet.
    pub(super) stale: bool,
    /// Until then flows without an entry may be alive, which only the hash can place.
    pub(super) hashed_until: Option<Millis>,
    pub(super) watch: Watch,
    /// Why none of its real servers takes new connections; `None` while one is in service.
    pub(super) outage: Option<Outage>,
}

impl Service {
    /// `random` is specific to the service.
    pub(super) fn new(name: Arc<str>, kind: SchedulerKind, random: u64) -> Self {
        Self {
            name,
            listens: Arc::default(),
            kind,
            policy: Policy::default(),
            scheduler: sched::new(kind, random),
            random,
            maglev: None,
            reals: Vec::new(),
            ramping: false,
            stale: false,
            hashed_until: None,
            watch: Watch::default(),
            outage: None,
        }
    }

    /// The scheduler's choice for a new flow, and the real server that the flow goes to.
    pub(super) fn schedule(
        &self,
        now: Millis,
        flow: PlacementKey<'_>,
        reals: &Reals,
    ) -> (Option<usize>, Option<RealId>) {
        let pool = self.pool(now, reals, Eligible::ForNewFlows);
        let picked = self.scheduler.pick(flow, pool);
        let index = picked.or_else(|| pool.last_resort());
        (picked, index.and_then(|index| self.reals.get(index).copied()))
    }

    /// A flow was forwarded according to [`Self::schedule`].
    pub(super) fn taken(&mut self, now: Millis, picked: Option<usize>, reals: &mut Reals) {
        let Self { scheduler, reals: ids, policy, maglev, .. } = self;
        let (maglev, eligible) = (maglev.as_deref(), Eligible::ForNewFlows);
        scheduler.taken(picked, Pool { ids, reals, policy, maglev, eligible, now });
        if self.ramping {
            self.ramping = false;
            for &id in &self.reals {
                self.ramping |= reals[id].ramps(now);
            }
        }
    }

    /// Where a flow belongs by hash: by the scheduler's own, or by rendezvous hashing if it has
    /// none.
    pub(super) fn place(
        &self,
        now: Millis,
        flow: PlacementKey<'_>,
        eligible: Eligible,
        reals: &Reals,
    ) -> Option<RealId> {
        let pool = self.pool(now, reals, eligible);
        let index = self.scheduler.place(flow, pool).or_else(|| pool.last_resort())?;
        self.reals.get(index).copied()
    }

    fn pool<'a>(&'a self, now: Millis, reals: &'a Reals, eligible: Eligible) -> Pool<'a> {
        let Self { reals: ids, policy, maglev, .. } = self;
        Pool { ids, reals, policy, maglev: maglev.as_deref(), eligible, now }
    }

    pub(super) fn set_scheduler(&mut self, kind: SchedulerKind) {
        self.kind = kind;
        self.scheduler = sched::new(kind, self.random);
        self.maglev = None;
    }

    pub(super) fn set_maglev(&mut self, table: Arc<maglev::MaglevTable>) {
        self.maglev = Some(table);
    }

    /// Refreshes the scheduler after a change of members or weights, which slow starts are not.
    pub(super) fn changed(&mut self, reals: &Reals) {
        let Self { scheduler, reals: ids, policy, maglev, .. } = self;
        let (maglev, eligible) = (maglev.as_deref(), Eligible::ForNewFlows);
        scheduler.changed(Pool { ids, reals, policy, maglev, eligible, now: Millis(0) });
    }

    /// Updates its outage after such a change. Returns a notice if the outage begins or ends.
    pub(super) fn assess(&mut self, reals: &Reals) -> Option<OutageNotice> {
        let outage = outage_of(self.reals.iter().map(|&id| &reals[id]));
        let before = std::mem::replace(&mut self.outage, outage);
        (before.is_some() != outage.is_some())
            .then(|| OutageNotice { service: Arc::clone(&self.name), outage })
    }

    /// Why a new flow finds no real server.
    pub(super) fn refusal(&self, now: Millis, reals: &Reals) -> Reason {
        let pool = self.pool(now, reals, Eligible::ForNewFlows);
        match self.outage {
            Some(_) => Reason::NoRealServer,
            None if pool.usable().next().is_none() => Reason::RealServersFull,
            None => Reason::NoFallback,
        }
    }

    /// Its Maglev table in listings. The checksum includes the policy where it affects placement.
    pub(super) fn maglev(&self) -> Option<snapshot::MaglevSnapshot> {
        let table = self.maglev.as_deref()?;
        let Policy { hash_ports, fallback, .. } = self.policy;
        let policy = u64::from(hash_ports == Some(false)) << 1 | u64::from(!fallback);
        Some(snapshot::MaglevSnapshot { slots: table.slots(), checksum: table.checksum() ^ policy })
    }

    /// Whether TCP without a SYN and without an entry is adopted as an existing flow.
    pub(super) fn adopts(&self) -> bool {
        self.policy.adopts(self.kind)
    }

    /// Whether the hash, not the scheduler, places flows now.
    pub(super) fn hashed(&self, now: Millis) -> bool {
        self.hashed_until.is_some_and(|until| now < until)
    }
}

/// The outage of a service with these real servers; `None` while one is in service.
fn outage_of<'a>(reals: impl IntoIterator<Item = &'a Real>) -> Option<Outage> {
    let mut outage = Outage::default();
    for real in reals.into_iter().filter(|real| real.life() == Life::Configured) {
        if real.in_service() {
            return None;
        }
        let count = match real.availability().state() {
            RealState::Down => &mut outage.down,
            RealState::Disabled => &mut outage.disabled,
            RealState::Draining => &mut outage.draining,
            RealState::Up if real.weight() == 0 => &mut outage.weightless,
            RealState::Up => &mut outage.resting,
        };
        *count += 1;
    }
    Some(outage)
}

/// The listens: port ranges that do not overlap, found by their first port.
#[derive(Debug)]
pub(super) struct Listens<T> {
    ranges: BTreeMap<(Protocol, IpAddr, u16), (u16, T)>,
}

impl<T> Default for Listens<T> {
    fn default() -> Self {
        Self { ranges: BTreeMap::new() }
    }
}

impl<T: Copy> Listens<T> {
    /// The service that listens there.
    pub(super) fn find(&self, protocol: Protocol, vip: IpAddr, port: u16) -> Option<T> {
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

    /// A service that listens on a port of `listen`, among those that `counts` accepts. Ranges do
    /// not overlap, so on the way down all that overlap come before those that end too early.
    pub(super) fn overlap(&self, listen: Listen, counts: impl Fn(T) -> bool) -> Option<T> {
        let Listen { protocol, address, ports } = listen;
        let below = self.ranges.range((protocol, address, 0)..=(protocol, address, ports.last));
        below
            .rev()
            .take_while(|(_, (last, _))| *last >= ports.first)
            .map(|(_, &(_, service))| service)
            .find(|&service| counts(service))
    }

    pub(super) fn insert(&mut self, listen: Listen, service: T) {
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
    use crate::model::{PortRange, ServiceId};

    const ID: ServiceId = ServiceId { index: 0, generation: 0 };
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
        /// The model: a list, searched linearly.
        #[test]
        fn listens_are_found_as_in_a_list(candidates in prop::collection::vec(listen(), 0..30)) {
            let mut listens = Listens::default();
            let mut model: Vec<(Listen, ServiceId)> = Vec::new();
            for (number, candidate) in candidates.into_iter().enumerate() {
                let id = ServiceId { index: u32::try_from(number % 4).unwrap(), generation: 0 };
                let taken = |except| {
                    model
                        .iter()
                        .filter(|(other, service)| {
                            other.overlaps(candidate) && Some(*service) != except
                        })
                        .count()
                };
                prop_assert_eq!(listens.overlap(candidate, |_| true).is_some(), taken(None) > 0);
                let others = listens.overlap(candidate, |other| other != id);
                prop_assert_eq!(others.is_some(), taken(Some(id)) > 0);
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
    fn port_zero_is_no_port_even_with_a_listen_on_all_ports() {
        let mut listens = Listens::default();
        let (protocol, address, ports) = (Protocol::Tcp, VIP, PortRange::ALL);
        listens.insert(Listen { protocol, address, ports }, ID);
        assert_eq!(listens.find(Protocol::Tcp, VIP, 0), None);
        assert_eq!(listens.find(Protocol::Tcp, VIP, 1), Some(ID));
        assert_eq!(listens.find(Protocol::Tcp, VIP, 65_535), Some(ID));
    }
}
