//! The balancer: services, real servers, schedulers, connections. Pure; imports `model` and `wire`.
//!
//! One packet in, one [`Verdict`] out; a fragment ahead of its datagram's first one comes out later
//! ([`fragments`]). Time, seeds and limits are arguments.

mod ahead;
mod apply;
mod arena;
mod availability;
mod batch;
pub mod change;
mod connections;
pub mod counters;
mod deadline;
mod ending;
mod explain;
pub mod flood;
pub mod flow;
mod flush;
mod forward;
pub mod fragments;
mod limit;
pub mod listing;
pub mod maglev;
mod names;
pub mod outer;
mod outlet;
mod persistence;
mod placement;
mod port_reuse;
mod position;
mod probes;
mod ramp;
mod real;
mod registry;
mod sched;
mod segment;
mod service;
pub mod snapshot;
pub mod table;
pub mod tcp;
mod tunnel;
mod tunnel_error;
pub mod verdict;

pub use change::{Change, ChangeError};
pub use connections::Selection;
pub use counters::Counters;
pub use deadline::DeadlineNotice;
pub use explain::{Explanation, FlowError, FlowQuery, Why};
pub use flood::FloodNotice;
pub use flush::{Flush, Flushed};
pub use outlet::Outlet;
pub use probes::{MAX_PINNED, ProbeFlow};
pub use snapshot::Snapshot;
pub use tunnel::{Sources, Tunnel};
pub use tunnel_error::{TunnelError, TunnelErrorKind};
pub use verdict::{Reason, Verdict};

use std::time::Duration;

use deadline::Deadlines;
use flood::Floods;
use fragments::{Bounds, Fragments};
use limit::Limit;
use persistence::Templates;
use probes::Probes;
use registry::Registry;
use table::{Entry, Handle, Table};
use verdict::Disposition;

use crate::model::{Millis, Seed, Timeouts};
use crate::wire::packet::MAX_PACKET_LEN;
use crate::wire::tcp::MAX_RESET_LEN;

/// Places of the connection table that one page of a listing looks at, so that a large table with
/// few connections cannot hold up packets.
pub const PLACES_A_PAGE: usize = 16_384;

/// What bounds a balancer.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections that fit the table, at most [`table::MAX_CAPACITY`].
    pub connections: u32,
    /// Resets a second in answer to TCP that nobody wants, and as many ICMP errors.
    pub refusals_per_second: u32,
}

impl Limits {
    /// Refusals a second by default: Linux's `icmp_msgs_per_sec`.
    pub const REFUSALS_PER_SECOND: u32 = 1_000;
}

/// Decides what becomes of each packet that comes to a virtual IP.
#[derive(Debug)]
pub struct Balancer {
    registry: Registry,
    tables: Tables,
    watches: Watches,
    answers: Answers,
    settings: Settings,
    counters: Counters,
    /// The latest moment that a caller has given, for listings.
    now: Millis,
}

/// What is remembered of flows.
#[derive(Debug)]
struct Tables {
    connections: Table,
    templates: Templates,
    fragments: Fragments,
    probes: Probes,
}

/// What time brings, and the notices that come of it.
#[derive(Debug, Default)]
struct Watches {
    floods: Floods,
    deadlines: Deadlines,
}

/// The packets of the balancer's own, and how many of them it may send.
#[derive(Debug)]
struct Answers {
    resets: Limit,
    unreachables: Limit,
    reply: Vec<u8>,
    server_reset: Vec<u8>,
}

/// What holds for all services.
#[derive(Debug)]
struct Settings {
    timeouts: Timeouts,
    /// This director's own secret.
    seed: Seed,
    /// For flows that are placed by hash; see [`placement`].
    hash_seed: Seed,
}

impl Balancer {
    /// A balancer without services. `seed` is nobody else's; until [`Change::SetHashSeed`] flows
    /// are placed by it too.
    #[must_use]
    pub fn new(limits: Limits, seed: Seed) -> Self {
        Self {
            registry: Registry::new(),
            tables: Tables {
                connections: Table::new(limits.connections, seed),
                templates: Templates::new(limits.connections, seed),
                fragments: Fragments::new(Bounds::DEFAULT, seed),
                probes: Probes::default(),
            },
            watches: Watches::default(),
            answers: Answers {
                resets: Limit::new(limits.refusals_per_second),
                unreachables: Limit::new(limits.refusals_per_second),
                // The longest answer is that to an echo request of the longest packet there is.
                reply: Vec::with_capacity(MAX_PACKET_LEN),
                server_reset: Vec::with_capacity(MAX_RESET_LEN),
            },
            settings: Settings { timeouts: Timeouts::DEFAULT, seed, hash_seed: seed },
            counters: Counters::default(),
            now: Millis(0),
        }
    }

    /// Takes connections and templates out whose time is up, at most [`table::EXPIRE_BUDGET`]
    /// looked at, drops fragments that were held in vain, looks whether floods are over, and notes
    /// drain deadlines ([`Self::deadline_notices`]); call it at every wake-up, before the packets.
    pub fn expire(&mut self, now: Millis) {
        self.now = now;
        self.look_for_deadlines(now);
        let mut budget = table::EXPIRE_BUDGET - persistence::EXPIRE_BUDGET;
        while let Some(handle) = self.tables.connections.due(now, &mut budget) {
            self.time_is_up(handle);
        }
        // After the connections: a template ends with the last of its own.
        let mut budget = budget + persistence::EXPIRE_BUDGET;
        self.expire_templates(now, &mut budget);
        self.tables.fragments.expire(now, &mut self.counters);
        self.look_for_calm(now);
    }

    /// Ends a connection, or lets it go on in the state that comes after its own.
    fn time_is_up(&mut self, handle: Handle) {
        let Some(entry) = self.tables.connections.entry(handle) else { return };
        let (before, real) = (entry.state(), entry.real());
        let Some(after) = before.after_timeout(&self.settings.timeouts) else {
            if let Some(entry) = self.tables.connections.end(handle) {
                self.forget(&entry);
            }
            return;
        };
        self.tables.connections.renew(handle, after, after.timeout(&self.settings.timeouts));
        self.registry.reals[real].moved(before, after);
    }

    /// Counts a packet that never came to be one, and so has no verdict of [`Self::forward`].
    pub fn refuse(&mut self, reason: Reason) -> Verdict {
        let verdict = Verdict::Drop(reason);
        self.counters.count(&verdict);
        verdict
    }

    /// Where the connection table lies in the process's memory. It stays there, and is touched only
    /// as connections come.
    #[must_use]
    pub fn memory(&self) -> [std::ops::Range<usize>; 2] {
        self.tables.connections.memory()
    }

    /// When [`Self::expire`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Millis> {
        let deadlines = [
            self.tables.connections.next_deadline(),
            self.tables.templates.next_deadline(),
            self.tables.fragments.next_deadline(),
            self.watches.floods.next_look(),
            self.watches.deadlines.next(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How long a connection lives if no packet comes, in all the states that it then goes through.
    fn lives(&self, now: Millis, entry: &Entry) -> Duration {
        let next = entry.state().after_timeout(&self.settings.timeouts);
        let rest = next.map(|next| next.timeout(&self.settings.timeouts)).unwrap_or_default();
        entry.expires(now) + rest
    }

    /// Settles the accounts of a connection that has left the table, and lets the former one with
    /// its ends follow it.
    fn forget(&mut self, entry: &Entry) {
        self.settle(entry);
        self.succeed(entry);
    }

    /// Settles the accounts of a connection that has left the table.
    fn settle(&mut self, entry: &Entry) {
        let id = entry.real();
        self.registry.reals[id].unbind(entry.state());
        if let Some(template) = entry.template() {
            self.tables.templates.unbind(template);
        }
        self.collect(id);
    }
}

#[cfg(test)]
mod tests;
