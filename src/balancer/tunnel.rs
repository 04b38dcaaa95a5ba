//! The tunnels to the real servers: from where to where, and how large a packet fits into each.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::verdict::{Disposition, Reason};
use super::{Balancer, limit};
use crate::model::{Millis, RealId};
use crate::wire::{Packet, encap, icmp};

/// How long a path MTU that a router has told is believed: RFC 1191 section 6.3, RFC 8201 section
/// 4, Linux's `mtu_expires`.
const PATH_MTU_LIFETIME: Duration = Duration::from_secs(10 * 60);

/// The smallest path MTU that is believed of an IPv4 router, Linux's `min_pmtu`. Nobody is told
/// less.
const MIN_PATH_MTU_V4: u16 = 552;
/// The smallest MTU of an IPv6 link (RFC 8200 section 5), and of an IPv6 packet that is told to be
/// too big.
const MIN_MTU_V6: u16 = 1280;

/// Where a packet goes, and what its outer header has to know of the tunnel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tunnel {
    /// The real server.
    pub real: IpAddr,
    /// The director's own address on the way there, where it is known.
    pub source: Option<IpAddr>,
    /// How many packets went this way before.
    pub sequence: u64,
    /// Bytes of the longest packet that the way there takes in one piece, as far as is known.
    pub limit: usize,
}

/// The director's own address towards each real server that needs to be told one.
///
/// Linux puts the address that its routing table picks into an IPv4 header whose source is 0.0.0.0
/// (`IP_HDRINCL`); an IPv6 header goes out as it was written (`IPV6_HDRINCL`).
pub type Sources = BTreeMap<IpAddr, IpAddr>;

/// How large a packet fits into a tunnel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Room {
    /// Bytes of the longest inner packet that may not be cut on the way; at most `told`.
    limit: usize,
    /// Bytes of the longest inner packet that fits, as a router has said about a packet that was
    /// sent.
    told: usize,
    /// When both are forgotten.
    until: Millis,
}

impl Room {
    pub(super) const UNKNOWN: Self = Self { limit: usize::MAX, told: usize::MAX, until: Millis(0) };

    /// A router on the way to `real` takes outer packets of `mtu` bytes.
    ///
    /// Less than the smallest MTU of IPv6 is no router's word (RFC 8201 section 4). Of IPv4 it may
    /// be: 0 is what routers say that know no MTUs (RFC 1191 section 5).
    pub(super) fn narrow(&mut self, now: Millis, real: IpAddr, mtu: u16) {
        let smallest = if real.is_ipv4() { MIN_PATH_MTU_V4 } else { MIN_MTU_V6 };
        if mtu < smallest {
            return self.doubt(now, real, mtu);
        }
        self.renew(now);
        self.told = self.told.min(usize::from(mtu).saturating_sub(encap::outer_len(real)));
        self.limit = self.limit.min(self.told);
    }

    /// Somebody says so: larger packets may be cut on the way, which only IPv4 does.
    pub(super) fn doubt(&mut self, now: Millis, real: IpAddr, mtu: u16) {
        if real.is_ipv4() {
            self.renew(now);
            let mtu = usize::from(mtu.max(MIN_PATH_MTU_V4));
            self.limit = self.limit.min(mtu.saturating_sub(encap::outer_len(real)));
        }
    }

    fn renew(&mut self, now: Millis) {
        if now >= self.until {
            *self = Self::UNKNOWN;
        }
        self.until = now.after(PATH_MTU_LIFETIME);
    }

    /// Bytes of the longest packet that fits, as far as is known.
    pub(super) fn limit(self) -> usize {
        self.limit
    }

    /// Whether a packet of `len` bytes is too large, as far as is known.
    #[inline]
    pub(super) fn excludes(self, len: usize) -> bool {
        len > self.limit
    }
}

impl Balancer {
    pub(super) fn set_sources(&mut self, sources: &Sources) {
        self.registry.sources.clone_from(sources);
        // One that has no source now is out of reach. The last one lets the kernel say why.
        for real in self.registry.reals.iter_mut() {
            if let Some(&source) = sources.get(&real.address()) {
                real.set_source(source);
            }
        }
    }

    /// The verdict for a packet of a real server's: into the tunnel, if it fits.
    #[inline]
    pub(super) fn tunnel(&mut self, now: Millis, packet: &Packet<'_>, id: RealId) -> Disposition {
        if self.registry.reals[id].room.excludes(packet.wire_len()) {
            return self.too_big(now, packet, id);
        }
        Disposition::Tunnel(id)
    }

    /// The kernel tells clients what fits into the TUN, whose MTU is that of the interfaces towards
    /// the real servers. Only what a router further on takes less than that comes here.
    #[cold]
    fn too_big(&mut self, now: Millis, packet: &Packet<'_>, id: RealId) -> Disposition {
        let real = &mut self.registry.reals[id];
        if now >= real.room.until {
            real.room = Room::UNKNOWN;
            return Disposition::Tunnel(id);
        }
        let mut mtu = u16::try_from(real.room.told).unwrap_or(u16::MAX);
        if packet.version() == 6 {
            mtu = mtu.max(MIN_MTU_V6);
        }
        // What may be cut, or can be no smaller (RFC 4213 section 3.2.2), has to try: over IPv4 its
        // outer header lets routers cut it.
        if !packet.dont_fragment || packet.wire_len() <= usize::from(mtu) {
            return Disposition::Tunnel(id);
        }
        let told = limit::within(&mut self.answers.unreachables, now)
            .and_then(|()| icmp::packet_too_big(packet, mtu, &mut self.answers.reply));
        told.map_or(Disposition::Drop(Reason::PathMtu), |()| Disposition::Reply)
    }
}
