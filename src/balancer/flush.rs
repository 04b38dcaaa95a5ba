//! Forgets connections, a section of the table at a time.

use std::net::IpAddr;

use super::table::Entry;
use super::{Balancer, ENTRIES_A_PAGE};

/// Which connections are forgotten: those of the service and of the real server, if given.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Flush {
    /// Only those of this service.
    pub service: Option<String>,
    /// Only those of this real server.
    pub real: Option<IpAddr>,
}

/// The result of one call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Flushed {
    /// The number of forgotten connections.
    pub connections: usize,
    /// The table position to go on from, if there may be more.
    pub next: Option<usize>,
}

impl Balancer {
    /// Forgets connections from table position `from` on, as if they had timed out; templates stay.
    /// Examines at most [`ENTRIES_A_PAGE`], so that a large table does not delay packets.
    pub fn flush(&mut self, which: &Flush, from: usize) -> Flushed {
        let entries = self.tables.connections.entry_count();
        let end = from.saturating_add(ENTRIES_A_PAGE).min(entries);
        let listed = self.tables.connections.iter_in(from..end);
        let found = listed.filter(|(_, entry)| self.concerns(which, entry));
        let mut keys: Vec<_> = found.map(|(_, entry)| entry.key()).collect();
        // A former connection takes the current one's key when that is removed.
        keys.sort_by_key(|key| !key.is_former());
        for key in &keys {
            if let Some(handle) = self.tables.connections.find(key) {
                self.drop_connection(handle);
            }
        }
        Flushed { connections: keys.len(), next: (end < entries).then_some(end) }
    }

    fn concerns(&self, which: &Flush, entry: &Entry) -> bool {
        let Flush { service, real: address } = which;
        let real = &self.registry.reals[self.real_of(entry)];
        if address.is_some_and(|address| address != real.address()) {
            return false;
        }
        let own = || self.registry.services.get(real.service());
        service.as_ref().is_none_or(|name| own().is_some_and(|own| *own.name == **name))
    }
}
