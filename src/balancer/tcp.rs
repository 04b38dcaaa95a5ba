//! The TCP states of a half connection: the director sees only the client's packets.
//!
//! States, transitions and timeouts are IPVS's (`INPUT_ONLY` rows of its TCP table), except that a
//! connection which goes on after its client's reset is ESTABLISHED again. Replies bypass the
//! director, so a server's FIN and RST are never seen. `balancer::segment` decides which segments
//! count.

use std::time::Duration;

use crate::model::Timeouts;
use crate::wire::tcp::Flags;

/// A flow's state. UDP has its own states here, so that listings and timeouts need no second type.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum ConnState {
    /// Before the first packet.
    None,
    /// The client has completed the handshake.
    Established,
    /// Not reached with one direction only; kept for IPVS's numbering.
    SynSent,
    /// The client's SYN was seen.
    SynRecv,
    /// The client's FIN was seen.
    FinWait,
    /// A FIN has completed the client's handshake.
    TimeWait,
    /// Reset by the client.
    Close,
    /// Not reached with one direction only.
    CloseWait,
    /// Not reached with one direction only.
    LastAck,
    /// Not reached with one direction only.
    Listen,
    /// Entered without a remembered SYN, during a flood or by adoption: on probation (IPVS: reached
    /// only with `secure_tcp`).
    SynAck,
    /// ESTABLISHED without a packet for [`Timeouts::tcp_idle`]. A server's reset bypasses the
    /// director, and the client that gets it sends nothing more, so an idle connection may be dead
    /// and does not count as active.
    Idle,
    /// Any UDP flow.
    Udp,
    /// A UDP flow that began during a flood: on probation.
    UdpNew,
}

/// The inputs of the state machine, in IPVS's order of precedence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TcpEvent {
    /// SYN, with or without ACK.
    Syn,
    /// FIN without SYN or RST.
    Fin,
    /// ACK alone.
    Ack,
    /// RST, whatever the other flags.
    Rst,
}

const TCP_STATES: usize = 12;
const EVENTS: usize = 4;

use ConnState::{
    Close, CloseWait, Established, FinWait, LastAck, Listen, SynRecv, SynSent, TimeWait,
};

/// The next state: one row per state, one column per event, in the order of the enums.
#[rustfmt::skip]
const NEXT: [[ConnState; EVENTS]; TCP_STATES] = [
    //                 SYN          FIN        ACK          RST
    /* None        */ [SynRecv,     Close,     Established, Close],
    /* Established */ [Established, FinWait,   Established, Close],
    /* SynSent     */ [Established, SynSent,   SynSent,     Close],
    /* SynRecv     */ [SynRecv,     TimeWait,  Established, SynRecv],
    /* FinWait     */ [SynRecv,     FinWait,   FinWait,     Close],
    /* TimeWait    */ [SynRecv,     TimeWait,  TimeWait,    Close],
    /* Close       */ [SynRecv,     Close,     Established, Close],
    /* CloseWait   */ [SynRecv,     CloseWait, CloseWait,   Close],
    /* LastAck     */ [SynRecv,     LastAck,   Close,       LastAck],
    /* Listen      */ [SynRecv,     Listen,    Listen,      Listen],
    /* SynAck      */ [SynRecv,     TimeWait,  Established, Close],
    /* Idle        */ [Established, FinWait,   Established, Close],
];

impl TcpEvent {
    /// The event of a segment's flags; `None` if none of the four is set, which closes.
    #[must_use]
    pub fn of(flags: Flags) -> Option<Self> {
        if flags.rst() {
            Some(Self::Rst)
        } else if flags.syn() {
            Some(Self::Syn)
        } else if flags.fin() {
            Some(Self::Fin)
        } else if flags.ack() {
            Some(Self::Ack)
        } else {
            None
        }
    }
}

impl ConnState {
    /// The state after a segment with these flags.
    #[inline]
    #[must_use]
    pub fn next(self, flags: Flags) -> Self {
        let Some(event) = TcpEvent::of(flags) else { return Close };
        NEXT.get(self as usize).map_or(self, |row| row[event as usize])
    }

    /// How long a flow stays in this state without a packet.
    #[inline]
    #[must_use]
    pub fn timeout(self, timeouts: &Timeouts) -> Duration {
        match self {
            Self::None => Duration::from_secs(2),
            // `Idle` follows.
            Self::Established => timeouts.tcp_idle,
            Self::Idle => timeouts.tcp_established.saturating_sub(timeouts.tcp_idle),
            // All unproven states have one timeout: see `Table::insert`.
            Self::SynRecv | Self::SynAck | Self::UdpNew => timeouts.tcp_syn_recv,
            Self::FinWait => timeouts.tcp_fin_wait,
            Self::TimeWait => timeouts.tcp_time_wait,
            Self::Close => timeouts.tcp_close,
            Self::CloseWait => Duration::from_secs(60),
            Self::LastAck => Duration::from_secs(30),
            Self::SynSent | Self::Listen => Duration::from_secs(120),
            Self::Udp => timeouts.udp,
        }
    }

    /// The state after this one's timeout; `None`: the flow ends.
    #[must_use]
    pub fn after_timeout(self, timeouts: &Timeouts) -> Option<Self> {
        (self == Self::Established && timeouts.tcp_idle < timeouts.tcp_established)
            .then_some(Self::Idle)
    }

    /// Whether the flow counts as active for the schedulers (IPVS's ActiveConn). UDP never does.
    #[inline]
    #[must_use]
    pub fn active(self) -> bool {
        matches!(self, Self::Established | Self::SynSent | Self::SynRecv | Self::SynAck)
    }

    /// Whether it is active although its client may not exist: the handshake has not been seen
    /// completely.
    #[inline]
    #[must_use]
    pub fn half_open(self) -> bool {
        matches!(self, Self::SynRecv | Self::SynAck)
    }

    /// Whether one packet with a forged source can have caused this state. Such a connection may be
    /// evicted for another.
    #[inline]
    #[must_use]
    pub fn unproven(self) -> bool {
        const UNPROVEN: u16 =
            1 << SynRecv as u8 | 1 << ConnState::SynAck as u8 | 1 << ConnState::UdpNew as u8;
        UNPROVEN >> self as u8 & 1 != 0
    }

    /// Whether it began during a flood, or was adopted, so that
    /// [`PROBATION`](super::flood::PROBATION) has to pass before a packet changes it.
    #[inline]
    #[must_use]
    pub fn on_probation(self) -> bool {
        matches!(self, Self::SynAck | Self::UdpNew)
    }

    /// Whether each packet that leaves the state as it is prolongs the flow. CLOSE ends at its
    /// time: what follows a reset is late, or shows that the reset was not the client's.
    #[inline]
    #[must_use]
    pub(super) fn is_prolonged(self) -> bool {
        !matches!(self, Self::SynAck | Self::UdpNew | Self::Close)
    }

    /// Whether a SYN on this entry starts a new connection from a reused port: IPVS's
    /// `conn_reuse_mode` with FIN_WAIT, which for tunnelled flows is the last state that the
    /// director sees.
    #[must_use]
    pub fn reusable(self) -> bool {
        matches!(self, Self::FinWait | Self::TimeWait | Self::Close)
    }

    /// The state with that name, in upper or lower case.
    #[must_use]
    pub fn known_name(text: &str) -> Option<&'static str> {
        Self::NAMES.into_iter().find(|name| name.eq_ignore_ascii_case(text))
    }

    /// The names of the states that a connection can have in listings.
    pub const NAMES: [&'static str; 7] =
        ["SYN_RECV", "SYNACK", "ESTABLISHED", "FIN_WAIT", "TIME_WAIT", "CLOSE", "UDP"];

    /// The state with this name in listings. If several have it, the one from which the connection
    /// goes on.
    #[must_use]
    pub fn listed(name: &str) -> Option<Self> {
        const STATES: [ConnState; 7] =
            [SynRecv, ConnState::SynAck, Established, FinWait, TimeWait, Close, ConnState::Udp];
        STATES.into_iter().find(|state| state.name() == name)
    }

    /// The name in listings: IPVS's.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Established | Self::Idle => "ESTABLISHED",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::FinWait => "FIN_WAIT",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::Listen => "LISTEN",
            Self::SynAck => "SYNACK",
            Self::Udp | Self::UdpNew => "UDP",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ConnState::{Idle, None as Nothing, SynAck};
    use super::*;

    const STATES: [ConnState; TCP_STATES] = [
        Nothing,
        Established,
        SynSent,
        SynRecv,
        FinWait,
        TimeWait,
        Close,
        CloseWait,
        LastAck,
        Listen,
        SynAck,
        Idle,
    ];

    /// The reference in another form: for each state its successors on SYN, FIN, ACK, RST.
    fn expected(state: ConnState) -> [ConnState; 4] {
        match state {
            // If both ends go on, the reset was not the client's. IPVS has CLOSE for CLOSE.
            Nothing | Close => [SynRecv, Close, Established, Close],
            Established | Idle => [Established, FinWait, Established, Close],
            SynSent => [Established, SynSent, SynSent, Close],
            SynRecv => [SynRecv, TimeWait, Established, SynRecv],
            FinWait => [SynRecv, FinWait, FinWait, Close],
            TimeWait => [SynRecv, TimeWait, TimeWait, Close],
            CloseWait => [SynRecv, CloseWait, CloseWait, Close],
            LastAck => [SynRecv, LastAck, Close, LastAck],
            Listen => [SynRecv, Listen, Listen, Listen],
            SynAck => [SynRecv, TimeWait, Established, Close],
            ConnState::Udp => [ConnState::Udp; 4],
            ConnState::UdpNew => [ConnState::UdpNew; 4],
        }
    }

    #[test]
    fn every_transition_is_ipvs_s_but_for_one() {
        for state in STATES.into_iter().chain([ConnState::Udp, ConnState::UdpNew]) {
            let [syn, fin, ack, rst] = expected(state);
            assert_eq!(state.next(Flags(Flags::SYN)), syn, "{state:?} SYN");
            assert_eq!(state.next(Flags(Flags::SYN | Flags::ACK)), syn, "{state:?} SYN+ACK");
            assert_eq!(state.next(Flags(Flags::FIN | Flags::ACK)), fin, "{state:?} FIN");
            assert_eq!(state.next(Flags(Flags::ACK | Flags::PSH)), ack, "{state:?} ACK");
            assert_eq!(
                state.next(Flags(Flags::RST | Flags::SYN | Flags::ACK)),
                rst,
                "{state:?} RST"
            );
            assert_eq!(state.next(Flags(0)), Close, "{state:?} nothing");
        }
    }

    #[test]
    fn default_timeouts_are_ipvs_s_except_on_probation() {
        let seconds = STATES.map(|state| state.timeout(&Timeouts::DEFAULT).as_secs());
        assert_eq!(seconds, [2, 60, 120, 60, 120, 120, 10, 60, 30, 120, 60, 840]);
        assert_eq!(Established.after_timeout(&Timeouts::DEFAULT), Some(Idle), "900 together");
        assert_eq!(ConnState::Udp.timeout(&Timeouts::DEFAULT).as_secs(), 300);
    }

    #[test]
    fn active_states_are_ipvs_s() {
        let active: Vec<_> = STATES.into_iter().filter(|state| state.active()).collect();
        assert_eq!(active, [Established, SynSent, SynRecv, SynAck]);
        assert!(!ConnState::Udp.active() && !ConnState::UdpNew.active());
    }

    #[test]
    fn all_unproven_states_have_one_timeout() {
        let all = STATES.into_iter().chain([ConnState::Udp, ConnState::UdpNew]);
        let unproven: Vec<_> = all.filter(|state| state.unproven()).collect();
        assert_eq!(unproven, [SynRecv, SynAck, ConnState::UdpNew]);
        for state in unproven {
            let timeouts = Timeouts::DEFAULT;
            assert_eq!(state.timeout(&timeouts), timeouts.tcp_syn_recv, "{state:?}");
            assert_eq!(state.half_open(), state.active(), "{state:?}");
        }
    }
}
