//! The tunnels to the real servers: their ends, and the packet sizes that fit into each.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::model::Millis;
use crate::wire::encap::Encap;

/// How long a path MTU from an ICMP error is used: RFC 1191 section 6.3, RFC 8201 section 4,
/// Linux's `mtu_expires`.
pub(super) const PATH_MTU_LIFETIME: Duration = Duration::from_secs(10 * 60);

/// The smallest path MTU accepted from an IPv4 router, Linux's `min_pmtu`, and the smallest that a
/// client gets in errors.
const MIN_PATH_MTU_V4: u16 = 552;
/// The smallest MTU of an IPv6 link (RFC 8200 section 5), and the smallest in a Packet Too Big
/// message to a client.
pub(super) const MIN_MTU_V6: u16 = 1280;

/// The destination of a packet, and the inputs of its outer header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tunnel {
    /// The real server.
    pub real: IpAddr,
    /// How packets to it are encapsulated.
    pub encap: Encap,
    /// The director's own address towards the real server, if known.
    pub source: Option<IpAddr>,
    /// How many packets were sent into this tunnel before.
    pub sequence: u64,
    /// Bytes of the longest inner packet that the path carries unfragmented, as far as is known; at
    /// most `link`.
    pub limit: usize,
    /// Bytes of the longest inner packet that the director's own link carries unfragmented, as far
    /// as is known.
    pub link: usize,
}

/// The director's own address towards each real server that needs one in its outer header.
///
/// Linux fills in a source of 0.0.0.0 in an IPv4 header by its routing table (`IP_HDRINCL`), but
/// sends an IPv6 header unchanged (`IPV6_HDRINCL`).
pub type Sources = BTreeMap<IpAddr, IpAddr>;

/// The MTU in bytes from the director to each real server: its link's, or its route's if that is
/// smaller.
pub type LinkMtus = BTreeMap<IpAddr, u32>;

/// The host's source address and MTU towards a real server.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LocalRoute {
    /// See [`Sources`].
    pub(super) source: Option<IpAddr>,
    /// See [`LinkMtus`].
    pub(super) mtu: Option<u32>,
}

/// The packet sizes that fit into a tunnel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Room {
    /// Bytes of the headers before an inner packet.
    outer_len: usize,
    /// Bytes of the longest inner packet that the director's own link takes.
    link: usize,
    /// Bytes of the longest inner packet that is sent with DF; at most `advertised`.
    limit: usize,
    /// Bytes of the longest inner packet that fits, according to an ICMP error about a probe.
    advertised: usize,
    /// When that expires.
    until: Millis,
    /// Bytes of the longest inner packet that fits, according to errors that no probe has
    /// confirmed.
    doubted: usize,
    /// When that expires.
    doubted_until: Millis,
}

impl Room {
    const UNKNOWN: usize = usize::MAX;

    /// The sizes for a path of which only the director's own link is known.
    pub(super) fn behind(real: IpAddr, encap: Encap, link_mtu: Option<u32>) -> Self {
        let mut room = Self {
            outer_len: encap.outer_len(real),
            link: Self::UNKNOWN,
            limit: Self::UNKNOWN,
            advertised: Self::UNKNOWN,
            until: Millis(0),
            doubted: Self::UNKNOWN,
            doubted_until: Millis(0),
        };
        if let Some(mtu) = link_mtu {
            room.set_link(mtu);
        }
        room
    }

    /// The same path with that encapsulation. Forgets the MTUs that routers have reported: they
    /// report them again.
    pub(super) fn with(self, real: IpAddr, encap: Encap) -> Self {
        Self::behind(real, encap, self.link_mtu())
    }

    /// The director's own link has this MTU in bytes. What routers have reported stays.
    pub(super) fn set_link(&mut self, mtu: u32) {
        let mtu = usize::try_from(mtu).unwrap_or(usize::MAX);
        self.link = mtu.saturating_sub(self.outer_len);
    }

    /// A router on the path to `real` reports an MTU of `mtu` bytes for outer packets.
    ///
    /// A value below IPv6's smallest MTU is ignored (RFC 8201 section 4). For IPv4 it can be
    /// genuine: routers without MTU support report 0 (RFC 1191 section 5).
    pub(super) fn narrow(&mut self, now: Millis, real: IpAddr, mtu: u16) {
        let smallest = if real.is_ipv4() { MIN_PATH_MTU_V4 } else { MIN_MTU_V6 };
        if mtu < smallest {
            self.doubt(now, real, mtu, PATH_MTU_LIFETIME);
            return;
        }
        self.expire(now);
        self.until = now.after(PATH_MTU_LIFETIME);
        self.advertised = self.advertised.min(self.inner(mtu));
        self.limit = self.limit.min(self.advertised);
    }

    /// An unconfirmed error reports this MTU: for that long larger packets are sent without DF, so
    /// that IPv4 routers can fragment them. Returns whether that changes which packets these are.
    pub(super) fn doubt(
        &mut self,
        now: Millis,
        real: IpAddr,
        mtu: u16,
        lifetime: Duration,
    ) -> bool {
        let before = self.limit();
        if real.is_ipv4() {
            self.expire(now);
            self.doubted_until = self.doubted_until.max(now.after(lifetime));
            self.doubted = self.doubted.min(self.inner(mtu.max(MIN_PATH_MTU_V4)));
            self.limit = self.limit.min(self.doubted);
        }
        self.limit() != before
    }

    /// Bytes of the longest inner packet in an outer one of that many.
    pub(super) fn inner(self, mtu: u16) -> usize {
        usize::from(mtu).saturating_sub(self.outer_len)
    }

    /// Removes the MTUs of routers that have expired. Returns whether longer packets fit now.
    pub(super) fn expire(&mut self, now: Millis) -> bool {
        let before = self.limit;
        if now >= self.until {
            self.advertised = Self::UNKNOWN;
        }
        if now >= self.doubted_until {
            self.doubted = Self::UNKNOWN;
        }
        self.limit = self.advertised.min(self.doubted);
        self.limit != before
    }

    /// Bytes of the longest packet that fits, as far as is known.
    #[inline]
    pub(super) fn limit(self) -> usize {
        self.limit.min(self.link)
    }

    /// See [`LinkMtus`].
    pub(super) fn link_mtu(self) -> Option<u32> {
        let known = (self.link != Self::UNKNOWN).then_some(self.link);
        u32::try_from(known?.saturating_add(self.outer_len)).ok()
    }

    /// Bytes of the longest packet that fits into the director's own link.
    #[inline]
    pub(super) fn link(self) -> usize {
        self.link
    }

    /// The size of packets that a client gets in errors.
    pub(super) fn advertised(self) -> usize {
        self.advertised.min(self.link)
    }

    /// Whether a packet of `len` bytes is too large, as far as is known.
    #[inline]
    pub(super) fn excludes(self, len: usize) -> bool {
        len > self.limit()
    }
}
