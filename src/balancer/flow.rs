//! A flow's key, in the form that the connection table stores and hashes.

use crate::model::{Persistence, Seed};
use std::hash::Hasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use siphasher::sip::SipHasher13;

/// A flow: transport, client and virtual address with their ports.
///
/// Addresses are four words in host order. An IPv4 address is in its mapped form `::ffff:a.b.c.d`,
/// which no IPv6 packet may have, so keys of the two families never collide. 40 bytes with padding.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Key {
    pub(super) ends: Endpoints,
    /// The transport's number, with [`FORMER`] in the key of a former connection.
    pub(super) protocol: u8,
}

/// Both ends of a flow. Separate from the protocol, so that an entry can use the padding.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Endpoints {
    client: [u32; 4],
    vip: [u32; 4],
    /// Client port in the upper half, virtual port in the lower.
    ports: u32,
}

/// The bit that marks the key of a former connection with the same ends as the current one: the
/// transports with entries, 6 and 17, do not have it.
const FORMER: u8 = 0x80;

/// The first three words of every mapped IPv4 address (RFC 4291 section 2.5.5.2).
const MAPPED: [u32; 3] = [0, 0, 0x0000_ffff];

impl Key {
    /// The key of a packet from `client` to `vip`.
    #[inline]
    #[must_use]
    pub fn new(
        protocol: u8,
        client: IpAddr,
        client_port: u16,
        vip: IpAddr,
        virtual_port: u16,
    ) -> Self {
        let ports = u32::from(client_port) << 16 | u32::from(virtual_port);
        Self { ends: Endpoints { client: words(client), vip: words(vip), ports }, protocol }
    }

    /// The key of a service's client, whatever its flows. No packet has such a key, since its
    /// protocol is 0. Hashed with service 0 it depends on the client alone.
    pub(super) fn of_client(client: IpAddr, service: u32) -> Self {
        // The unspecified address of the client's family, so that IPv4 hashes as few words as in a
        // flow.
        let nowhere = match client {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let ends = Endpoints { client: words(client), vip: words(nowhere), ports: service };
        Self { ends, protocol: 0 }
    }

    /// The key of the former connection with the ends of this key; that connection may still be
    /// alive.
    #[must_use]
    pub(super) fn former(self) -> Self {
        Self { protocol: self.protocol | FORMER, ..self }
    }

    /// Whether it is a [former](Self::former) key.
    #[must_use]
    pub(super) fn is_former(&self) -> bool {
        self.protocol & FORMER != 0
    }

    /// The key of this flow's client: the same for all flows of the client with the service.
    pub(super) fn of_persistent_client(&self, persistence: &Persistence, service: u32) -> Self {
        let client = self.client();
        let prefix = if client.is_ipv4() { persistence.prefix_v4 } else { persistence.prefix_v6 };
        Self::of_client(masked(client, prefix), service)
    }

    /// The transport's protocol number.
    #[must_use]
    pub fn protocol(&self) -> u8 {
        self.protocol & !FORMER
    }

    /// The client's address.
    #[must_use]
    pub fn client(&self) -> IpAddr {
        address(self.ends.client)
    }

    /// The client's port.
    #[must_use]
    pub fn client_port(&self) -> u16 {
        u16::try_from(self.ends.ports >> 16).unwrap_or_default()
    }

    /// The virtual address.
    #[must_use]
    pub fn vip(&self) -> IpAddr {
        address(self.ends.vip)
    }

    /// The virtual port.
    #[must_use]
    pub fn virtual_port(&self) -> u16 {
        u16::try_from(self.ends.ports & 0xffff).unwrap_or_default()
    }

    /// The keyed hash: SipHash-1-3 over the words that differ within a family.
    #[inline]
    #[must_use]
    pub fn hash(&self, seed: Seed) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(seed.0, seed.1);
        if self.ends.client[..3] == MAPPED && self.ends.vip[..3] == MAPPED {
            write(&mut hasher, self.ends.client[3], self.ends.vip[3]);
        } else {
            for words in [self.ends.client, self.ends.vip] {
                write(&mut hasher, words[0], words[1]);
                write(&mut hasher, words[2], words[3]);
            }
        }
        write(&mut hasher, self.ends.ports, u32::from(self.protocol));
        hasher.finish()
    }

    /// The keyed hash of the client's address alone.
    #[must_use]
    pub fn client_hash(&self, seed: Seed) -> u64 {
        address_hash(self.ends.client, seed)
    }

    /// The keyed hash of the virtual address alone.
    #[must_use]
    pub fn vip_hash(&self, seed: Seed) -> u64 {
        address_hash(self.ends.vip, seed)
    }
}

/// The address with all bits after the first `prefix` cleared.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(u32::from(32_u8.saturating_sub(prefix))).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(u32::from(128_u8.saturating_sub(prefix))).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

fn address_hash(words: [u32; 4], seed: Seed) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(seed.0, seed.1);
    write(&mut hasher, words[0], words[1]);
    write(&mut hasher, words[2], words[3]);
    hasher.finish()
}

/// Directors on machines of either byte order have to agree, and the hasher reads a number's bytes
/// from memory.
#[inline]
fn write(hasher: &mut SipHasher13, high: u32, low: u32) {
    hasher.write_u64(pair(high, low).to_le());
}

#[inline]
fn pair(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

#[inline]
fn words(address: IpAddr) -> [u32; 4] {
    match address {
        IpAddr::V4(address) => [MAPPED[0], MAPPED[1], MAPPED[2], address.to_bits()],
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            // Each word is the low half of a shift, so the cast is exact.
            #[allow(clippy::cast_possible_truncation)]
            let word = |shift: u32| (bits >> shift) as u32;
            [word(96), word(64), word(32), word(0)]
        }
    }
}

fn address(words: [u32; 4]) -> IpAddr {
    if words[..3] == MAPPED {
        return IpAddr::V4(Ipv4Addr::from_bits(words[3]));
    }
    let high = u128::from(pair(words[0], words[1]));
    let low = u128::from(pair(words[2], words[3]));
    IpAddr::V6(Ipv6Addr::from_bits(high << 64 | low))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(client: &str, vip: &str) -> Key {
        Key::new(6, client.parse().expect("address"), 40_000, vip.parse().expect("address"), 443)
    }

    #[test]
    fn addresses_and_ports_of_both_families_survive_the_packing() {
        for (client, vip) in [("198.51.100.7", "192.0.2.10"), ("2001:db8::7", "2001:db8:1::10")] {
            let key = key(client, vip);
            assert_eq!(key.client().to_string(), client);
            assert_eq!(key.vip().to_string(), vip);
            assert_eq!((key.client_port(), key.virtual_port(), key.protocol()), (40_000, 443, 6));
        }
    }

    #[test]
    fn the_hash_depends_on_every_field_and_on_the_seed() {
        let seed = Seed(1, 2);
        let base = key("198.51.100.7", "192.0.2.10");
        let others = [
            key("198.51.100.8", "192.0.2.10"),
            key("198.51.100.7", "192.0.2.11"),
            Key { ends: Endpoints { ports: base.ends.ports + 1, ..base.ends }, ..base },
            Key { ends: Endpoints { ports: base.ends.ports + (1 << 16), ..base.ends }, ..base },
            Key { protocol: 17, ..base },
        ];
        for other in others {
            assert_ne!(base.hash(seed), other.hash(seed));
        }
        assert_ne!(base.hash(seed), base.hash(Seed(1, 3)));
        assert_ne!(base.client_hash(seed), base.vip_hash(seed));
        let bare = Key { ends: Endpoints { ports: 0, ..base.ends }, protocol: 17 };
        for other in [key("198.51.100.7", "192.0.2.11"), bare] {
            assert_eq!(base.client_hash(seed), other.client_hash(seed));
        }
        for other in [key("198.51.100.8", "192.0.2.10"), bare] {
            assert_eq!(base.vip_hash(seed), other.vip_hash(seed));
        }
        assert_ne!(base.client_hash(seed), base.client_hash(Seed(1, 3)));
        assert_ne!(
            key("2001:db8::7", "2001:db8::1").hash(seed),
            key("2001:db8:0:1::7", "2001:db8::1").hash(seed)
        );
    }

    /// Directors of different versions and machines place alike while these values stay. Another
    /// program computed them, over the bytes in little-endian order.
    #[test]
    fn the_hashes_are_the_same_on_every_machine() {
        let seed = Seed::from_text("one for all");
        assert_eq!((seed.0, seed.1), (0x1f12_f0ea_425f_11f0, 0x2ebd_2b79_7f37_8774));
        let v4 = key("198.51.100.7", "192.0.2.10");
        let v6 = key("2001:db8::7", "2001:db8::1");
        assert_eq!(v4.hash(seed), 0x2594_af60_e900_1b7c);
        assert_eq!(v4.client_hash(seed), 0x862d_3a09_c674_29be);
        assert_eq!(v6.hash(seed), 0x9c93_7734_a9c3_2b38);
        assert_eq!(v6.client_hash(seed), 0xafd8_bf13_1949_5853);
        assert_eq!(v6.vip_hash(seed), 0x3204_c258_a3c8_e3e3);
    }

    #[test]
    fn masks_keep_the_first_bits() {
        for (address, prefix, expected) in [
            ("198.51.100.255", 32, "198.51.100.255"),
            ("198.51.100.255", 31, "198.51.100.254"),
            ("198.51.100.255", 24, "198.51.100.0"),
            ("198.51.100.255", 1, "128.0.0.0"),
            ("198.51.100.255", 0, "0.0.0.0"),
            ("2001:db8::ffff", 128, "2001:db8::ffff"),
            ("2001:db8::ffff", 127, "2001:db8::fffe"),
            ("2001:db8:1:2:3::", 64, "2001:db8:1:2::"),
            ("ffff::1", 1, "8000::"),
            ("ffff::1", 0, "::"),
        ] {
            let masked = masked(address.parse().expect("address"), prefix);
            assert_eq!(masked.to_string(), expected, "{address}/{prefix}");
        }
    }
}
