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
//! Linux delivers an IPv4 datagram with its outer header, and only the payload of an IPv6 datagram:
//! hence [`Gate::open`] and [`Gate::open_bare`].

use std::net::IpAddr;
use std::ops::Range;

use ipnet::IpNet;

use crate::wire::checksum::{self, Sum};
use crate::wire::ecn;
use crate::wire::encap::{self, Encap, Opened, gre, gue};
use crate::wire::inquiry;
use crate::wire::packet::IPV4_HEADER_LEN;
use crate::wire::tcp;
use crate::wire::virtio::{self, GSO_TCPV4, GSO_TCPV6, HEADER_LEN, NEEDS_CSUM};
use crate::wire::{Fragment, Packet, Transport, is_host, protocol};

pub mod filter;
mod refusal;
pub mod strangers;

pub use refusal::Refusal;

/// The smallest MSS that the gate uses; Linux's own minimum (`TCP_MIN_MSS`): it leaves room for 40
/// bytes of TCP options.
pub const MIN_MSS: u16 = 88;

/// The default MTU of a link, in bytes: Ethernet's.
const USUAL_MTU: u32 = 1_500;

const TCP_HEADER_LEN: u16 = 20;
const TCP_CHECKSUM_OFFSET: u16 = 16;
const UDP_HEADER_LEN: u16 = 8;
const UDP_LENGTH_OFFSET: u16 = 4;
const UDP_CHECKSUM_OFFSET: u16 = 6;

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

/// What to do with a tunnelled datagram.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Admission {
    /// Write this range of the datagram to the TUN: a virtio-net header and the inner packet.
    Deliver(Range<usize>),
    /// An inquiry of `vstun doctor` from a director: this range of the datagram is the inner
    /// packet. The caller answers it and calls [`Gate::taken`], or refuses it.
    Inquiry(Range<usize>),
    /// Drop it and count the reason.
    Drop(Refusal),
}

/// Counters of the datagrams that have arrived. `read == delivered + dropped`, always.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Datagrams read, and `filtered`; one merged by the network card counts once.
    pub read: u64,
    /// Strangers' datagrams that the kernel has refused, estimated from the sample that it lets
    /// pass. They are part of `dropped` too.
    pub filtered: u64,
    /// Accepted datagrams.
    pub delivered: u64,
    /// Accepted datagrams that came in GUE.
    pub gue: u64,
    /// Accepted datagrams that came in GRE.
    pub gre: u64,
    /// Accepted datagrams that were merged TCP segments.
    pub super_packets: u64,
    /// Whole segments and datagrams with a checksum that the sender left for a network card to
    /// complete.
    pub partial_checksums: u64,
    /// Dropped datagrams, by [`Refusal`].
    pub dropped: [u64; Refusal::ALL.len()],
}

impl Counters {
    /// How many were dropped for `refusal`.
    #[must_use]
    pub fn dropped(&self, refusal: Refusal) -> u64 {
        self.dropped[refusal as usize]
    }

    /// How many were dropped in all.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }
}

/// The MSS in bytes that this host advertises for its virtual IPs of each family; it limits the
/// clients' segments.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mss {
    /// For IPv4 clients.
    pub v4: u16,
    /// For IPv6 clients.
    pub v6: u16,
}

/// The real server's gate between the tunnel and its TUN.
#[derive(Clone, Debug)]
pub struct Gate {
    directors: Vec<IpNet>,
    /// Sorted.
    vips: Vec<IpAddr>,
    mss: Mss,
    /// The largest MTU of this host's links, in bytes.
    link_mtu: u32,
    /// The UDP port on which this host receives GUE.
    gue_port: Option<u16>,
    /// How many strangers' datagrams each one that is read counts for.
    sample: u64,
    counters: Counters,
}

impl Gate {
    /// A gate that accepts packets from `directors` to `vips`. An `mss` below [`MIN_MSS`] is raised
    /// to it.
    #[must_use]
    pub fn new(directors: Vec<IpNet>, mut vips: Vec<IpAddr>, mss: Mss) -> Self {
        vips.sort_unstable();
        let mss = Mss { v4: mss.v4.max(MIN_MSS), v6: mss.v6.max(MIN_MSS) };
        let counters = Counters::default();
        Self { directors, vips, mss, link_mtu: USUAL_MTU, gue_port: None, sample: 1, counters }
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

    /// Sets the largest MTU of this host's links, in bytes. A UDP datagram with an unfinished
    /// checksum counts as a whole one up to this length, outer header included, and as a merged one
    /// above.
    #[must_use]
    pub fn link_mtu(self, link_mtu: u32) -> Self {
        Self { link_mtu, ..self }
    }

    /// Sets the UDP port on which this host receives GUE. Inner packets to it are refused as
    /// tunnels in the tunnel.
    #[must_use]
    pub fn gue_port(self, gue_port: Option<u16>) -> Self {
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
        let bytes = datagram.get(start..).unwrap_or_default();
        let found = match payload {
            Payload::Packet(version) => Ok((Encap::Ipip, version, 0)),
            Payload::Gre => gre::open(bytes).map(|inner| (Encap::Gre, inner, gre::HEADER_LEN)),
            Payload::Gue => gue::open(bytes).map(|(inner, len)| (Encap::Gue, inner, len)),
        };
        match found {
            Ok((encap, inner_version, len)) => {
                let inner = start + len..datagram.len();
                let outer = Opened { source, traffic_class, encap, inner_version, inner };
                self.open_payload(&outer, datagram)
            }
            Err(_) if !self.is_director(&source) => self.refuse(Refusal::Source),
            Err(error) => self.refuse(error.into()),
        }
    }

    /// As [`Self::open`], for a datagram whose shim was read too. The inner packet starts at
    /// `outer.inner`, at least [`virtio::HEADER_LEN`].
    #[inline]
    pub fn open_payload(&mut self, outer: &Opened, datagram: &mut [u8]) -> Admission {
        if let Some(inner) = self.inquiry(outer, datagram) {
            return Admission::Inquiry(inner);
        }
        match self.admit(outer, datagram) {
            Ok((frame, header)) => {
                self.counters.read += 1;
                self.counters.delivered += 1;
                self.counters.gue += u64::from(outer.encap == Encap::Gue);
                self.counters.gre += u64::from(outer.encap == Encap::Gre);
                let merged = header.gso_type != virtio::GSO_NONE;
                self.counters.super_packets += u64::from(merged);
                let partial = header.flags & NEEDS_CSUM != 0;
                self.counters.partial_checksums += u64::from(partial && !merged);
                Admission::Deliver(frame)
            }
            Err(refusal) => self.refuse(refusal),
        }
    }

    /// Counts an inquiry that will be answered as accepted, like a datagram that is delivered to
    /// the TUN.
    pub fn taken(&mut self) {
        self.counters.read += 1;
        self.counters.delivered += 1;
    }

    /// The range of the inner packet, if it is an inquiry of `vstun doctor` from a director. Its
    /// destination need not be a virtual IP: the inquiry may ask whether it is one.
    #[inline]
    fn inquiry(&self, outer: &Opened, datagram: &[u8]) -> Option<Range<usize>> {
        // The offset of the protocol in the inner header.
        let place = if outer.inner_version == 4 { 9 } else { 6 };
        let next = datagram.get(outer.inner.start + place)?;
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
        self.counters.read += count;
        self.counters.filtered += count - 1;
        self.counters.dropped[refusal as usize] += count;
        Admission::Drop(refusal)
    }

    /// The counters so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
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
        let header = self.offload(outer, &packet)?;

        let frame =
            start.checked_sub(HEADER_LEN).ok_or(Refusal::Malformed)?..start + packet.bytes().len();
        let bytes = datagram.get_mut(frame.clone()).ok_or(Refusal::Truncated)?;
        let (room, inner) = bytes.split_first_chunk_mut().ok_or(Refusal::Truncated)?;
        *room = header.encode();
        if marked != traffic_class {
            mark(inner, marked).ok_or(Refusal::Truncated)?;
        }
        Ok((frame, header))
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
        let fits = whole <= usize::try_from(self.link_mtu).unwrap_or(usize::MAX);
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

    /// The virtio-net header for the packet: empty, unless its checksum is unfinished.
    #[inline]
    fn offload(&self, outer: &Opened, packet: &Packet<'_>) -> Result<virtio::Header, Refusal> {
        match (packet.transport, packet.fragment) {
            (Transport::Tcp(header), Fragment::Whole) => Ok(self.offload_tcp(packet, &header)),
            (Transport::Udp { .. }, Fragment::Whole) => self.offload_udp(outer, packet),
            _ => Ok(virtio::Header::default()),
        }
    }

    /// GRO leaves a partial checksum: the field equals the pseudo-header's sum. Only such a packet
    /// may be marked, since the kernel trusts `NEEDS_CSUM` whatever the field holds.
    #[inline]
    fn offload_tcp(&self, packet: &Packet<'_>, header: &tcp::Header) -> virtio::Header {
        let segment = packet.payload();
        let length = u32::try_from(segment.len()).unwrap_or(u32::MAX);
        let partial = Some(pseudo_header(packet, length).fold());
        if field(segment, TCP_CHECKSUM_OFFSET) != partial {
            return virtio::Header::default();
        }
        let (mss, gso_type) = match packet.source {
            IpAddr::V4(_) => (self.mss.v4, GSO_TCPV4),
            IpAddr::V6(_) => (self.mss.v6, GSO_TCPV6),
        };
        let ip_len = u16::from(packet.header_len);
        let tcp_len = u16::from(header.header_len);
        // A client that sends full segments sends our MSS minus its options (RFC 6691); at least 48
        // bytes.
        let options = tcp_len.saturating_sub(TCP_HEADER_LEN);
        let gso_size = mss.saturating_sub(options);
        let merged = segment.len() > usize::from(tcp_len) + usize::from(gso_size);
        virtio::Header {
            flags: NEEDS_CSUM,
            gso_type: if merged { gso_type } else { virtio::GSO_NONE },
            hdr_len: ip_len + tcp_len,
            gso_size: if merged { gso_size } else { 0 },
            csum_start: ip_len,
            csum_offset: TCP_CHECKSUM_OFFSET,
        }
    }

    /// GRO leaves the same value in the checksum field as a local sender leaves for its network
    /// card: the pseudo-header's sum over the whole length. Only the length distinguishes a merged
    /// datagram from a whole one. A merged datagram that fits into a link's MTU is rare: Linux
    /// merges UDP only if a program asks for it (`UDP_GRO`) or for forwarding, and then usually far
    /// more than one MTU.
    #[inline]
    fn offload_udp(&self, outer: &Opened, packet: &Packet<'_>) -> Result<virtio::Header, Refusal> {
        let payload = packet.payload();
        let length = field(payload, UDP_LENGTH_OFFSET).unwrap_or_default();
        let pseudo = pseudo_header(packet, u32::from(length));
        if field(payload, UDP_CHECKSUM_OFFSET) != Some(pseudo.fold()) {
            return Ok(virtio::Header::default());
        }
        let datagram = payload.get(..usize::from(length)).ok_or(Refusal::Malformed)?;
        // A complete checksum can have the same value by chance (one in 65,536).
        if pseudo.add_bytes(datagram).checksum() == 0 {
            return Ok(virtio::Header::default());
        }
        let outer_len = outer.encap.outer_len(outer.source);
        // `NEEDS_CSUM` covers all following bytes, so it would include bytes after the datagram.
        if outer_len + packet.bytes().len() > usize::try_from(self.link_mtu).unwrap_or(usize::MAX)
            || datagram.len() != payload.len()
        {
            return Err(Refusal::UdpSuperPacket);
        }
        let ip_len = u16::from(packet.header_len);
        Ok(virtio::Header {
            flags: NEEDS_CSUM,
            hdr_len: ip_len + UDP_HEADER_LEN,
            csum_start: ip_len,
            csum_offset: UDP_CHECKSUM_OFFSET,
            ..virtio::Header::default()
        })
    }
}

/// The source of a datagram with an outer IPv4 header, whatever follows.
fn source_of(datagram: &[u8]) -> Option<IpAddr> {
    let header = datagram.first_chunk::<IPV4_HEADER_LEN>()?;
    let [.., a, b, c, d, _, _, _, _] = *header;
    (header[0] >> 4 == 4).then(|| IpAddr::from([a, b, c, d]))
}

#[inline]
fn pseudo_header(packet: &Packet<'_>, length: u32) -> Sum {
    Sum::pseudo_header(packet.source, packet.destination, packet.protocol, length)
}

#[inline]
fn field(bytes: &[u8], at: u16) -> Option<u16> {
    bytes.get(usize::from(at)..)?.first_chunk().map(|field| u16::from_be_bytes(*field))
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
