//! Flood mode: what a service does with new flows while there are more of them than can be honest.
//!
//! A service enters it with the new flow that is one too many, in its second or for the table, and
//! leaves it when over a whole [`CALM`] there were few new flows, and the table is well below. In
//! the mode:
//!
//! - A SYN is placed by hash and leaves nothing in the table. The client's next packet meets the
//!   same server by the same hash, and only then the flow gets an entry, on probation.
//! - An entry on probation is one that a single packet of a forged source can have made. Packets in
//!   its first second ([`PROBATION`]) change nothing in it, so that it takes two packets a second
//!   apart to make an established connection, and an entry that is still there after that second.
//! - A UDP flow has no handshake to wait for: it gets its entry on probation at once.
//! - Where the table is full, the unproven entry that has been silent longest makes room for the
//!   next one.
//! - TCP that opens nothing is on probation too, where a service adopts such flows; so it is
//!   outside of the mode.
//! - Handshakes that are not finished are no load for the schedulers, and the thresholds do not
//!   count them.
//! - No template is made; a client that has one goes where it says, and its flows arm and hold it
//!   as ever.
//!
//! Nothing established is touched. A flow without an entry goes where its entry would have sent it,
//! as long as the service's real servers stay, so an attacker who takes all the entries there are
//! takes nothing else.

use std::time::Duration;

use super::Balancer;
use super::flow::Key;
use super::sched::Eligible;
use super::tcp::State;
use super::verdict::{Disposition, Reason};
use crate::model::{FloodMarks, Millis, RealId, ServiceId};
use crate::wire::Packet;

/// Over this time, one stretch after the other, new flows are counted in a flood. It is over at the
/// end of one that had half the mark's rate at most, if the table is well below its mark then. So
/// it costs half the mark on average to hold the mode, however the packets are spread.
pub const CALM: Duration = Duration::from_secs(10);

/// How long a flow that began during a flood stays on probation at least.
pub const PROBATION: Duration = Duration::from_secs(1);

/// Over this time new flows are counted outside of floods; as often services are looked at in them.
const SECOND: Duration = Duration::from_secs(1);

/// How a flow that has no entry is seen first.
#[derive(Clone, Copy, Debug)]
pub(super) enum Beginning {
    /// By its SYN, or a datagram.
    Opening,
    /// By TCP that opens nothing, where that may be a flow of before.
    Middle,
}

/// How full the table is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fill {
    pub(super) connections: usize,
    pub(super) capacity: usize,
}

impl Fill {
    fn reaches(self, hundredths: u8) -> bool {
        hundredths > 0
            && self.capacity > 0
            && self.connections * 100 >= self.capacity * usize::from(hundredths)
    }

    /// An eighth below the mark.
    fn is_well_below(self, hundredths: u8) -> bool {
        hundredths == 0 || self.connections * 800 < self.capacity * usize::from(hundredths) * 7
    }
}

/// One service's watch for floods.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// When the stretch began that is counted: a second, or [`CALM`] while the mode lasts.
    since: Millis,
    /// New flows in it, by [`Beginning`].
    new_flows: [u32; 2],
    flooded: bool,
    floods: u64,
    without_entry: u64,
}

impl Watch {
    pub(super) fn flooded(&self) -> bool {
        self.flooded
    }

    /// Floods so far, the running one among them.
    pub(super) fn floods(&self) -> u64 {
        self.floods
    }

    /// Packets that were placed without an entry because of floods.
    pub(super) fn without_entry(&self) -> u64 {
        self.without_entry
    }

    pub(super) fn placed_without_entry(&mut self) {
        self.without_entry += 1;
    }

    /// New flows in the stretch that is counted. During a flood an honest one is counted twice, by
    /// its SYN and by the packet after it, so the two are not added up.
    fn new_flows(&self) -> u32 {
        self.new_flows.into_iter().max().unwrap_or_default()
    }

    /// Counts a new flow. Where a flood begins with it: how many there were in its second.
    fn begins(
        &mut self,
        now: Millis,
        beginning: Beginning,
        marks: FloodMarks,
        fill: Fill,
    ) -> Option<u32> {
        if !self.flooded && self.since.until(now) >= SECOND {
            self.count_anew(now);
        }
        if let Some(count) = self.new_flows.get_mut(beginning as usize) {
            *count = count.saturating_add(1);
        }
        let too_many = marks.new_flows > 0 && self.new_flows() > marks.new_flows;
        if self.flooded || !(too_many || fill.reaches(marks.table_use)) {
            return None;
        }
        self.flooded = true;
        self.floods += 1;
        let so_many = self.new_flows();
        self.count_anew(now);
        Some(so_many)
    }

    /// Whether the flood is over.
    fn ends(&mut self, now: Millis, marks: FloodMarks, fill: Fill) -> bool {
        let passed = self.since.until(now);
        if marks != FloodMarks::OFF && passed < CALM {
            return false;
        }
        // By the rate, since a look may come late.
        let passed = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        let few = marks.new_flows == 0
            || u64::from(self.new_flows()) * 2 * 1_000
                <= passed.saturating_mul(marks.new_flows.into());
        self.count_anew(now);
        let over = marks == FloodMarks::OFF || few && fill.is_well_below(marks.table_use);
        self.flooded = !over;
        over
    }

    fn count_anew(&mut self, now: Millis) {
        (self.since, self.new_flows) = (now, [0; 2]);
    }
}

/// A service has entered or left flood mode.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FloodNotice {
    /// The service's name.
    pub service: String,
    /// Whether it has entered it.
    pub entered: bool,
    /// New flows of the service in the second that runs, with which it was entered; 0 where it was
    /// left.
    pub new_flows: u32,
    /// Connections in the table.
    pub connections: usize,
    /// How many fit.
    pub capacity: usize,
    /// Packets of the service that were placed without an entry because of floods, so far.
    pub without_entry: u64,
}

/// The services in flood mode, and what there is to say of it.
#[derive(Debug, Default)]
pub(super) struct Floods {
    services: Vec<ServiceId>,
    /// When they are looked at next.
    look: Option<Millis>,
    notices: Vec<FloodNotice>,
}

impl Floods {
    pub(super) fn next_look(&self) -> Option<Millis> {
        self.look
    }
}

impl Balancer {
    /// What services have entered or left flood mode since the last call. The caller asks once a
    /// turn, so there are few.
    pub fn flood_notices(&mut self) -> Vec<FloodNotice> {
        std::mem::take(&mut self.watches.floods.notices)
    }

    /// Counts a new flow of a service. Whether the service is in flood mode.
    pub(super) fn new_flow(&mut self, now: Millis, id: ServiceId, beginning: Beginning) -> bool {
        let fill = self.fill();
        let service = &mut self.registry.services[id];
        let marks = service.policy.flood;
        if let Some(new_flows) = service.watch.begins(now, beginning, marks, fill) {
            self.watches.floods.services.push(id);
            self.watches.floods.look.get_or_insert_with(|| now.after(SECOND));
            self.flood_changed(id, new_flows);
            return true;
        }
        self.flooded(id)
    }

    /// A new flow during a flood. One of UDP has an entry at once, since there may be nothing else
    /// to tell it from a new one again.
    #[cold]
    pub(super) fn open_flooded(
        &mut self,
        now: Millis,
        packet: &Packet<'_>,
        key: Key,
        id: ServiceId,
        state: State,
    ) -> Disposition {
        let Some(choice) = self.choose(now, &key, id, Some(Eligible::InRotation)) else {
            return self.refuse_packet(now, packet, Reason::NoRealServer);
        };
        if state == State::Udp {
            self.enter(now, packet, key, id, choice, State::UdpNew);
        } else {
            self.placed_without_entry(now, id);
        }
        self.tunnel(now, packet, choice.real)
    }

    /// Where a flow without an entry belongs.
    pub(super) fn belonging(
        &self,
        now: Millis,
        key: &Key,
        id: ServiceId,
        eligible: Eligible,
    ) -> Option<RealId> {
        self.belongs(now, key, id, eligible)
    }

    /// Whether a service is in flood mode.
    pub(super) fn flooded(&self, id: ServiceId) -> bool {
        self.registry.services[id].watch.flooded()
    }

    /// Looks once a second whether floods are over.
    pub(super) fn look_for_calm(&mut self, now: Millis) {
        if self.watches.floods.look.is_none_or(|look| now < look) {
            return;
        }
        let fill = self.fill();
        let mut place = 0;
        while let Some(&id) = self.watches.floods.services.get(place) {
            // A service may have gone, and another come in its place.
            let service =
                self.registry.services.get_mut(id).filter(|service| service.watch.flooded);
            let over = service.map(|service| service.watch.ends(now, service.policy.flood, fill));
            if over == Some(false) {
                place += 1;
                continue;
            }
            self.watches.floods.services.swap_remove(place);
            if over == Some(true) {
                self.flood_changed(id, 0);
            }
        }
        self.watches.floods.look =
            (!self.watches.floods.services.is_empty()).then(|| now.after(SECOND));
    }

    /// The service has entered or left flood mode: its real servers count otherwise now, and
    /// somebody is to be told.
    fn flood_changed(&mut self, id: ServiceId, new_flows: u32) {
        let Fill { connections, capacity } = self.fill();
        let service = &self.registry.services[id];
        let entered = service.watch.flooded;
        for &real in &service.reals {
            self.registry.reals[real].set_flooded(entered);
        }
        self.watches.floods.notices.push(FloodNotice {
            service: service.name.clone(),
            entered,
            new_flows,
            connections,
            capacity,
            without_entry: service.watch.without_entry,
        });
    }

    fn fill(&self) -> Fill {
        Fill {
            connections: self.tables.connections.len(),
            capacity: self.tables.connections.capacity(),
        }
    }
}
