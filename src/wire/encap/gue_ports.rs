//! The UDP ports of packets in GUE. Each flow has one source port of a short range, so that routers
//! and receive queues spread flows and firewall rules can name all of them.

use std::fmt::{self, Display};
use std::ops::RangeInclusive;

use super::gue;

/// Flows other than TCP use the first source ports, this many. Their packets are small and come one
/// by one: with fewer ports more of them go in one send.
const SMALL_PACKETS_PORTS: u16 = 4;

/// Bits of a flow label.
const LABEL_BITS: u32 = 20;

/// The source ports of a director's packets: 1 to [`Self::MOST`] in a row, none of them 0.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SourcePorts {
    first: u16,
    last: u16,
}

impl SourcePorts {
    /// The most ports of a range: each has a socket of either family.
    pub const MOST: u16 = 64;

    /// The range of a director that does not name one.
    pub const DEFAULT: Self = Self { first: 61_440, last: 61_455 };

    /// The ports from `first` to `last`. `None` if there are none or more than [`Self::MOST`], or
    /// the first one is 0.
    #[must_use]
    pub const fn new(first: u16, last: u16) -> Option<Self> {
        if first == 0 || last < first || last - first >= Self::MOST {
            return None;
        }
        Some(Self { first, last })
    }

    /// All of them.
    #[must_use]
    pub fn range(self) -> RangeInclusive<u16> {
        self.first..=self.last
    }

    /// How many there are.
    #[inline]
    #[must_use]
    pub fn count(self) -> u16 {
        self.last - self.first + 1
    }

    /// Whether the port is one of them.
    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        self.range().contains(&port)
    }

    /// The position of a port in the range.
    #[inline]
    #[must_use]
    pub fn position(self, port: u16) -> Option<usize> {
        (port <= self.last).then_some(port)?.checked_sub(self.first).map(usize::from)
    }

    /// The port of a flow with this label: the label is a hash of the flow.
    #[inline]
    #[must_use]
    pub fn of_flow(self, flow_label: u32, tcp: bool) -> u16 {
        let used = if tcp { self.count() } else { self.count().min(SMALL_PACKETS_PORTS) };
        let label = flow_label & ((1 << LABEL_BITS) - 1);
        let number = (label * u32::from(used)) >> LABEL_BITS;
        self.first + u16::try_from(number).unwrap_or_default()
    }
}

impl Default for SourcePorts {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Display for SourcePorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last}") }
    }
}

/// The ports of a director's packets in GUE. No source port is the destination port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct GuePorts {
    /// The source ports.
    pub sources: SourcePorts,
    /// The port on which real servers receive.
    pub destination: u16,
}

impl GuePorts {
    /// The source port of inquiries of `vstun doctor`; answers come to it. It is the next port
    /// after the range, or before it, that has no other use: the daemon's sockets have the range.
    #[must_use]
    pub fn inquiry(self) -> u16 {
        let Self { sources: SourcePorts { first, last }, destination } = self;
        let after = (1..=2).filter_map(|step| last.checked_add(step));
        let before = (1..=2).filter_map(|step| first.checked_sub(step));
        let free = after.chain(before).find(|&port| port != 0 && port != destination);
        free.unwrap_or_default()
    }
}

impl Default for GuePorts {
    fn default() -> Self {
        Self { sources: SourcePorts::DEFAULT, destination: gue::PORT }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_range_has_1_to_64_ports() {
        for (first, last) in [(61_440, 61_455), (1, 64), (65_472, 65_535), (7, 7)] {
            let ports = SourcePorts::new(first, last).unwrap();
            assert_eq!(usize::from(ports.count()), ports.range().count());
            assert!(ports.contains(first) && ports.contains(last));
            assert!(!ports.contains(first - 1) && ports.position(first - 1).is_none());
            assert_eq!(ports.position(last), Some(usize::from(last - first)));
            assert_eq!(last.checked_add(1).and_then(|port| ports.position(port)), None);
        }
        for (first, last) in [(1, 65), (0, 3), (0, 0), (9, 8), (1, 65_535)] {
            assert_eq!(SourcePorts::new(first, last), None, "{first}-{last}");
        }
        assert_eq!(SourcePorts::new(9, 12).unwrap().to_string(), "9-12");
        assert_eq!(SourcePorts::new(9, 9).unwrap().to_string(), "9");
    }

    #[test]
    fn flows_spread_over_all_ports_and_those_other_than_tcp_over_four() {
        for (first, last) in [(61_440, 61_455), (1, 64), (700, 702), (5, 5)] {
            let ports = SourcePorts::new(first, last).unwrap();
            for tcp in [true, false] {
                let mut flows = BTreeMap::new();
                for label in (1..1 << LABEL_BITS).step_by(97) {
                    *flows.entry(ports.of_flow(label, tcp)).or_insert(0) += 1;
                }
                let used = if tcp { ports.count() } else { ports.count().min(4) };
                assert!(flows.keys().copied().eq(first..first + used), "{ports}: {flows:?}");
                let (least, most) = (flows.values().min(), flows.values().max());
                assert!(most.unwrap() - least.unwrap() <= 2, "{ports}: {flows:?}");
            }
        }
    }

    #[test]
    fn inquiries_have_a_port_of_their_own() {
        for (first, last, destination, inquiry) in [
            (61_440, 61_455, 6080, 61_456),
            (61_440, 61_455, 61_456, 61_457),
            (65_500, 65_535, 6080, 65_499),
            (65_500, 65_534, 65_535, 65_499),
            (65_500, 65_535, 65_499, 65_498),
            (1, 1, 2, 3),
        ] {
            let ports = GuePorts { sources: SourcePorts::new(first, last).unwrap(), destination };
            assert_eq!(ports.inquiry(), inquiry, "{first}-{last} {destination}");
        }
    }

    proptest! {
        #[test]
        fn a_source_port_is_in_the_range(label: u32, tcp: bool, first in 1..=65_535_u16) {
            let last = first.saturating_add(SourcePorts::MOST - 1);
            for last in [first, last] {
                let ports = SourcePorts::new(first, last).unwrap();
                prop_assert!(ports.contains(ports.of_flow(label, tcp)));
            }
        }
    }
}
