//! The real server's end of the tunnel: which tunnelled packets are accepted, and how they are
//! passed on. Pure; imports only `wire`.
//!
//! No encapsulation has authentication (CVE-2020-10136), so the [`Gate`] accepts only packets from
//! a configured director to a configured VIP. It checks, in this order:
//!
//! 1. the outer header: IPIP, GRE or GUE, not a fragment, from a director;
//! 2. the inner packet: well formed, of the version in the outer header, to a VIP, from an address
//!    that a client can have;
//! 3. congestion marks (RFC 6040);
//! 4. merged packets: GRO hands a raw socket packets of up to 64 KB whose TCP checksum is only the
//!    pseudo-header's sum. They go to the TUN as one super-frame. Merged UDP is dropped, since the
//!    lengths of its datagrams are lost;
//! 5. unfinished checksums: a sender on the same machine (IPVS, a container behind a veth, a guest)
//!    leaves a whole segment or datagram with the same sum in its checksum field for a network card
//!    to complete. It goes to the TUN as it is, with a header that says so (`NEEDS_CSUM`).
//!
//! Inner fragments pass unchanged: the kernel behind the TUN reassembles them. That kernel also
//! verifies the inner header's checksum and complete TCP and UDP checksums.
//!
//! Linux delivers an IPv4 datagram with its outer header, and only the payload of an IPv6 or UDP
//! datagram: [`Gate::open`] takes the former, [`Gate::open_bare`] the latter. Merged GUE datagrams
//! are opened one by one: [`Gate::open_piece`].

use std::net::IpAddr;
use std::ops::Range;

use ipnet::IpNet;

use crate::wire::checksum;
use crate::wire::ecn;
use crate::wire::encap::{self, Encap, Opened, gre, gue};
use crate::wire::inquiry;
use crate::wire::packet::IPV4_HEADER_LEN;
use crate::wire::virtio::{self, HEADER_LEN, NEEDS_CSUM};
use crate::wire::{Fragment, Packet, Transport, is_host, protocol};

mod counters;
pub mod filter;
mod offload;
mod refusal;
mod remedy;
pub mod strangers;

pub use counters::{EncapCounters, GateCounters};
use offload::MergeLimits;
pub use offload::{MIN_MSS, Mss};
pub use refusal::Refusal;

/// What a socket's payloads start with: the kernel has removed the outer IP header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Payload {
    /// An inner packet of that IP version: IP in IP.
    Packet(u8),
    /// A GRE header.
    Gre,
    /// A GUE header or, in variant 1, an inner packet: UDP's payload.
    Gue,
}

impl Payload {
    /// The encapsulation.
    #[must_use]
    pub fn encap(self) -> Encap {
        match self {
            Self::Packet(_) => Encap::Ipip,
            Self::Gre => Encap::Gre,
            Self::Gue => Encap::Gue,
        }
    }
}

/// What to do with a tunnelled datagram.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Admission {
    /// Write this range of the datagram to the TUN: a virtio-net header and the inner packet.
    Deliver(Range<usize>),
    /// Write this virtio-net header and that range of the piece to the TUN.
    DeliverPiece([u8; HEADER_LEN], Range<usize>),
    /// An inquiry of `vstun doctor` from a director: this range of the datagram is the inner
    /// packet. The caller answers it and calls [`Gate::count_inquiry`], or refuses it.
    Inquiry(Range<usize>),
    /// Drop it and count the reason.
    Drop(Refusal),
}

/// What the gate has decided.
enum GateVerdict {
    /// Accepted: the virtio-net header, and where the packet is.
    Accepted(virtio::Header, Range<usize>),
    /// As [`Admission::Inquiry`].
    Inquiry(Range<usize>),
    /// Dropped; not counted yet.
    Refused(Refusal),
}

/// The real server's gate between the tunnel and its TUN.
#[derive(Clone, Debug)]
pub struct Gate {
    directors: Vec<IpNet>,
    /// Sorted.
    vips: Vec<IpAddr>,
    limits: MergeLimits,
    /// The UDP port on which this host receives GUE.
    gue_port: Option<u16>,
    /// How many strangers' datagrams each one that is read counts for.
    sample: u64,
    counters: GateCounters,
}

impl Gate {
    /// A gate that accepts packets from `directors` to `vips`. An `mss` below [`MIN_MSS`] is raised
    /// to it.
    #[must_use]
    pub fn new(directors: Vec<IpNet>, mut vips: Vec<IpAddr>, mss: Mss) -> Self {
        vips.sort_unstable();
        let (limits, counters) = (MergeLimits::new(mss), GateCounters::default());
        Self { directors, vips, limits, gue_port: None, sample: 1, counters }
    }

    /// Replaces this gate by `gate`, which gets its counters.
    #[must_use]
    pub fn succeeded_by(self, gate: Self) -> Self {
        Self { counters: self.counters, sample: self.sample, ..gate }
    }

    /// Sets whether the datagrams from now on come from a socket with the filter
    /// [`filter::program`]. Then each stranger's datagram counts [`filter::SAMPLE`] times.
    pub fn set_filtered(&mut self, filtered: bool) {
        self.sample = if filtered { filter::SAMPLE.into() } else { 1 };
    }

    /// The directors.
    #[must_use]
    pub fn directors(&self) -> &[IpNet] {
        &self.directors
    }

    /// With the largest MTU of this host's links, in bytes. A UDP datagram with an unfinished
    /// checksum counts as a whole one up to this length, outer header included, and as a merged one
    /// above.
    #[must_use]
    pub fn with_link_mtu(self, link_mtu: u32) -> Self {
        Self { limits: MergeLimits { link_mtu, ..self.limits }, ..self }
    }

    /// With the UDP port on which this host receives GUE. Inner packets to it are refused as
    /// tunnels in the tunnel.
    #[must_use]
    pub fn with_gue_port(self, gue_port: Option<u16>) -> Self {
        Self { gue_port, ..self }
    }

    /// Decides on `datagram`, which starts with the outer IPv4 header as a raw socket delivers it.
    ///
    /// The virtio-net header overwrites the outer header's last bytes, and the inner packet's ECN
    /// field is updated in place. A dropped datagram is left unchanged.
    #[inline]
    pub fn open(&mut self, datagram: &mut [u8]) -> Admission {
        match encap::open(datagram) {
            Ok(outer) => self.open_payload(&outer, datagram),
            Err(error) => {
                let source = source_of(datagram);
                let stranger = source.is_some_and(|source| !self.is_director(&source));
                self.refuse(if stranger { Refusal::Source } else { error.into() })
            }
        }
    }

    /// As [`Self::open`], for a datagram whose outer header the kernel has removed. It came from
    /// `source` with that traffic class. The payload starts at `start`, at least
    /// [`virtio::HEADER_LEN`].
    #[inline]
    pub fn open_bare(
        &mut self,
        payload: Payload,
        source: IpAddr,
        traffic_class: u8,
        start: usize,
        datagram: &mut [u8],
    ) -> Admission {
        match self.find(payload, source, traffic_class, start, datagram) {
            Ok(outer) => self.open_payload(&outer, datagram),
            Err(refusal) => self.refuse(refusal),
        }
    }

    /// The same of one of several GUE datagrams that the kernel has merged, all of `source`:
    /// `piece` is its payload alone. The virtio-net header is written by the caller.
    #[inline]
    pub fn open_piece(&mut self, source: IpAddr, traffic_class: u8, piece: &mut [u8]) -> Admission {
        self.counters.gue_merged += 1;
        let judged = self
            .find(Payload::Gue, source, traffic_class, 0, piece)
            .map_or_else(GateVerdict::Refused, |outer| self.judge(&outer, piece));
        match judged {
            GateVerdict::Accepted(header, packet) => {
                Admission::DeliverPiece(header.encode(), packet)
            }
            GateVerdict::Inquiry(inner) => Admission::Inquiry(inner),
            GateVerdict::Refused(refusal) => self.refuse(refusal),
        }
    }

    /// What is in a payload that starts at `start`.
    #[inline]
    fn find(
        &self,
        payload: Payload,
        source: IpAddr,
        traffic_class: u8,
        start: usize,
        datagram: &[u8],
    ) -> Result<Opened, Refusal> {
        let bytes = datagram.get(start..).unwrap_or_default();
        let found = match payload {
            Payload::Packet(version) => Ok((Encap::Ipip, version, 0)),
            Payload::Gre => gre::open(bytes).map(|(inner, len)| (Encap::Gre, inner, len)),
            Payload::Gue => gue::open(bytes).map(|(inner, len)| (Encap::Gue, inner, len)),
        };
        match found {
            Ok((encap, inner_version, len)) => {
                let inner = start + len..datagram.len();
                Ok(Opened { source, traffic_class, encap, inner_version, inner })
            }
            Err(_) if !self.is_director(&source) => Err(Refusal::Source),
            Err(error) => Err(error.into()),
        }
    }

    /// As [`Self::open`], for a datagram whose shim was read too. The inner packet starts at
    /// `outer.inner`, at least [`virtio::HEADER_LEN`].
    #[inline]
    pub fn open_payload(&mut self, outer: &Opened, datagram: &mut [u8]) -> Admission {
        let Some(start) = outer.inner.start.checked_sub(HEADER_LEN) else {
            return self.refuse(Refusal::Malformed);
        };
        match self.judge(outer, datagram) {
            GateVerdict::Accepted(header, packet) => {
                let room = datagram.get_mut(start..).and_then(|bytes| bytes.first_chunk_mut());
                if let Some(room) = room {
                    *room = header.encode();
                }
                Admission::Deliver(start..packet.end)
            }
            GateVerdict::Inquiry(inner) => Admission::Inquiry(inner),
            GateVerdict::Refused(refusal) => self.refuse(refusal),
        }
    }

    /// Decides on a datagram, and counts it if it is accepted.
    #[inline]
    fn judge(&mut self, outer: &Opened, datagram: &mut [u8]) -> GateVerdict {
        if let Some(inner) = self.inquiry(outer, datagram) {
            return GateVerdict::Inquiry(inner);
        }
        match self.admit(outer, datagram) {
            Ok((packet, header)) => {
                self.counters.accept(outer.encap, packet.len());
                let merged = header.gso_type != virtio::GSO_NONE;
                self.counters.super_packets += u64::from(merged);
                let partial = header.flags & NEEDS_CSUM != 0;
                self.counters.partial_checksums += u64::from(partial && !merged);
                GateVerdict::Accepted(header, packet)
            }
            Err(refusal) => GateVerdict::Refused(refusal),
        }
    }

    /// Counts an inquiry that will be answered as accepted, like a datagram that is delivered to
    /// the TUN.
    pub fn count_inquiry(&mut self) {
        self.counters.read += 1;
        self.counters.delivered += 1;
    }

    /// Counts `count` merged datagrams of `source` as refused if it is no director; otherwise each
    /// is to be opened.
    #[inline]
    pub fn refuse_merged(&mut self, source: &IpAddr, count: usize) -> bool {
        let stranger = !self.is_director(source);
        if stranger {
            self.counters.gue_merged += count as u64;
            let all = count as u64 * self.sample;
            self.counters.refuse(Refusal::Source, all, all - count as u64);
        }
        stranger
    }

    /// The range of the inner packet, if it is an inquiry of `vstun doctor` from a director. Its
    /// destination need not be a virtual IP: the inquiry may ask whether it is one.
    #[inline]
    fn inquiry(&self, outer: &Opened, datagram: &[u8]) -> Option<Range<usize>> {
        // The offset of the protocol in the inner header.
        let offset = if outer.inner_version == 4 { 9 } else { 6 };
        let next = datagram.get(outer.inner.start + offset)?;
        if *next != inquiry::PROTOCOL || !self.is_director(&outer.source) {
            return None;
        }
        let packet = Packet::parse(datagram.get(outer.inner.clone())?).ok()?;
        let whole = packet.version() == outer.inner_version && packet.fragment == Fragment::Whole;
        let start = outer.inner.start;
        (whole && inquiry::is_inquiry(packet.payload()))
            .then(|| start..start + packet.bytes().len())
    }

    /// Counts a datagram that the caller could not read whole, or drops for its own reason.
    pub fn refuse(&mut self, refusal: Refusal) -> Admission {
        let count = if refusal == Refusal::Source { self.sample } else { 1 };
        self.counters.refuse(refusal, count, count - 1);
        Admission::Drop(refusal)
    }

    /// The counters so far.
    #[must_use]
    pub fn counters(&self) -> &GateCounters {
        &self.counters
    }

    #[inline]
    fn admit(
        &self,
        outer: &Opened,
        datagram: &mut [u8],
    ) -> Result<(Range<usize>, virtio::Header), Refusal> {
        if !self.is_director(&outer.source) {
            return Err(Refusal::Source);
        }
        let start = outer.inner.start;
        let inner = datagram.get(outer.inner.clone()).ok_or(Refusal::Truncated)?;
        let packet = Packet::parse(inner)?;
        if packet.version() != outer.inner_version {
            return Err(Refusal::Malformed);
        }
        // A tunnel in the tunnel would come back to the raw sockets through the TUN, once for each
        // layer.
        if matches!(packet.protocol, protocol::IPIP | protocol::IPV6 | protocol::GRE)
            || self.is_gue(&packet)
        {
            return Err(Refusal::Unsupported);
        }
        if outer.encap == Encap::Gue {
            self.check_padding(outer, inner.len(), inner.get(packet.bytes().len()..))?;
        }
        self.check_addresses(&packet)?;
        let traffic_class = packet.traffic_class;
        let marked = ecn::decapsulate(outer.traffic_class, traffic_class).ok_or(Refusal::Ecn)?;
        let header = self.limits.offload(outer, &packet)?;

        let range = start..start + packet.bytes().len();
        if marked != traffic_class {
            let inner = datagram.get_mut(range.clone()).ok_or(Refusal::Truncated)?;
            mark(inner, marked).ok_or(Refusal::Truncated)?;
        }
        Ok((range, header))
    }

    /// Whether the packet would come to this host's own GUE socket.
    #[inline]
    fn is_gue(&self, packet: &Packet<'_>) -> bool {
        match packet.transport {
            Transport::Udp { destination_port, .. } => self.gue_port == Some(destination_port),
            _ => false,
        }
    }

    /// Directors may pad small packets with zeros to one size within the path MTU. `len` is the
    /// inner packet's length with the padding.
    #[inline]
    fn check_padding(
        &self,
        outer: &Opened,
        len: usize,
        padding: Option<&[u8]>,
    ) -> Result<(), Refusal> {
        let Some(padding @ [_, ..]) = padding else { return Ok(()) };
        let whole = outer.encap.outer_len(outer.source) + len;
        let fits = self.limits.fits_a_link(whole);
        let zeros = fits && padding.iter().all(|&byte| byte == 0);
        if zeros { Ok(()) } else { Err(Refusal::Padding) }
    }

    #[inline]
    fn check_addresses(&self, packet: &Packet<'_>) -> Result<(), Refusal> {
        if !self.is_vip(packet.destination) {
            return Err(Refusal::NotVip);
        }
        if !is_host(packet.source) || self.is_vip(packet.source) {
            return Err(Refusal::BadSource);
        }
        Ok(())
    }

    #[inline]
    fn is_director(&self, source: &IpAddr) -> bool {
        self.directors.iter().any(|director| director.contains(source))
    }

    #[inline]
    fn is_vip(&self, address: IpAddr) -> bool {
        self.vips.binary_search(&address).is_ok()
    }
}

/// The source of a datagram with an outer IPv4 header, whatever follows.
#[must_use]
pub fn source_of(datagram: &[u8]) -> Option<IpAddr> {
    let header = datagram.first_chunk::<IPV4_HEADER_LEN>()?;
    let [.., a, b, c, d, _, _, _, _] = *header;
    (header[0] >> 4 == 4).then(|| IpAddr::from([a, b, c, d]))
}

/// Sets the traffic class of a packet. An IPv4 header's checksum is updated, so it stays as right
/// or wrong as it was; IPv6 has none.
fn mark(packet: &mut [u8], traffic_class: u8) -> Option<()> {
    let header = packet.first_chunk_mut::<IPV4_HEADER_LEN>()?;
    if header[0] >> 4 == 6 {
        header[0] = 0x60 | traffic_class >> 4;
        header[1] = traffic_class << 4 | header[1] & 0x0f;
        return Some(());
    }
    let old = u16::from_be_bytes([header[0], header[1]]);
    let new = u16::from_be_bytes([header[0], traffic_class]);
    let check = checksum::update(u16::from_be_bytes([header[10], header[11]]), old, new);
    header[1] = traffic_class;
    header[10..12].copy_from_slice(&check.to_be_bytes());
    Some(())
}

#[cfg(test)]
mod tests;
