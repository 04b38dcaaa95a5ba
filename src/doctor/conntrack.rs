//! The table of connection tracking (`nf_conntrack`), which drops a flow's first packet when it is
//! full.

use super::{Cause, Finding, Severity};

/// The table of this network namespace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ConntrackTable {
    /// The flows in it.
    pub flows: u64,
    /// The most that it takes (`nf_conntrack_max`); 0: any number.
    pub most: u64,
}

impl ConntrackTable {
    /// Flows end and begin meanwhile: a table that is full has a few places less or more.
    fn is_full(self) -> bool {
        self.most > 0 && self.flows >= self.most - self.most / 50
    }
}

/// The smallest size that is proposed: flows stay in the table for days.
const LEAST: u64 = 65_536;

/// The finding if it is full.
pub(super) fn finding(table: Option<ConntrackTable>) -> Option<Finding> {
    let ConntrackTable { flows, most } = table.filter(|table| table.is_full())?;
    let text = "the table of connection tracking is full: the kernel drops packets of new flows, \
                clients' and tunnelled ones; make it larger, or keep them from it (docs/setup.md, \
                Firewalls)";
    let found = Finding::new(Cause::CtFull, Severity::Fault, text)
        .seen(format!("nf_conntrack_count is {flows}, nf_conntrack_max {most}"));
    let larger = most.max(flows).saturating_mul(2).max(LEAST);
    Some(found.mended_by(format!("sysctl -w net/netfilter/nf_conntrack_max={larger}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_is_a_fault_with_a_larger_size() {
        let of = |flows, most| finding(Some(ConntrackTable { flows, most }));
        for (flows, most, larger) in [
            (979_999, 1_000_000, None),
            (980_000, 1_000_000, Some(2_000_000)),
            (3, 1, Some(65_536)),
            (0, 1, None),
            (9, 0, None),
        ] {
            let command = |most| format!("sysctl -w net/netfilter/nf_conntrack_max={most}");
            let found = of(flows, most).map(|found| found.mend.concat());
            assert_eq!(found, larger.map(command), "{flows} of {most}");
        }
        assert!(finding(None).is_none());
    }
}
