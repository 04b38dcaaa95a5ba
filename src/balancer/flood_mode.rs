//! Services enter and leave flood mode ([`super::flood`]).

use std::sync::Arc;

use super::flood::{Fill, FloodCount, SECOND};
use super::{Balancer, FloodNotice};
use crate::model::{Millis, ServiceId};

impl Balancer {
    /// The services that have entered or left flood mode since the last call. The caller asks once
    /// a turn, so there are few.
    pub fn flood_notices(&mut self) -> Vec<FloodNotice> {
        std::mem::take(&mut self.watches.floods.notices)
    }

    /// Stores the count of a service's new flows. If a flood begins with the last one, the service
    /// is in flood mode from now on.
    #[inline]
    pub(super) fn counted(&mut self, now: Millis, id: ServiceId, count: FloodCount) {
        if let Some(new_flows) = self.registry.services[id].watch.counted(count) {
            self.watches.floods.services.push(id);
            self.watches.floods.look.get_or_insert_with(|| now.after(SECOND));
            self.flood_changed(id, new_flows);
        }
    }

    /// Whether a service is in flood mode.
    pub(super) fn flooded(&self, id: ServiceId) -> bool {
        self.registry.services[id].watch.flooded()
    }

    /// Checks once a second whether floods are over.
    pub(super) fn look_for_calm(&mut self, now: Millis) {
        if self.watches.floods.look.is_none_or(|look| now < look) {
            return;
        }
        let fill = self.fill();
        let mut index = 0;
        while let Some(&id) = self.watches.floods.services.get(index) {
            // The service may have been removed and its index reused.
            let service =
                self.registry.services.get_mut(id).filter(|service| service.watch.flooded());
            let over = service.map(|service| service.watch.ends(now, service.policy.flood, fill));
            if over == Some(false) {
                index += 1;
                continue;
            }
            self.watches.floods.services.swap_remove(index);
            if over == Some(true) {
                self.flood_changed(id, 0);
            }
        }
        self.watches.floods.look =
            (!self.watches.floods.services.is_empty()).then(|| now.after(SECOND));
    }

    /// The service has entered or left flood mode: its real servers count differently now, and a
    /// notice is due.
    fn flood_changed(&mut self, id: ServiceId, new_flows: u32) {
        let Fill { connections, capacity } = self.fill();
        let service = &self.registry.services[id];
        let entered = service.watch.flooded();
        for &real in &service.reals {
            self.registry.reals[real].set_flooded(entered);
        }
        self.watches.floods.notices.push(FloodNotice {
            service: Arc::clone(&service.name),
            entered,
            new_flows,
            connections,
            capacity,
            without_entry: service.watch.without_entry(),
        });
    }

    pub(super) fn fill(&self) -> Fill {
        Fill {
            connections: self.tables.connections.len(),
            capacity: self.tables.connections.capacity(),
        }
    }
}
