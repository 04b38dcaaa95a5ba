//! The output queue: outer headers, wire segments, one `sendmmsg` for many packets.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::time::Instant;

use crate::app::budgets::director::BATCH;
use crate::app::log_throttle::LogThrottle;
use crate::balancer::outer::{self, Inner};
use crate::balancer::{Sources, Tunnel};
use crate::control::counted;
use crate::sys::raw::{Batch, BatchMessage, Sender};
use crate::wire::encap::pieces::{self, MAX_PIECE_HEADER_LEN, Pieces};
use crate::wire::encap::{self, MAX_SHIM_LEN, Outer, Shim};
use crate::wire::segment::{MAX_HEADER_LEN, SplitPlan};

use super::input::Input;

/// Bytes for the outer headers and the shim.
const OUTER_ROOM: usize = MAX_PIECE_HEADER_LEN + MAX_SHIM_LEN;
/// Bytes for one segment's headers: the outer and the inner ones, in whole cache lines.
const SLOT: usize = (OUTER_ROOM + MAX_HEADER_LEN).next_multiple_of(64);
const _: () =
    assert!(MAX_SHIM_LEN + MAX_HEADER_LEN <= pieces::SMALLEST, "the first piece has all headers");

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
    /// Any other.
    Other,
}

impl SendError {
    pub(super) const ALL: [Self; 6] =
        [Self::Again, Self::NoBuffers, Self::TooBig, Self::Refused, Self::Unreachable, Self::Other];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Again => "send_again",
            Self::NoBuffers => "send_no_buffers",
            Self::TooBig => "send_too_big",
            Self::Refused => "send_refused",
            Self::Unreachable => "send_unreachable",
            Self::Other => "send_other",
        }
    }

    pub(super) fn meaning(self) -> &'static str {
        match self {
            Self::Again => "the send buffer was full; the uplink is slower than the traffic",
            Self::NoBuffers => {
                "a queue on the way out was full; Linux tells raw sockets so only seldom"
            }
            Self::TooBig => "larger than the MTU of the way to the real server",
            Self::Refused => {
                "a firewall on the director refused it; let IP protocols 4 and 41 (IPv6 inside) out"
            }
            Self::Unreachable => "no route to the real server",
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

/// Counters of sent packets. `queued == sent + failed` once the queue is flushed.
#[derive(Clone, Debug, Default)]
pub(super) struct Sent {
    /// Segments and replies queued; one in several outer fragments counts once.
    queued: u64,
    /// Those in several outer fragments.
    pub(super) fragmented: u64,
    /// The fragments of these that were queued.
    fragments: u64,
    /// Their bytes, outer headers and all.
    pub(super) bytes: u64,
    /// Calls of `sendmmsg`.
    pub(super) calls: u64,
    /// Segments and replies that failed as a whole or in part, by [`SendError`].
    pub(super) failed: [u64; SendError::ALL.len()],
    fragments_failed: u64,
    /// The number of the fragmented packet that failed last.
    last_failed: u64,
}

impl Sent {
    /// Segments and replies that the kernel took.
    pub(super) fn segments(&self) -> u64 {
        self.queued - self.failed.iter().sum::<u64>()
    }

    /// Outer fragments that the kernel took.
    pub(super) fn outer_fragments(&self) -> u64 {
        self.fragments - self.fragments_failed
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

/// How an inner packet is cut, and the headers before it.
#[derive(Clone, Copy, Debug)]
struct Cut {
    pieces: Pieces,
    shim: Shim,
    inner_version: u8,
}

/// The queue of packets to send.
#[derive(Debug)]
pub(super) struct Output {
    sender: Sender,
    batch: Batch,
    headers: Vec<u8>,
    source_v4: IpAddr,
    gue_port: u16,
    random: u64,
    sent: Sent,
    /// Copies of the packets sent since [`Self::tap`]; `None`: no trace needs them.
    tapped: Option<Vec<Vec<u8>>>,
    throttle: [LogThrottle; SendError::ALL.len()],
}

impl Output {
    /// `source_v4` is the IPv4 outer source address; `None`: the routing table picks it. The IPv6
    /// source comes with each tunnel. `seed` is not zero.
    pub(super) fn new(
        sender: Sender,
        source_v4: Option<Ipv4Addr>,
        gue_port: u16,
        seed: u64,
    ) -> Self {
        Self {
            sender,
            batch: Batch::new(BATCH),
            headers: vec![0; BATCH * SLOT],
            source_v4: source_v4.unwrap_or(Ipv4Addr::UNSPECIFIED).into(),
            gue_port,
            random: seed.max(1),
            sent: Sent::default(),
            tapped: None,
            throttle: Default::default(),
        }
    }

    pub(super) fn sent(&self) -> &Sent {
        &self.sent
    }

    /// Sets the outer source address for IPv4, see [`Self::new`].
    pub(super) fn set_source_v4(&mut self, source: Option<Ipv4Addr>) {
        self.source_v4 = source.unwrap_or(Ipv4Addr::UNSPECIFIED).into();
    }

    /// Sets the UDP port on which real servers receive GUE.
    pub(super) fn set_gue_port(&mut self, port: u16) {
        self.gue_port = port;
    }

    /// Updates the tunnels' sources. Each packet contains its source, but if all have the same one,
    /// binding it saves the kernel a lookup.
    pub(super) fn sources_changed(&self, sources: &Sources) {
        self.sender.set_source_v6(only_v6(sources));
    }

    /// Queues an answer, without encapsulation. It lies at `at` in the input.
    pub(super) fn plain(&mut self, input: &Input, destination: IpAddr, at: Range<usize>) {
        self.make_room(input);
        self.push(BatchMessage { destination, header: 0..0, payload: at, fragment_of: 0 });
    }

    /// Queues the packet at `at` in the input, encapsulated in place: the outer header goes into
    /// the space before it.
    pub(super) fn whole(
        &mut self,
        input: &mut Input,
        at: Range<usize>,
        inner: Inner,
        tunnel: &Tunnel,
    ) {
        if !self.has_source(tunnel) {
            return self.unreachable(tunnel.real, 1);
        }
        self.make_room(input);
        let outer = inner.outer(tunnel, 0, self.source_v4, self.random());
        let Range { start, end } = at;
        let shim = Shim::new(tunnel.encap, outer.flow_label, self.gue_port);
        if let Some(pieces) = outer::pieces(tunnel, end - start) {
            let cut = Cut { pieces, shim, inner_version: inner.version };
            return self.in_pieces(input, &outer, cut, 0, at);
        }
        let (room, packet) = input.with_room_before(at);
        match encap::write(shim, &outer, inner.version, [&[], packet], room) {
            Some(outer_len) => {
                let (destination, payload) = (tunnel.real, start - outer_len..end);
                self.push(BatchMessage { destination, header: 0..0, payload, fragment_of: 0 });
            }
            None => self.too_big(),
        }
    }

    /// Queues a super-frame's wire segments: the headers in this queue's buffer, the payloads in
    /// the input.
    pub(super) fn split(&mut self, input: &Input, inner: Inner, plan: &SplitPlan, tunnel: &Tunnel) {
        if !self.has_source(tunnel) {
            return self.unreachable(tunnel.real, plan.count());
        }
        let packet = input.packet_range();
        for index in 0..plan.count() {
            self.make_room(input);
            let outer = inner.outer(tunnel, index, self.source_v4, self.random());
            let shim = Shim::new(tunnel.encap, outer.flow_label, self.gue_port);
            let slot = self.batch.len() * SLOT;
            let Some((room, header)) = self
                .headers
                .get_mut(slot..slot + SLOT)
                .and_then(|slot| slot.split_at_mut_checked(OUTER_ROOM))
            else {
                return;
            };
            let Some(payload) = plan.write(index, input.packet(), header) else {
                self.too_big();
                continue;
            };
            let len = plan.header_len() + payload.len();
            let header = header.get(..plan.header_len()).unwrap_or_default();
            let content = [header, input.packet().get(payload.clone()).unwrap_or_default()];
            let payload = packet.start + payload.start..packet.start + payload.end;
            if let Some(pieces) = outer::pieces(tunnel, len) {
                let cut = Cut { pieces, shim, inner_version: inner.version };
                self.in_pieces(input, &outer, cut, plan.header_len(), payload);
                continue;
            }
            let Some(outer_len) = encap::write(shim, &outer, inner.version, content, room) else {
                self.too_big();
                continue;
            };
            let header = slot + OUTER_ROOM;
            let header = header - outer_len..header + plan.header_len();
            self.push(BatchMessage { destination: tunnel.real, header, payload, fragment_of: 0 });
        }
    }

    /// Queues an inner packet in several outer ones. Its first `inside` bytes lie in the next slot,
    /// behind the room for outer headers, and the rest at `rest` in the input.
    #[cold]
    fn in_pieces(
        &mut self,
        input: &Input,
        outer: &Outer,
        Cut { pieces, shim, inner_version }: Cut,
        inside: usize,
        rest: Range<usize>,
    ) {
        let identification = u32::from(self.random()) << 16 | u32::from(self.random());
        let Some(next) = shim.protocol(inner_version) else { return self.too_big() };
        // The bytes that are cut begin with the shim.
        let before = shim.len() + inside;
        for range in pieces.ranges() {
            // A flush leaves the slots as they are, and the first piece has its room already.
            self.make_room(input);
            let slot = self.batch.len() * SLOT;
            let Some(room) = self.headers.get_mut(slot..slot + SLOT) else { return self.too_big() };
            if range.start == 0 {
                let (room, headers) = room.split_at_mut(OUTER_ROOM);
                let rest = input.bytes().get(rest.clone()).unwrap_or_default();
                let inner = [headers.get(..inside).unwrap_or_default(), rest];
                if shim.write(outer, inner_version, inner, room).is_none() {
                    return self.too_big();
                }
                self.sent.queued += 1;
                self.sent.fragmented += 1;
            }
            let end = OUTER_ROOM - shim.len();
            let room = room.get_mut(..end).unwrap_or_default();
            let Some(header_len) = pieces.write(outer, next, identification, &range, room) else {
                return self.too_big();
            };
            let before_first = if range.start == 0 { before } else { 0 };
            let header = slot + end;
            let at = |offset: usize| rest.start + offset.saturating_sub(before);
            self.push(BatchMessage {
                destination: outer.destination,
                header: header - header_len..header + before_first,
                payload: at(range.start)..at(range.end),
                fragment_of: self.sent.fragmented,
            });
        }
    }

    /// Sends all queued packets.
    pub(super) fn flush(&mut self, input: &Input) {
        if self.batch.is_empty() {
            return;
        }
        if self.tapped.is_some() {
            self.copy(input);
        }
        let Self { sender, batch, headers, sent, throttle, .. } = self;
        let calls = batch.flush(sender, headers, input.bytes(), |message, error| {
            let kind = SendError::of(&error);
            sent.fail(kind, message.fragment_of);
            if let Some(count) = throttle[kind as usize].note(Instant::now()) {
                log_failure(message.destination, &error, kind, count);
            }
        });
        sent.calls += calls as u64;
    }

    /// Copies packets as they are sent, until [`Self::tapped`].
    #[cold]
    pub(super) fn tap(&mut self, input: &Input) {
        self.flush(input);
        self.tapped = Some(Vec::new());
    }

    /// Sends all queued packets. Returns the packets sent since [`Self::tap`].
    #[cold]
    pub(super) fn tapped(&mut self, input: &Input) -> Vec<Vec<u8>> {
        self.flush(input);
        self.tapped.take().unwrap_or_default()
    }

    #[cold]
    fn copy(&mut self, input: &Input) {
        let Self { batch, headers, tapped: Some(tapped), .. } = self else { return };
        for message in batch.messages() {
            let header = headers.get(message.header.clone()).unwrap_or_default();
            let payload = input.bytes().get(message.payload.clone()).unwrap_or_default();
            tapped.push([header, payload].concat());
        }
    }

    fn make_room(&mut self, input: &Input) {
        if self.batch.is_full() {
            self.flush(input);
        }
    }

    fn push(&mut self, message: BatchMessage) {
        if message.fragment_of == 0 {
            self.sent.queued += 1;
        } else {
            self.sent.fragments += 1;
        }
        self.sent.bytes += (message.header.len() + message.payload.len()) as u64;
        self.batch.push(message);
    }

    /// Whether the tunnel has a source. Linux does not fill in the source of an IPv6 header;
    /// without a route to the real server there is none.
    #[inline]
    fn has_source(&self, tunnel: &Tunnel) -> bool {
        tunnel.real.is_ipv4() || tunnel.source.is_some()
    }

    /// Counts packets to an IPv6 real server without a source, since this host never had a route to
    /// it.
    #[cold]
    fn unreachable(&mut self, real: IpAddr, packets: usize) {
        let kind = SendError::Unreachable;
        self.sent.fail_early(kind, packets);
        if let Some(count) = self.throttle[kind as usize].note(Instant::now()) {
            log_failure(real, &io::Error::from_raw_os_error(libc::ENETUNREACH), kind, count);
        }
    }

    /// Counts a packet that has no space for an outer header: the datagram would be longer than IP
    /// allows.
    #[cold]
    fn too_big(&mut self) {
        self.sent.fail_early(SendError::TooBig, 1);
    }

    /// Marsaglia's xorshift64: the IDs only have to differ, not to be secret.
    fn random(&mut self) -> u16 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        u16::try_from(self.random >> 48).unwrap_or_default()
    }
}

/// The IPv6 source address, if all tunnels have the same.
fn only_v6(sources: &Sources) -> Option<Ipv6Addr> {
    let v6 = |source: &IpAddr| match source {
        IpAddr::V6(source) => Some(*source),
        IpAddr::V4(_) => None,
    };
    let mut all = sources.values().filter_map(v6);
    let first = all.next()?;
    all.all(|source| source == first).then_some(first)
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
        let mut sent = Sent { queued: 5, fragmented: 3, fragments: 8, ..Sent::default() };
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

    #[test]
    fn the_socket_is_bound_to_a_source_only_if_all_tunnels_have_it() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let sources = |all: &[(&str, &str)]| -> Sources {
            all.iter().map(|(real, source)| (address(real), address(source))).collect()
        };
        let one = [("2001:db8::11", "2001:db8::1"), ("10.0.0.11", "10.0.0.1")];
        let same = [one[0], one[1], ("2001:db8::12", "2001:db8::1")];
        let other = [one[0], one[1], ("2001:db8::12", "2001:db8::2")];
        assert_eq!(only_v6(&sources(&one)), "2001:db8::1".parse().ok());
        assert_eq!(only_v6(&sources(&same)), "2001:db8::1".parse().ok());
        assert_eq!(only_v6(&sources(&other)), None);
        assert_eq!(only_v6(&sources(&one[1..])), None);
    }
}
