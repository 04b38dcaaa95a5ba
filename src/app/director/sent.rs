//! What became of the packets that were sent, and why some were not.

use std::io;
use std::net::IpAddr;
use std::time::Instant;

use crate::app::log_throttle::LogThrottle;
use crate::control::counted;

/// Why sending a packet failed; each is a counter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SendError {
    /// `EAGAIN`: the socket's buffer is full.
    Again,
    /// `ENOBUFS`: a queueing discipline is full.
    NoBuffers,
    /// `EMSGSIZE`: larger than the interface's MTU or the path's.
    TooBig,
    /// `EPERM`: a firewall rule on the output refused it.
    Refused,
    /// `ENETUNREACH`, `EHOSTUNREACH`: no route.
    Unreachable,
    /// Without an errno: the socket of a packet's source port is not open.
    NoPort,
    /// Any other.
    Other,
}

impl SendError {
    pub(super) const ALL: [Self; 7] = [
        Self::Again,
        Self::NoBuffers,
        Self::TooBig,
        Self::Refused,
        Self::Unreachable,
        Self::NoPort,
        Self::Other,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Again => "send_again",
            Self::NoBuffers => "send_no_buffers",
            Self::TooBig => "send_too_big",
            Self::Refused => "send_refused",
            Self::Unreachable => "send_unreachable",
            Self::NoPort => "send_no_port",
            Self::Other => "send_other",
        }
    }

    pub(super) fn meaning(self) -> &'static str {
        match self {
            Self::Again => "the send buffer was full; the uplink is slower than the traffic",
            Self::NoBuffers => {
                "a queueing discipline was full; Linux seldom reports that to raw sockets"
            }
            Self::TooBig => "larger than the path MTU to the real server",
            Self::Refused => {
                "a firewall on the director refused it; let the tunnels out: IP protocols 4 and 41 \
                 (IPv6 inside), 47 for GRE, UDP for GUE"
            }
            Self::Unreachable => "no route to the real server",
            Self::NoPort => "the socket of its source port was not open",
            Self::Other => "another error; the log names it",
        }
    }

    fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EAGAIN) => Self::Again,
            Some(libc::ENOBUFS) => Self::NoBuffers,
            Some(libc::EMSGSIZE) => Self::TooBig,
            Some(libc::EPERM) => Self::Refused,
            // EADDRNOTAVAIL: an IPv6 packet on a host whose IPv6 is off.
            Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EADDRNOTAVAIL) => Self::Unreachable,
            _ => Self::Other,
        }
    }
}

/// Packets in GUE that the kernel took from UDP sockets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct JoinedSends {
    /// The packets.
    pub(super) packets: u64,
    /// The calls for them.
    pub(super) sends: u64,
    /// Bytes of zeros behind those that were shorter than others of their call.
    pub(super) padding: u64,
}

/// Counters of sent packets. `queued == sent + failed` once the queue is flushed.
#[derive(Clone, Debug, Default)]
pub(super) struct SendCounters {
    /// Segments and replies queued; one in several outer fragments counts once.
    pub(super) queued: u64,
    /// Those in several outer fragments.
    pub(super) fragmented: u64,
    /// The fragments of these that were queued.
    pub(super) fragments: u64,
    /// Their bytes with the outer headers.
    pub(super) bytes: u64,
    /// Calls of `sendmmsg` and `sendmsg`.
    pub(super) calls: u64,
    /// Those of them that went by UDP sockets.
    pub(super) joined: JoinedSends,
    /// Segments and replies that failed as a whole or in part, by [`SendError`].
    pub(super) failed: [u64; SendError::ALL.len()],
    fragments_failed: u64,
    /// The number of the fragmented packet that failed last.
    last_failed: u64,
}

impl SendCounters {
    /// Segments and replies that the kernel took.
    pub(super) fn segments(&self) -> u64 {
        self.queued - self.failed.iter().sum::<u64>()
    }

    /// Outer fragments that the kernel took.
    pub(super) fn outer_fragments(&self) -> u64 {
        self.fragments - self.fragments_failed
    }

    /// Counts a call that the kernel took, of packets in GUE with so many bytes of padding.
    pub(super) fn joined(&mut self, packets: usize, padding: usize) {
        self.joined.packets += packets as u64;
        self.joined.sends += 1;
        self.joined.padding += padding as u64;
    }

    /// Counts a packet that has failed: a fragmented one once, with its first fragment that did.
    fn fail(&mut self, kind: SendError, fragment_of: u64) {
        if fragment_of > 0 {
            self.fragments_failed += 1;
            if std::mem::replace(&mut self.last_failed, fragment_of) == fragment_of {
                return;
            }
        }
        self.failed[kind as usize] += 1;
    }

    /// Counts packets that have failed before they were queued.
    fn fail_early(&mut self, kind: SendError, packets: usize) {
        self.queued += packets as u64;
        self.failed[kind as usize] += packets as u64;
    }
}

/// Counts what was sent, and logs what was not.
#[derive(Debug, Default)]
pub(super) struct SendLog {
    pub(super) sent: SendCounters,
    throttle: [LogThrottle; SendError::ALL.len()],
}

impl SendLog {
    /// Counts a queued packet that has failed; see [`SendCounters::fail`].
    #[cold]
    pub(super) fn failed(&mut self, destination: IpAddr, error: &io::Error, fragment_of: u64) {
        let kind = SendError::of(error);
        self.sent.fail(kind, fragment_of);
        self.log(destination, error, kind);
    }

    /// Counts packets to an IPv6 real server without a source, since this host never had a route to
    /// it.
    #[cold]
    pub(super) fn unreachable(&mut self, real: IpAddr, packets: usize) {
        let kind = SendError::Unreachable;
        self.sent.fail_early(kind, packets);
        self.log(real, &io::Error::from_raw_os_error(libc::ENETUNREACH), kind);
    }

    /// Counts queued packets in GUE whose source port has no socket.
    #[cold]
    pub(super) fn without_socket(&mut self, real: IpAddr, packets: usize) {
        let kind = SendError::NoPort;
        for _ in 0..packets {
            self.sent.fail(kind, 0);
        }
        self.log(real, &io::Error::from_raw_os_error(libc::EBADF), kind);
    }

    /// Counts a packet that has no space for an outer header: the datagram would be longer than IP
    /// allows.
    #[cold]
    pub(super) fn too_big(&mut self) {
        self.sent.fail_early(SendError::TooBig, 1);
    }

    fn log(&mut self, destination: IpAddr, error: &io::Error, kind: SendError) {
        if let Some(count) = self.throttle[kind as usize].note(Instant::now()) {
            log_failure(destination, error, kind, count);
        }
    }
}

#[cold]
fn log_failure(destination: IpAddr, error: &io::Error, kind: SendError, count: u64) {
    log::warn!(
        address:% = destination, count;
        "could not send to {destination}: {error} ({}; {} since the last report)",
        kind.meaning(),
        counted(count, "such failure")
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragmented_packet_fails_once_however_many_of_its_fragments_do() {
        let mut sent =
            SendCounters { queued: 5, fragmented: 3, fragments: 8, ..SendCounters::default() };
        let failures = [
            (SendError::NoBuffers, 0),
            (SendError::NoBuffers, 2),
            (SendError::Again, 2),
            (SendError::Again, 3),
        ];
        for (kind, fragment_of) in failures {
            sent.fail(kind, fragment_of);
        }
        assert_eq!(sent.failed[SendError::NoBuffers as usize], 2);
        assert_eq!(sent.failed[SendError::Again as usize], 1);
        assert_eq!((sent.segments(), sent.outer_fragments()), (2, 5));
        sent.fail_early(SendError::TooBig, 4);
        assert_eq!((sent.segments(), sent.outer_fragments()), (2, 5));
    }
}
