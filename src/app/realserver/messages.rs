//! Messages from the control thread to the packet thread.

use std::io;
use std::time::Duration;

use tokio::sync::oneshot::Sender;

use crate::app::turns::TurnLengths;
use crate::decap::{self, Gate};
use crate::sys::raw::Receiver;

use super::delivery::Written;
use super::last_sources::SourceWatch;
use super::stranger_filter::Programs;

/// All figures of the packet thread.
#[derive(Debug)]
pub(super) struct RealServerReport {
    pub(super) gate: decap::GateCounters,
    pub(super) written: Written,
    pub(super) batches: u64,
    pub(super) turns: TurnLengths,
    pub(super) offload: bool,
    pub(super) coalesce: bool,
    /// Packets dropped because a socket's receive buffer was full.
    pub(super) socket_dropped: u64,
    /// Whether the kernel refuses strangers' packets now.
    pub(super) filtering: bool,
    /// Where packets have come from.
    pub(super) last: SourceWatch,
}

/// The settings of the packet loop that can change while it runs.
#[derive(Clone, Debug)]
pub(super) struct RealServerLoopSettings {
    /// The gate with the new settings; its counters are not used.
    pub(super) gate: Gate,
    /// The socket filters for this gate.
    pub(super) programs: Programs,
    /// How long the loop looks for more before it sleeps.
    pub(super) busy_poll: Duration,
    /// Whether super-frames are built here.
    pub(super) coalesce: bool,
}

/// A message; the answer is sent through its channel.
#[derive(Debug)]
pub(super) enum RealServerMessage {
    /// Ends the loop.
    Stop,
    /// Asks for the counters.
    Report(Sender<RealServerReport>),
    /// Sets the gate and the loop's settings. The answer confirms that they are in force.
    Configure(Box<RealServerLoopSettings>, Sender<()>),
    /// Reads these sockets too from now on.
    Receive(Vec<Receiver>, Sender<io::Result<()>>),
}
