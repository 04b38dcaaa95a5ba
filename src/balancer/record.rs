//! The decision about a packet and its reason, for traces and for the recorder.

use std::net::IpAddr;
use std::sync::Arc;

use super::tcp::ConnState;
use super::verdict::Reason;
use crate::model::{Millis, RealId, SchedulerKind, ServiceId};

/// The decision about one packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// When it was decided.
    pub at: Millis,
    /// The packet's two ends; `None`: the frame was not a packet.
    pub ends: Option<RecordedEnds>,
    /// The packet's length in bytes.
    pub length: usize,
    /// How many packets it is on the wire: more than one for a super-frame.
    pub packets: u64,
    /// The verdict.
    pub verdict: RecordedVerdict,
    /// Why it was dropped, or answered by a refusal.
    pub reason: Option<Reason>,
    /// The service, if it was found.
    pub service: Option<Arc<str>>,
    /// The real server that it was sent to, or whose connection it ends.
    pub real: Option<IpAddr>,
    /// What named the real server; `None` for a drop or a refusal.
    pub why: Option<DecisionBasis>,
    /// The state of its connection before it; `None`: it had no entry.
    pub before: Option<ConnState>,
    /// The state of its connection after it; `None`: it has no entry.
    pub after: Option<ConnState>,
}

/// A packet's two ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RecordedEnds {
    /// The transport's protocol number.
    pub protocol: u8,
    /// The source.
    pub client: IpAddr,
    /// The destination.
    pub virtual_address: IpAddr,
    /// Source and destination port of TCP and UDP; later fragments have none.
    pub ports: Option<(u16, u16)>,
}

/// A [`Verdict`](super::Verdict) without its tunnel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RecordedVerdict {
    /// Sent to a real server.
    Tunnel,
    /// Answered by the director.
    Reply,
    /// Answered by the director with a reset, and the real server got one too.
    Reset,
    /// Dropped.
    Drop,
    /// A fragment that waits for its datagram's first one.
    Hold,
}

impl RecordedVerdict {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Tunnel, Self::Reply, Self::Reset, Self::Drop, Self::Hold];

    /// The name in filters and in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tunnel => "tunnel",
            Self::Reply => "reply",
            Self::Reset => "reset",
            Self::Drop => "drop",
            Self::Hold => "hold",
        }
    }
}

/// What a decision is based on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DecisionBasis {
    /// The flow's entry in the connection table.
    Entry,
    /// The client's template.
    Template,
    /// This scheduler has chosen for a new flow.
    Scheduler(SchedulerKind),
    /// This scheduler has chosen for a datagram that is a flow of its own.
    OnePacket(SchedulerKind),
    /// The hash of the flow.
    Hash,
    /// The first fragment of its datagram.
    Fragment,
    /// The flow that an ICMP error quotes.
    IcmpError,
    /// The director's own probe, bound for one real server.
    Probe,
    /// An echo request, which the director answers.
    Echo,
    /// The real server keeps its connections no longer.
    Ended,
}

impl DecisionBasis {
    /// The name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Entry => "entry",
            Self::Template => "template",
            Self::Scheduler(_) => "scheduler",
            Self::OnePacket(_) => "one_packet",
            Self::Hash => "hash",
            Self::Fragment => "fragment",
            Self::IcmpError => "icmp_error",
            Self::Probe => "probe",
            Self::Echo => "echo",
            Self::Ended => "ended",
        }
    }

    /// The scheduler that has chosen.
    #[must_use]
    pub fn scheduler(self) -> Option<SchedulerKind> {
        match self {
            Self::Scheduler(kind) | Self::OnePacket(kind) => Some(kind),
            _ => None,
        }
    }
}

/// What has placed a new flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Placed {
    Template,
    Hash,
    Scheduler,
    OnePacket,
}

/// What forwarding has found out about a packet, for its record.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RecordNotes {
    pub(super) placed: Option<(ServiceId, Placed)>,
    pub(super) refused: Option<Reason>,
    /// The real server of a fragment, a quoted flow or an ended connection.
    pub(super) real: Option<RealId>,
}
