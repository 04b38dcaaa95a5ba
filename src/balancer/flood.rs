//! Flood mode: how a service treats new flows while there are more of them than its clients cause
//! in normal operation.
//!
//! A service enters flood mode with the new flow that exceeds a mark: new flows per second, or use
//! of the table. It leaves flood mode after a whole [`FLOOD_INTERVAL`] with few new flows, if the
//! table's use is well below its mark. In flood mode:
//!
//! - A SYN is placed by hash without an entry. The client's next packet gets the same server by the
//!   same hash; only then the flow gets an entry, on probation.
//! - A single packet with a forged source can create an entry on probation. Packets in its first
//!   second ([`PROBATION`]) do not change it. So an established connection takes two packets a
//!   second apart, and an entry that survives that second.
//! - A UDP flow has no handshake to wait for: it gets its entry on probation at once.
//! - If the table is full, the unproven entry that has been silent longest is evicted for the next
//!   one.
//! - TCP without a SYN is on probation too if the service adopts such flows; this also holds
//!   outside of flood mode.
//! - Unfinished handshakes do not count as load for the schedulers, nor towards the thresholds.
//! - No template is created; a client that has one keeps its real server, and its flows still
//!   extend the template.
//!
//! Established connections are not affected. A flow without an entry goes where its entry would
//! have sent it while the service's real servers stay, so an attacker who takes all entries gains
//! nothing else.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{FloodMarks, Millis, ServiceId};

/// The interval in which new flows are counted during a flood, again and again. The flood ends with
/// an interval that had at most half the mark's rate, if the table is then well below its mark. So
/// sustaining flood mode takes half the mark on average, however the packets are spread.
pub const FLOOD_INTERVAL: Duration = Duration::from_secs(10);

/// How long a flow that began during a flood stays on probation at least.
pub const PROBATION: Duration = Duration::from_secs(1);

/// The interval in which new flows are counted outside of floods, and between two checks during
/// floods.
pub(super) const SECOND: Duration = Duration::from_secs(1);

/// The first packet seen of a flow without an entry.
#[derive(Clone, Copy, Debug)]
pub(super) enum Beginning {
    /// A SYN, or a datagram.
    Opening,
    /// TCP without a SYN, if it may belong to an existing flow.
    Middle,
}

/// The use of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fill {
    pub(super) connections: usize,
    pub(super) capacity: usize,
}

impl Fill {
    pub(super) fn is_full(self) -> bool {
        self.connections >= self.capacity
    }

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

/// One service's flood detection.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// The start of the current interval: a second, or [`FLOOD_INTERVAL`] in flood mode.
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

    /// The number of floods, with the current one.
    pub(super) fn floods(&self) -> u64 {
        self.floods
    }

    /// Packets placed without an entry because of floods.
    pub(super) fn without_entry(&self) -> u64 {
        self.without_entry
    }

    pub(super) fn placed_without_entry(&mut self) {
        self.without_entry += 1;
    }

    /// New flows in the current interval. During a flood an honest one is counted twice, by its SYN
    /// and by the packet after it, so the two are not added up.
    fn new_flows(&self) -> u32 {
        most(self.new_flows)
    }

    /// The count with one more new flow.
    pub(super) fn count(
        &self,
        now: Millis,
        beginning: Beginning,
        marks: FloodMarks,
        fill: Fill,
    ) -> FloodCount {
        let anew = !self.flooded && self.since.until(now) >= SECOND;
        let (since, mut new_flows) =
            if anew { (now, [0; 2]) } else { (self.since, self.new_flows) };
        if let Some(count) = new_flows.get_mut(beginning as usize) {
            *count = count.saturating_add(1);
        }
        let so_many = most(new_flows);
        let too_many = marks.new_flows > 0 && so_many > marks.new_flows;
        if self.flooded || !(too_many || fill.reaches(marks.table_use)) {
            return FloodCount { since, new_flows, begins: None };
        }
        FloodCount { since: now, new_flows: [0; 2], begins: Some(so_many) }
    }

    /// Whether a flood begins with the flow that has been counted, and how many there were in its
    /// second.
    pub(super) fn counted(&mut self, count: FloodCount) -> Option<u32> {
        (self.since, self.new_flows) = (count.since, count.new_flows);
        if count.begins.is_some() {
            self.flooded = true;
            self.floods += 1;
        }
        count.begins
    }

    /// Whether the flood is over.
    pub(super) fn ends(&mut self, now: Millis, marks: FloodMarks, fill: Fill) -> bool {
        let passed = self.since.until(now);
        if marks != FloodMarks::OFF && passed < FLOOD_INTERVAL {
            return false;
        }
        // By the rate, since this check may be late.
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

fn most(new_flows: [u32; 2]) -> u32 {
    new_flows.into_iter().max().unwrap_or_default()
}

/// What the watch has counted once one more new flow is.
#[derive(Clone, Copy, Debug)]
pub(super) struct FloodCount {
    since: Millis,
    new_flows: [u32; 2],
    /// A flood begins with this flow: the number of new flows in its second.
    pub(super) begins: Option<u32>,
}

/// A service has entered or left flood mode.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FloodNotice {
    /// The service's name.
    pub service: Arc<str>,
    /// Whether it has entered flood mode.
    pub entered: bool,
    /// New flows of the service in the current second, when it entered flood mode; 0 when it left.
    pub new_flows: u32,
    /// Connections in the table.
    pub connections: usize,
    /// The table's capacity.
    pub capacity: usize,
    /// Packets of the service placed without an entry because of floods so far.
    pub without_entry: u64,
}

/// The services in flood mode, and their notices.
#[derive(Debug, Default)]
pub(super) struct Floods {
    pub(super) services: Vec<ServiceId>,
    /// When they are next checked.
    pub(super) look: Option<Millis>,
    pub(super) notices: Vec<FloodNotice>,
}
