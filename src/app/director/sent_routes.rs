//! The paths to the real servers that the balancer has. They are sent again only if they differ:
//! with thousands of real servers, packets would wait for the comparison in the balancer.

use crate::balancer::carriage::Interfaces;
use crate::balancer::{Change, LinkMtus, Sources};

/// What the balancer has applied last.
#[derive(Debug, Default)]
pub(super) struct SentRoutes {
    sources: Sources,
    mtus: LinkMtus,
    interfaces: Interfaces,
}

impl SentRoutes {
    /// Whether the balancer has what the change sets.
    pub(super) fn has(&self, change: &Change) -> bool {
        match change {
            Change::SetSources(sources) => *sources == self.sources,
            Change::SetLinkMtus(mtus) => *mtus == self.mtus,
            Change::SetInterfaces(interfaces) => *interfaces == self.interfaces,
            _ => false,
        }
    }

    /// Remembers applied changes.
    pub(super) fn note(&mut self, applied: Vec<Change>) {
        for change in applied {
            match change {
                Change::SetSources(sources) => self.sources = sources,
                Change::SetLinkMtus(mtus) => self.mtus = mtus,
                Change::SetInterfaces(interfaces) => self.interfaces = interfaces,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn only_what_differs_is_sent_again() {
        let real = IpAddr::from([10, 0, 0, 11]);
        let source = |last| Change::SetSources([(real, IpAddr::from([192, 0, 2, last]))].into());
        let (mtu, interface) = (
            Change::SetLinkMtus([(real, 1_500)].into()),
            Change::SetInterfaces([(real, 2)].into()),
        );
        let mut sent = SentRoutes::default();
        assert!(sent.has(&Change::SetSources(Sources::new())), "the balancer has none at first");
        sent.note(vec![source(1), mtu.clone(), interface.clone()]);
        assert!([source(1), mtu, interface].iter().all(|change| sent.has(change)));
        assert!(!sent.has(&source(2)) && !sent.has(&Change::SetLinkMtus(LinkMtus::new())));
        sent.note(vec![source(2)]);
        assert!(sent.has(&source(2)) && !sent.has(&source(1)));
        assert!(!sent.has(&Change::SetCapacity(1)), "other changes are always sent");
    }
}
