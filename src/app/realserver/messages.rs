//! Messages from the control thread to the packet thread.

use tokio::sync::oneshot::Sender;

use crate::app::turns::TurnLengths;
use crate::decap;

use super::delivery::Written;

/// All figures of the packet thread.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) gate: decap::Counters,
    pub(super) written: Written,
    pub(super) batches: u64,
    pub(super) turns: TurnLengths,
    pub(super) offload: bool,
    pub(super) coalesce: bool,
    /// Packets dropped because a socket's receive buffer was full.
    pub(super) socket_dropped: u64,
}

/// A message; the answer is sent through its channel.
#[derive(Debug)]
pub(super) enum RealServerMessage {
    /// Ends the loop.
    Stop,
    /// Asks for the counters.
    Report(Sender<Report>),
}

/// Whether the loop goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Next {
    GoOn,
    Stop,
}
