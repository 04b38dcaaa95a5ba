//! The output queue: outer headers, wire segments, one `sendmmsg` for many packets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use crate::app::budgets::director::BATCH;
use crate::balancer::outer::{self, Inner};
use crate::balancer::{Sources, Tunnel};
use crate::sys::raw::{BatchMessage, SendBatch, Sender};
use crate::wire::encap::joins::{self, OuterFields};
use crate::wire::encap::pieces::{self, MAX_PIECE_HEADER_LEN, Pieces};
use crate::wire::encap::{self, Encap, GuePorts, MAX_SHIM_LEN, Outer, Shim};
use crate::wire::segment::{MAX_HEADER_LEN, SplitPlan};

use super::gue_output::GueOutput;
use super::input::Input;
use super::sent::{SendCounters, SendLog};

/// Bytes for the outer headers and the shim.
const OUTER_ROOM: usize = MAX_PIECE_HEADER_LEN + MAX_SHIM_LEN;
/// Bytes for one segment's headers: the outer and the inner ones, in whole cache lines.
const SLOT: usize = (OUTER_ROOM + MAX_HEADER_LEN).next_multiple_of(64);
const _: () =
    assert!(MAX_SHIM_LEN + MAX_HEADER_LEN <= pieces::SMALLEST, "the first piece has all headers");

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
    batch: SendBatch,
    headers: Vec<u8>,
    source_v4: IpAddr,
    gue: GueOutput,
    /// Whether packets in GUE were queued since joined ones have left.
    queued_gue: bool,
    random: u64,
    send_log: SendLog,
    /// Copies of the packets sent since [`Self::tap`]; `None`: no trace needs them.
    tapped: Option<Vec<Vec<u8>>>,
}

impl Output {
    /// `source_v4` is the IPv4 outer source address; `None`: the routing table picks it. The IPv6
    /// source comes with each tunnel. `seed` is not zero.
    pub(super) fn new(
        sender: Sender,
        source_v4: Option<Ipv4Addr>,
        gue: GuePorts,
        seed: u64,
    ) -> Self {
        Self {
            sender,
            batch: SendBatch::new(BATCH),
            headers: vec![0; BATCH * SLOT],
            source_v4: source_v4.unwrap_or(Ipv4Addr::UNSPECIFIED).into(),
            gue: GueOutput::new(gue),
            queued_gue: false,
            random: seed.max(1),
            send_log: SendLog::default(),
            tapped: None,
        }
    }

    pub(super) fn sent(&self) -> &SendCounters {
        &self.send_log.sent
    }

    /// Sets the outer source address for IPv4, see [`Self::new`].
    pub(super) fn set_source_v4(&mut self, source: Option<Ipv4Addr>) {
        self.source_v4 = source.unwrap_or(Ipv4Addr::UNSPECIFIED).into();
    }

    /// The UDP ports of packets in GUE.
    pub(super) fn gue_ports(&self) -> GuePorts {
        self.gue.ports()
    }

    /// How many source ports of GUE another program has.
    pub(super) fn gue_ports_taken(&self) -> u64 {
        self.gue.taken() as u64
    }

    /// Sets the source ports of GUE. Packets that wait are sent from the old ports first.
    pub(super) fn set_gue_ports(&mut self, input: &Input, ports: GuePorts) {
        self.finish(input);
        self.gue.set_ports(ports);
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
            return self.send_log.unreachable(tunnel.real, 1);
        }
        let Range { start, end } = at;
        if let Some(fields) = self.joined(inner, tunnel, end - start) {
            let packet = input.bytes().get(at).unwrap_or_default();
            return self.join(input, fields, inner, [&[], packet]);
        }
        self.after_joined(input, inner, tunnel);
        self.make_room(input);
        let (outer, shim) = inner.headers(tunnel, 0, self.source_v4, self.gue.ports());
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
            None => self.send_log.too_big(),
        }
    }

    /// Queues a super-frame's wire segments: the headers in this queue's buffer, the payloads in
    /// the input.
    pub(super) fn split(&mut self, input: &Input, inner: Inner, plan: &SplitPlan, tunnel: &Tunnel) {
        if !self.has_source(tunnel) {
            return self.send_log.unreachable(tunnel.real, plan.count());
        }
        if let Some(fields) = self.joined(inner, tunnel, plan.on_wire().longest) {
            return self.split_joined(input, inner, plan, fields);
        }
        self.after_joined(input, inner, tunnel);
        let packet = input.packet_range();
        for index in 0..plan.count() {
            self.make_room(input);
            let (outer, shim) = inner.headers(tunnel, index, self.source_v4, self.gue.ports());
            let slot = self.batch.len() * SLOT;
            let Some((room, header)) = self
                .headers
                .get_mut(slot..slot + SLOT)
                .and_then(|slot| slot.split_at_mut_checked(OUTER_ROOM))
            else {
                return;
            };
            let Some(payload) = plan.write(index, input.packet(), header) else {
                self.send_log.too_big();
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
                self.send_log.too_big();
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
        let Some(next) = shim.protocol(inner_version) else { return self.send_log.too_big() };
        // The bytes that are cut begin with the shim.
        let before = shim.len() + inside;
        for range in pieces.ranges() {
            // A flush leaves the slots as they are, and the first piece has its room already.
            self.make_room(input);
            let slot = self.batch.len() * SLOT;
            let Some(room) = self.headers.get_mut(slot..slot + SLOT) else {
                return self.send_log.too_big();
            };
            if range.start == 0 {
                let (room, headers) = room.split_at_mut(OUTER_ROOM);
                let rest = input.bytes().get(rest.clone()).unwrap_or_default();
                let inner = [headers.get(..inside).unwrap_or_default(), rest];
                if shim.write(outer, inner_version, inner, room).is_none() {
                    return self.send_log.too_big();
                }
                self.send_log.sent.queued += 1;
                self.send_log.sent.fragmented += 1;
            }
            let end = OUTER_ROOM - shim.len();
            let room = room.get_mut(..end).unwrap_or_default();
            let Some(header_len) = pieces.write(outer, next, identification, &range, room) else {
                return self.send_log.too_big();
            };
            let before_first = if range.start == 0 { before } else { 0 };
            let header = slot + end;
            let at = |offset: usize| rest.start + offset.saturating_sub(before);
            self.push(BatchMessage {
                destination: outer.destination,
                header: header - header_len..header + before_first,
                payload: at(range.start)..at(range.end),
                fragment_of: self.send_log.sent.fragmented,
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
        let Self { sender, batch, headers, send_log, .. } = self;
        let calls = batch.flush(sender, headers, input.bytes(), |message, error| {
            send_log.failed(message.destination, &error, message.fragment_of);
        });
        send_log.sent.calls += calls as u64;
    }

    /// Sends all queued packets, and those that were joined.
    pub(super) fn finish(&mut self, input: &Input) {
        self.flush(input);
        while !self.gue.is_empty() {
            self.leave(input, 0);
        }
    }

    /// Sends packets that were joined.
    fn leave(&mut self, input: &Input, position: usize) {
        // Packets that were queued before may be of the same flows.
        if std::mem::take(&mut self.queued_gue) {
            self.flush(input);
        }
        self.gue.leave(position, &mut self.send_log, self.tapped.as_mut());
    }

    /// How the packets of a flow, the longest of `len` bytes, go together with others; `None` if
    /// they go one by one.
    fn joined(&mut self, inner: Inner, tunnel: &Tunnel, len: usize) -> Option<OuterFields> {
        if tunnel.encap != Encap::Gue || outer::pieces(tunnel, len).is_some() {
            return None;
        }
        let (outer, shim) = inner.headers(tunnel, 0, self.source_v4, self.gue.ports());
        self.gue.fields(&outer, shim, len)
    }

    /// Joins a packet, which is there in two parts, with others.
    fn join(&mut self, input: &Input, fields: OuterFields, inner: Inner, parts: [&[u8]; 2]) {
        let Some(segment) = joins::GuePacket::new(fields, inner.flow(), inner.version, parts)
        else {
            return self.send_log.too_big();
        };
        while let Err(position) = self.gue.enter(&segment) {
            self.leave(input, position);
        }
        self.send_log.sent.queued += 1;
    }

    /// Joins a super-frame's segments with others.
    fn split_joined(&mut self, input: &Input, inner: Inner, plan: &SplitPlan, fields: OuterFields) {
        let mut header = [0; MAX_HEADER_LEN];
        let packet = input.packet();
        for index in 0..plan.count() {
            let payload = plan.write(index, packet, &mut header);
            let Some(payload) = payload.and_then(|payload| packet.get(payload)) else {
                self.send_log.too_big();
                continue;
            };
            let header = header.get(..plan.header_len()).unwrap_or_default();
            self.join(input, fields, inner, [header, payload]);
        }
    }

    /// Sends joined packets in GUE before a packet that is queued alone: they may be of the same
    /// flow, and came first.
    fn after_joined(&mut self, input: &Input, inner: Inner, tunnel: &Tunnel) {
        if tunnel.encap == Encap::Gue {
            let shim = inner.shim(tunnel.encap, self.gue.ports());
            while let Some(position) = self.gue.before(shim, tunnel.real) {
                self.leave(input, position);
            }
            self.queued_gue = true;
        }
    }

    /// Copies packets as they are sent, until [`Self::tapped`].
    #[cold]
    pub(super) fn tap(&mut self, input: &Input) {
        self.finish(input);
        self.tapped = Some(Vec::new());
    }

    /// Sends all queued packets. Returns the packets sent since [`Self::tap`].
    #[cold]
    pub(super) fn tapped(&mut self, input: &Input) -> Vec<Vec<u8>> {
        self.finish(input);
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
            self.send_log.sent.queued += 1;
        } else {
            self.send_log.sent.fragments += 1;
        }
        self.send_log.sent.bytes += (message.header.len() + message.payload.len()) as u64;
        self.batch.push(message);
    }

    /// Whether the tunnel has a source. Linux does not fill in the source of an IPv6 header;
    /// without a route to the real server there is none.
    #[inline]
    fn has_source(&self, tunnel: &Tunnel) -> bool {
        tunnel.real.is_ipv4() || tunnel.source.is_some()
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

#[cfg(test)]
mod tests {
    use super::*;

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
