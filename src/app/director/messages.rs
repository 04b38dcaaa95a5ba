//! Messages between the control thread and the packet thread.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::oneshot::Sender;

use crate::balancer::carrier::NotCarriedCounts;
use crate::balancer::listing::{ListCursor, ListFilter};
use crate::balancer::{
    Change, ChangeError, DeadlineNotice, Explanation, FloodNotice, FlowQuery, Flush, Flushed,
    OutageNotice, Selection, Snapshot, Suspicion, snapshot,
};

use crate::app::health::HealthThread;
use crate::app::serve::ConnectionPage;
use crate::config;
use crate::model::{Millis, Seed};
use crate::wire::encap::GuePorts;

use super::packets::LoopCounters;
use super::recorder::RecordedPiece;
use super::sent::SendCounters;
use super::tracing::LiveTrace;

/// The packet thread's figures, without the services, which are sent in pieces.
#[derive(Debug)]
pub(super) struct DirectorReport {
    pub(super) snapshot: Snapshot,
    pub(super) sent: SendCounters,
    /// How many source ports of GUE another program has.
    pub(super) gue_ports_taken: u64,
    pub(super) loop_counters: LoopCounters,
    /// Whether flows are carried.
    pub(super) fast_path: bool,
    /// The packets at the uplinks that were not; `None` without the fast path.
    pub(super) not_carried: Option<NotCarriedCounts>,
    /// The time until the next timer is due; `None`: there is no timer.
    pub(super) next_timer: Option<Duration>,
}

/// A piece of the list of services.
#[derive(Debug)]
pub(super) struct ServicePage {
    pub(super) services: Vec<snapshot::ServiceSnapshot>,
    /// The position to go on from; `None` at the end.
    pub(super) next: Option<ListCursor>,
    /// How many batches of changes were applied: positions are valid until the next one.
    pub(super) applied: u64,
}

/// The requested changes, and whether they have been applied.
pub(super) type Applied = (Vec<Change>, Result<(), ChangeError>);

/// The settings of the packet loop that can change while it runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct LoopSettings {
    /// The outer source address for IPv4; `None`: the routing table picks it.
    pub(super) source_v4: Option<Ipv4Addr>,
    /// The UDP ports of packets in GUE.
    pub(super) gue: GuePorts,
    /// How long the loop looks for more before it sleeps.
    pub(super) busy_poll: Duration,
}

impl LoopSettings {
    pub(super) fn of(config: &config::Director) -> Self {
        let &config::Director { gue, busy_poll, .. } = config;
        Self { source_v4: config.source_v4(), gue, busy_poll }
    }
}

/// A message; the answer is sent through its channel.
#[derive(Debug)]
pub(super) enum DirectorMessage {
    /// Ends the loop.
    Stop,
    /// Asks for everything but the services and the connections.
    Report(Sender<DirectorReport>),
    /// Asks for services and real servers from a position on.
    Services { from: ListCursor, listed: ListFilter, answer: Sender<ServicePage> },
    /// Asks for up to `most` of the selected connections from table position `from` on.
    Connections { from: usize, most: usize, which: Arc<Selection>, answer: Sender<ConnectionPage> },
    /// Applies changes in order, all or none, and returns them.
    Apply { changes: Vec<Change>, answer: Sender<Applied> },
    /// Changes how the loop works from now on; there is no answer.
    Configure(LoopSettings),
    /// Asks where a flow goes and why.
    Explain { flow: FlowQuery, answer: Sender<Explanation> },
    /// Begins a trace; the answer is `None` if there are too many.
    Trace { trace: LiveTrace, answer: Sender<Option<TraceStart>> },
    /// Asks for the recorded decisions, from a number on; `None`: there is no recorder.
    Recorded { from: u64, answer: Sender<Option<RecordedPiece>> },
    /// The reader of a trace has gone.
    TraceEnds,
    /// Forgets connections from table position `from` on.
    Flush { which: Flush, from: usize, answer: Sender<Flushed> },
}

/// The start of a trace, with what its reader needs to know.
#[derive(Debug)]
pub(super) struct TraceStart {
    /// The moment.
    pub(super) now: Millis,
    /// The director's own seed, and that of the hash.
    pub(super) seeds: (Seed, Seed),
}

/// Notices queued for the control thread, which may be busy with a reload: more than there are real
/// servers, whose deadlines may all be at the same time.
pub(super) const NOTICES: usize = 2 * config::MAX_REALS;

/// A change that the packet thread made by itself.
#[derive(Debug)]
pub(super) enum Notice {
    /// A real server's drain deadline has been reached.
    Deadline(DeadlineNotice),
    /// A service has entered or left flood mode.
    Flood(FloodNotice),
    /// Services have lost their last available real server, or have one again.
    Outages(Vec<OutageNotice>),
    /// Clients' SYNs at a real server lead to no connections.
    Suspicion(Suspicion),
    /// Memory of a smaller connection table, to be freed.
    Emptied(Vec<u64>),
}

/// The packet thread's ends of its channels.
#[derive(Debug)]
pub(super) struct PacketThreadEnds {
    pub(super) inbox: Receiver<DirectorMessage>,
    pub(super) notices: mpsc::Sender<Notice>,
    pub(super) checks: HealthThread,
}
