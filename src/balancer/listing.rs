//! Lists services and real servers piece by piece, so that a packet waits for one piece and not for
//! thousands of real servers.

use std::sync::Arc;

use super::service::Service;
use super::snapshot::{FloodSnapshot, RealSnapshot, ServiceSnapshot};
use super::{Balancer, Snapshot};

/// The position at which a listing goes on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ListCursor {
    service: usize,
    real: usize,
}

/// Which real servers a listing contains.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ListFilter {
    /// Every one, and every service.
    All,
    /// Real servers whose tunnels have reported an error, and their services.
    Signalled,
}

impl Balancer {
    /// Services from `from` on with up to `most` real servers examined, and the position to go on
    /// from. A service that does not fit is in the next piece again, with its further real servers.
    /// Values are as of the latest moment given to [`Self::expire`] or [`Self::apply`].
    #[must_use]
    pub fn list(
        &self,
        from: ListCursor,
        most: usize,
        listed: ListFilter,
    ) -> (Vec<ServiceSnapshot>, Option<ListCursor>) {
        let (mut pieces, mut left) = (Vec::new(), most.max(1));
        let mut cursor = from;
        while let Some(slot) = self.registry.services.at(cursor.service) {
            if left == 0 {
                return (pieces, Some(cursor));
            }
            let Some(service) = slot else {
                left -= 1;
                cursor = ListCursor { service: cursor.service + 1, real: 0 };
                continue;
            };
            let rest = service.reals.get(cursor.real..).unwrap_or_default();
            let taken = rest.len().min(left);
            // A service costs about as much as a real server.
            left = left.saturating_sub(taken + 1);
            let room = if listed == ListFilter::All { taken } else { 0 };
            let mut reals = Vec::with_capacity(room);
            let examined = rest.iter().take(taken).map(|&id| &self.registry.reals[id]);
            let wanted = examined.filter(|real| listed == ListFilter::All || real.has_signalled());
            reals.extend(wanted.map(|real| real.snapshot(self.now, self.stamp, service.kind)));
            if listed == ListFilter::All || !reals.is_empty() {
                pieces.push(piece(service, reals));
            }
            if taken < rest.len() {
                cursor.real += taken;
                return (pieces, Some(cursor));
            }
            cursor = ListCursor { service: cursor.service + 1, real: 0 };
        }
        (pieces, None)
    }

    /// All listed values except the services, as of the latest moment given to [`Self::expire`] or
    /// [`Self::apply`].
    #[must_use]
    pub fn figures(&self) -> Snapshot {
        Snapshot {
            connections: self.tables.connections.len(),
            capacity: self.tables.connections.capacity(),
            templates: self.tables.templates.len(),
            templates_capacity: self.tables.templates.capacity(),
            turnover: self.tables.connections.turnover(),
            fragments: self.tables.fragments.snapshot(),
            services: Vec::new(),
            counters: self.counters.clone(),
        }
    }

    /// All listed values at once.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let (services, _) = self.list(ListCursor::default(), usize::MAX, ListFilter::All);
        Snapshot { services, ..self.figures() }
    }
}

impl Snapshot {
    /// Appends a piece of a listing. `from`: the position where the piece began.
    pub fn append(&mut self, from: ListCursor, pieces: Vec<ServiceSnapshot>) {
        let mut pieces = pieces.into_iter();
        if from.real > 0
            && let Some(rest) = pieces.next()
        {
            match self.services.last_mut().filter(|last| last.name == rest.name) {
                Some(last) => last.reals.extend(rest.reals),
                None => self.services.push(rest),
            }
        }
        self.services.extend(pieces);
    }
}

fn piece(service: &Service, reals: Vec<RealSnapshot>) -> ServiceSnapshot {
    ServiceSnapshot {
        name: Arc::clone(&service.name),
        listens: Arc::clone(&service.listens),
        scheduler: service.kind,
        maglev: service.maglev(),
        outage: service.outage,
        flood: FloodSnapshot {
            active: service.watch.flooded(),
            floods: service.watch.floods(),
            without_entry: service.watch.without_entry(),
        },
        reals,
    }
}
