//! Listens that have moved between services, and how far connections have followed them
//! ([`super::listen_moves`]).

use std::ops::Range;

use crate::model::{Listen, Persistence, RealId, ServiceId};

/// Entries of the connection table that are looked at in one turn, so that a large table does not
/// delay packets.
const FOLLOWED_A_TURN: usize = 4_096;

/// Whether connections of a real server may belong to another service.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MoveMarks {
    /// They may, and follow now.
    pub(super) follows: bool,
    /// They do, but that service does not have their real server.
    pub(super) left_behind: bool,
}

/// What a batch has moved, and how far its connections have followed.
#[derive(Debug)]
pub(super) struct MovedListens {
    /// Listens that services have lost in this batch.
    pub(super) lost: Vec<(ServiceId, Listen)>,
    /// The real servers of these services.
    pub(super) candidates: Vec<RealId>,
    /// The persistence of these services, and of services whose connections have not moved yet.
    pub(super) former: Vec<(ServiceId, Persistence)>,
    /// The table positions that have not been looked at yet; `None`: all connections are where they
    /// belong, or have stayed behind.
    pub(super) unseen: Option<Range<usize>>,
    /// Whether connections have stayed behind: the service that listens there now does not have
    /// their real server.
    pub(super) left: bool,
    /// See [`FOLLOWED_A_TURN`].
    pub(super) a_turn: usize,
}

impl Default for MovedListens {
    fn default() -> Self {
        Self {
            lost: Vec::new(),
            candidates: Vec::new(),
            former: Vec::new(),
            unseen: None,
            left: false,
            a_turn: FOLLOWED_A_TURN,
        }
    }
}
