//! What the control thread and the packet thread say to each other.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::oneshot::Sender;

use crate::balancer::listing::{Listed, Place};
use crate::balancer::{
    Change, ChangeError, DeadlineNotice, Explanation, FloodNotice, FlowQuery, Flush, Flushed,
    Selection, Snapshot, snapshot,
};

use crate::app::health::Checks;

use super::output::Sent;
use super::packets::Reads;

/// What the packet thread knows. It answers without the services, which come in pieces.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) snapshot: Snapshot,
    pub(super) sent: Sent,
    pub(super) reads: Reads,
    /// How long until the next timer is due; none: none waits.
    pub(super) next_timer: Option<Duration>,
}

/// A piece of the list of services.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) services: Vec<snapshot::ServiceSnapshot>,
    /// Where it goes on; `None`: nowhere.
    pub(super) next: Option<Place>,
    /// How often changes were applied: places mean the same only until the next time.
    pub(super) applied: u64,
}

/// A piece of the connection list, and the place from which it goes on.
pub(super) type Page = (Vec<snapshot::ConnectionSnapshot>, Option<usize>);

/// Changes that were asked for, and whether they have been applied.
pub(super) type Applied = (Vec<Change>, Result<(), ChangeError>);

/// A message; answers go back through the channel in it.
#[derive(Debug)]
pub(super) enum DirectorMessage {
    /// Ends the loop.
    Stop,
    /// Asks for everything but the services and the connections.
    Report(Sender<Report>),
    /// Asks for services and real servers from a place on.
    Services { from: Place, listed: Listed, answer: Sender<Piece> },
    /// Asks for up to `most` connections of those that are wanted, from place `from` on.
    Connections { from: usize, most: usize, which: Arc<Selection>, answer: Sender<Page> },
    /// Applies changes in their order, all or none; the changes come back.
    Apply { changes: Vec<Change>, answer: Sender<Applied> },
    /// Asks where a flow goes and why.
    Explain { flow: FlowQuery, answer: Sender<Explanation> },
    /// Forgets connections from place `from` on.
    Flush { which: Flush, from: usize, answer: Sender<Flushed> },
}

/// Notices that wait for the control thread, which may be busy with a reload: more than there are
/// real servers, whose deadlines may all be one.
pub(super) const NOTICES: usize = 32_768;

/// What the packet thread says without having been asked: what has changed by itself.
#[derive(Debug)]
pub(super) enum Notice {
    /// A real server's drain deadline has been reached.
    Deadline(DeadlineNotice),
    /// A service has entered or left flood mode.
    Flood(FloodNotice),
}

/// The packet thread's ends.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) inbox: Receiver<DirectorMessage>,
    pub(super) notices: mpsc::Sender<Notice>,
    pub(super) checks: Checks,
}

/// Whether the loop goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Next {
    GoOn,
    Stop,
}
