//! Lists connections in pages, all or a selection.

use std::net::IpAddr;

use ipnet::IpNet;

use super::table::{Entry, Handle, Marks};
use super::{Balancer, ENTRIES_A_PAGE, snapshot};
use crate::model::{Millis, Protocol};

/// A selection of connections: those that match all given fields.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Selection {
    /// The client is in this network.
    pub client: Option<IpNet>,
    /// The real server.
    pub real: Option<IpAddr>,
    /// The state's name.
    pub state: Option<&'static str>,
    /// The service's name.
    pub service: Option<String>,
}

impl Balancer {
    /// Up to `most` connections from table position `from` on, and the position to go on from, if
    /// there may be more.
    #[must_use]
    pub fn connections(
        &self,
        now: Millis,
        from: usize,
        most: usize,
    ) -> (Vec<snapshot::ConnectionSnapshot>, Option<usize>) {
        self.selected(now, from, most, &Selection::default())
    }

    /// Up to `most` of the connections that `which` selects, from table position `from` on, and the
    /// position to go on from, if there may be more. Examines at most [`ENTRIES_A_PAGE`]: an almost
    /// empty table gives pages without a connection.
    #[must_use]
    pub fn selected(
        &self,
        now: Millis,
        from: usize,
        most: usize,
        which: &Selection,
    ) -> (Vec<snapshot::ConnectionSnapshot>, Option<usize>) {
        let entry_count = self.tables.connections.entry_count();
        let end = from.saturating_add(ENTRIES_A_PAGE).min(entry_count);
        let looked_at = self.tables.connections.iter_in(from..end);
        let selected = looked_at.filter(|(_, entry)| self.is_selected(which, entry));
        let listed: Vec<_> = selected.take(most).collect();
        let next = if listed.len() < most {
            end
        } else {
            listed.last().map_or(from, |(index, _)| index + 1)
        };
        let timeouts = &self.settings.timeouts;
        let line = |(index, _): (usize, &Entry)| {
            let seen = self.tables.connections.as_seen(Handle::at(index), now, timeouts)?;
            self.listed(now, &seen)
        };
        (listed.into_iter().filter_map(line).collect(), (next < entry_count).then_some(next))
    }

    fn is_selected(&self, which: &Selection, entry: &Entry) -> bool {
        let Selection { client, real, state, service } = which;
        if client.is_some_and(|network| !network.contains(&entry.key().client()))
            || state.is_some_and(|name| name != entry.state().name())
        {
            return false;
        }
        if real.is_none() && service.is_none() {
            return true;
        }
        let own = &self.registry.reals[self.real_of(entry)];
        let named = |name: &String| {
            self.registry.services.get(own.service()).is_some_and(|service| *service.name == **name)
        };
        real.is_none_or(|address| address == own.address()) && service.as_ref().is_none_or(named)
    }

    fn listed(&self, now: Millis, entry: &Entry) -> Option<snapshot::ConnectionSnapshot> {
        let (key, state) = (entry.key(), entry.state());
        Some(snapshot::ConnectionSnapshot {
            protocol: Protocol::from_number(key.protocol())?,
            client: (key.client(), key.client_port()).into(),
            virtual_address: (key.vip(), key.virtual_port()).into(),
            real: self.registry.reals[entry.real()].address(),
            state: state.name(),
            active: state.active(),
            carried: entry.marks().has(Marks::CARRIED),
            expires: self.remaining_life(now, entry),
        })
    }
}
