//! The templates of persistence ([`super::persistence`]), and the number of their flows.

use std::time::Duration;

use super::flow::Key;
use super::table::{self, Full, Handle, MAX_CAPACITY, Segments, Table};
use super::tcp::ConnState;
use crate::model::{Millis, RealId, Seed};

/// Connections of capacity for each template of capacity: most clients have several.
pub(super) const CONNECTIONS_FOR_A_TEMPLATE: u32 = 4;

/// The part of a turn's timer budget that is reserved for templates.
pub(super) const EXPIRE_BUDGET: usize = table::EXPIRE_BUDGET / 4;

/// How much longer an expired template lives while its client has a flow, repeatedly: as in IPVS.
const HELD: Duration = Duration::from_secs(60);

/// The templates of all services. Their number is bounded like that of connections, and memory is
/// touched as they are added.
#[derive(Debug)]
pub(super) struct Templates {
    table: Table,
    /// The number of living connections of the template at each index.
    flows: Segments<u32>,
}

impl Templates {
    /// Templates for a table of this many connections.
    pub(super) fn new(connections: u32, seed: Seed) -> Self {
        let connections = connections.min(MAX_CAPACITY);
        let table = Table::new(connections.div_ceil(CONNECTIONS_FOR_A_TEMPLATE), seed);
        Self { flows: Segments::with_capacity(table.capacity()), table }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn capacity(&self) -> usize {
        self.table.capacity()
    }

    /// Room for the templates of a table of this many connections.
    pub(super) fn resize(&mut self, connections: u32) {
        let capacity = connections.min(MAX_CAPACITY).div_ceil(CONNECTIONS_FOR_A_TEMPLATE);
        self.table.resize(capacity);
        self.flows.grow(capacity as usize);
    }

    /// See [`Table::settle`].
    pub(super) fn settle(&mut self) {
        self.table.settle();
    }

    /// See [`Table::take_emptied`].
    pub(super) fn take_emptied(&mut self) -> Option<Vec<u64>> {
        self.table.take_emptied()
    }

    /// See [`Table::has_settled`].
    pub(super) fn has_settled(&self) -> bool {
        self.table.has_settled()
    }

    pub(super) fn next_deadline(&self) -> Option<Millis> {
        self.table.next_deadline()
    }

    /// The real servers that templates name.
    #[cfg(test)]
    pub(super) fn reals(&self) -> impl Iterator<Item = RealId> {
        self.table.iter_in(0..usize::MAX).map(|(_, entry)| entry.real())
    }

    /// The client's template and its real server.
    pub(super) fn find(&self, client: &Key) -> Option<(Handle, RealId)> {
        if self.table.is_empty() {
            return None;
        }
        let handle = self.table.find(client)?;
        Some((handle, self.table.entry(handle)?.real()))
    }

    pub(super) fn insert(
        &mut self,
        client: Key,
        real: RealId,
        now: Millis,
        timeout: Duration,
    ) -> Result<Handle, Full> {
        let template = self.table.insert(client, real, ConnState::None, now, timeout)?;
        // Indexes are used in order, so a new one is at most one past the highest used before.
        match self.flows.get_mut(template.index()) {
            Some(flows) => *flows = 0,
            None => self.flows.push(0),
        }
        Ok(template)
    }

    /// The template names this real server from now on; returns the one before.
    pub(super) fn set_real(&mut self, template: Handle, real: RealId) -> Option<RealId> {
        self.table.set_real(template, real)
    }

    /// A flow has used the template: its timeout restarts.
    pub(super) fn arm(&mut self, template: Handle, now: Millis, timeout: Duration) {
        self.table.touch(template, ConnState::None, now, timeout);
    }

    /// A flow of the template has an entry.
    pub(super) fn bind(&mut self, template: Handle) {
        if let Some(flows) = self.flows.get_mut(template.index()) {
            *flows += 1;
        }
    }

    /// The entry of such a flow was removed.
    pub(super) fn unbind(&mut self, template: Handle) {
        if let Some(flows) = self.flows.get_mut(template.index()) {
            *flows = flows.saturating_sub(1);
        }
    }

    /// Whether a flow of the template has an entry.
    pub(super) fn has_flows(&self, template: Handle) -> bool {
        self.flows.get(template.index()).is_some_and(|&flows| flows > 0)
    }

    /// Removes the next expired template without flows; returns its real server.
    pub(super) fn expire(&mut self, now: Millis, budget: &mut usize) -> Option<RealId> {
        while let Some(template) = self.table.due(now, budget) {
            if self.has_flows(template) {
                self.table.renew(template, ConnState::None, HELD);
            } else if let Some(entry) = self.table.end(template) {
                return Some(entry.real());
            }
        }
        None
    }
}
