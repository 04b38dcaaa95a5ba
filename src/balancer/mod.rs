//! The balancer: services, real servers, schedulers, connections. Pure; imports `model` and `wire`.
//!
//! One packet in, one [`Verdict`] out; a fragment that arrives before its datagram's first one is
//! sent later ([`fragments`]). Time, seeds and limits are arguments.

mod ahead;
mod apply;
mod arena;
mod availability;
mod batch;
pub mod carriage;
pub mod carrier;
pub mod change;
mod commit;
mod connections;
pub mod counters;
mod deadline;
mod deadline_check;
mod decide;
mod ending;
mod explain;
mod fast_path;
pub mod flood;
mod flood_mode;
pub mod flow;
mod flush;
mod forward;
pub mod fragments;
pub mod handshakes;
mod hash;
mod latency;
mod limit;
mod listen_moves;
pub mod listing;
pub mod maglev;
mod moved_listens;
mod names;
pub mod not_carried;
mod outage;
pub mod outer;
mod outlet;
mod path_mtu;
mod persistence;
pub mod pieces;
mod placement;
mod pool;
mod port_reuse;
mod position;
mod prediction;
mod probe_flows;
mod probes;
mod ramp;
mod real;
mod recall;
pub mod record;
mod recording;
mod registry;
mod remedy;
mod sched;
mod segment;
mod service;
mod size_probes;
mod size_trial;
pub mod snapshot;
mod suspicion;
pub mod table;
pub mod tcp;
mod templates;
mod timing;
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
pub use handshakes::Suspicion;
pub use latency::{BOUNDS_MICROS, LatencySnapshot, TimesSnapshot};
pub use outage::{Outage, OutageNotice};
pub use outlet::Outlet;
pub use probe_flows::{MAX_PINNED, PROBE_HOPS, ProbeFlow};
pub use record::Record;
pub use recording::Observation;
pub use snapshot::Snapshot;
pub use tunnel::{LinkMtus, Sources, Tunnel};
pub use tunnel_error::{TunnelError, TunnelErrorKind};
pub use verdict::{Reason, Verdict};

use std::time::Duration;

use carriage::CarryPolicy;
use deadline::Deadlines;
use flood::Floods;
use fragments::{Bounds, Fragments};
use handshakes::Suspects;
use limit::Limit;
use probe_flows::Probes;
use record::RecordNotes;
use registry::Registry;
use size_trial::WantedProbes;
use table::{Entry, Handle, Renewals, Table};
use templates::Templates;
use verdict::Disposition;

use crate::model::{Millis, Seed, Timeouts};
use crate::wire::packet::MAX_PACKET_LEN;
use crate::wire::tcp::MAX_RESET_LEN;

/// Table positions examined for one page of a listing, so that a large table with few connections
/// does not delay packets.
pub const ENTRIES_A_PAGE: usize = 16_384;

/// The limits of a balancer.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The capacity of the connection table, at most [`table::MAX_CAPACITY`].
    pub connections: u32,
    /// Resets per second to unwanted TCP packets, and as many ICMP errors.
    pub refusals_per_second: u32,
}

impl Limits {
    /// The default of refusals per second: Linux's `icmp_msgs_per_sec`.
    pub const REFUSALS_PER_SECOND: u32 = 1_000;
}

/// Decides on each packet to a virtual IP.
#[derive(Debug)]
pub struct Balancer {
    registry: Registry,
    tables: Tables,
    watches: Watches,
    answers: Answers,
    settings: BalancerSettings,
    carriage: CarryPolicy,
    counters: Counters,
    /// Notes for the latest packet's record.
    noted: RecordNotes,
    /// The latest moment given by a caller, for listings.
    now: Millis,
    /// See [`Self::stamp`].
    stamp: u32,
}

/// The state of flows.
#[derive(Debug)]
struct Tables {
    connections: Table,
    templates: Templates,
    fragments: Fragments,
    probes: Probes,
}

/// Timed checks and their notices.
#[derive(Debug, Default)]
struct Watches {
    floods: Floods,
    deadlines: Deadlines,
    suspects: Suspects,
}

/// The balancer's own packets and their rate limits.
#[derive(Debug)]
struct Answers {
    resets: Limit,
    unreachables: Limit,
    reply: Vec<u8>,
    server_reset: Vec<u8>,
    /// See [`size_probes`].
    size_probes: WantedProbes,
}

/// Settings for all services.
#[derive(Debug)]
struct BalancerSettings {
    timeouts: Timeouts,
    renewals: Renewals,
    /// This director's own secret.
    seed: Seed,
    /// For flows placed by hash; see [`placement`].
    hash_seed: Seed,
}

impl Balancer {
    /// A balancer without services. `seed` is secret and not shared; until [`Change::SetHashSeed`]
    /// it also places flows.
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
                // The longest answer is that to the longest possible echo request.
                reply: Vec::with_capacity(MAX_PACKET_LEN),
                server_reset: Vec::with_capacity(MAX_RESET_LEN),
                size_probes: WantedProbes::default(),
            },
            settings: BalancerSettings {
                timeouts: Timeouts::DEFAULT,
                renewals: Renewals::NONE,
                seed,
                hash_seed: seed,
            },
            carriage: CarryPolicy::default(),
            counters: Counters::default(),
            noted: RecordNotes::default(),
            now: Millis(0),
            stamp: 0,
        }
    }

    /// Removes expired connections and templates, examining at most [`table::EXPIRE_BUDGET`]; goes
    /// on with a larger table, and with connections that follow their listens; drops expired
    /// fragments, checks whether floods are over, and records drain deadlines
    /// ([`Self::deadline_notices`]). Call it at every wake-up, before the packets.
    pub fn expire(&mut self, now: Millis) {
        self.now = now;
        self.tables.connections.settle();
        self.tables.templates.settle();
        self.follow(now);
        self.look_for_deadlines(now);
        let mut budget = table::EXPIRE_BUDGET - templates::EXPIRE_BUDGET;
        while let Some(handle) = self.tables.connections.due(now, &mut budget) {
            self.expire_connection(now, handle);
        }
        // After the connections: a template expires with the last of its connections.
        let mut budget = budget + templates::EXPIRE_BUDGET;
        self.expire_templates(now, &mut budget);
        self.tables.fragments.expire(now, &mut self.counters);
        self.look_for_calm(now);
    }

    /// Ends an expired connection, or moves it to the state that follows its own.
    fn expire_connection(&mut self, now: Millis, handle: Handle) {
        if self.carriage.on && self.tables.connections.goes_on(handle, now, &self.settings.timeouts)
        {
            return;
        }
        let Some(entry) = self.tables.connections.entry(handle) else { return };
        let (before, real) = (entry.state(), entry.real());
        let Some(after) = before.after_timeout(&self.settings.timeouts) else {
            if let Some(entry) = self.tables.connections.end(handle) {
                self.forget(&entry);
            }
            return;
        };
        self.tables.connections.renew(handle, after, after.timeout(&self.settings.timeouts));
        self.registry.reals[real].moved(now, before, after);
    }

    /// The services that have lost their last available real server, or have one again, since the
    /// last call. The caller asks once a turn.
    pub fn outage_notices(&mut self) -> Vec<OutageNotice> {
        std::mem::take(&mut self.registry.outages)
    }

    /// Counts a frame that is not a packet, and so gets no verdict of [`Self::forward`].
    pub fn refuse(&mut self, reason: Reason) -> Verdict {
        self.counters.count(Disposition::Drop(reason));
        Verdict::Drop(reason)
    }

    /// The address ranges of the connection table in the process's memory. They are touched only as
    /// connections are added.
    #[must_use]
    pub fn memory(&self) -> Vec<std::ops::Range<usize>> {
        self.tables.connections.memory()
    }

    /// Takes out memory of smaller tables that is not needed any more. The caller asks once a turn
    /// and frees it where no packet waits.
    pub fn take_emptied(&mut self) -> Option<Vec<u64>> {
        let Tables { connections, templates, .. } = &mut self.tables;
        connections.take_emptied().or_else(|| templates.take_emptied())
    }

    /// When [`Self::expire`] is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Millis> {
        let Tables { connections, templates, .. } = &self.tables;
        let moves =
            self.follows_listens() || !connections.has_settled() || !templates.has_settled();
        let deadlines = [
            moves.then_some(self.now),
            connections.next_deadline(),
            templates.next_deadline(),
            self.tables.fragments.next_deadline(),
            self.watches.floods.look,
            self.watches.deadlines.next,
        ];
        deadlines.into_iter().flatten().min()
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How long a connection lives without a further packet, through all the states that follow.
    fn remaining_life(&self, now: Millis, entry: &Entry) -> Duration {
        let next = entry.state().after_timeout(&self.settings.timeouts);
        let rest = next.map(|next| next.timeout(&self.settings.timeouts)).unwrap_or_default();
        entry.expires(now) + rest
    }

    /// Updates the counts for a connection that was removed from the table, and gives its key to
    /// the former connection with the same ends.
    fn forget(&mut self, entry: &Entry) {
        self.settle(entry);
        self.succeed(entry);
    }

    /// Updates the counts for a connection that was removed from the table.
    fn settle(&mut self, entry: &Entry) {
        self.unbind(entry);
        self.free_if_idle(entry.real());
    }

    /// A connection has left the table: its real server and its template have one less.
    fn unbind(&mut self, entry: &Entry) {
        self.registry.reals[entry.real()].unbind(entry.state());
        if let Some(template) = entry.template() {
            self.tables.templates.unbind(template);
        }
    }
}

#[cfg(test)]
mod tests;
