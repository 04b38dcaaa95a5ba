//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

use std::net::IpAddr;

/// A one's complement sum that is not folded yet.
///
/// Kept in the host's byte order and wider than 16 bits: the sum depends on neither byte order nor
/// width (RFC 1071 section 2), so only [`Sum::fold`] swaps, and folds once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// The sum of `bytes`; an odd last byte counts as if a zero followed it.
    #[inline]
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        // Four-byte words are added in eight-byte lanes, which need no carry: a lane overflows only
        // after 2^32 words. So the compiler can vectorise the loop, but only if nothing checks each
        // addition for an overflow, as this crate's profiles do.
        let (lines, rest) = bytes.as_chunks::<32>();
        let mut lanes = [0_u64; 8];
        for line in lines {
            for (lane, word) in lanes.iter_mut().zip(line.as_chunks().0) {
                *lane = lane.wrapping_add(u64::from(u32::from_ne_bytes(*word)));
            }
        }
        let (words, tail) = rest.as_chunks();
        let rest: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
        Self(lanes.iter().sum::<u64>() + rest + Self::tail(tail))
    }

    /// The sum of the two sums.
    #[inline]
    #[must_use]
    // `+` would hide that this is one's complement addition.
    #[allow(clippy::should_implement_trait)]
    pub fn add(self, other: Self) -> Self {
        let (sum, carry) = self.0.overflowing_add(other.0);
        // After an overflow the sum is at most 2^64 - 2: the carry cannot overflow it again.
        Self(sum + u64::from(carry))
    }

    /// Adds `bytes`. Only the last slice that is added may have an odd length.
    #[inline]
    #[must_use]
    pub fn add_bytes(self, bytes: &[u8]) -> Self {
        self.add(Self::of(bytes))
    }

    /// Adds a 16-bit field.
    #[inline]
    #[must_use]
    pub fn add_u16(self, field: u16) -> Self {
        self.add(Self(u64::from(field.to_be())))
    }

    /// Adds a 32-bit field.
    #[inline]
    #[must_use]
    pub fn add_u32(self, field: u32) -> Self {
        self.add(Self(u64::from(field.to_be())))
    }

    /// The pseudo-header of TCP, UDP and ICMPv6 (RFC 9293 section 3.1, RFC 8200 section 8.1);
    /// `length` is that of the transport header and its payload. One formula serves both families.
    #[inline]
    #[must_use]
    pub fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, length: u32) -> Self {
        Self::of_address(source)
            .add(Self::of_address(destination))
            .add_u16(u16::from(protocol))
            .add_u32(length)
    }

    /// The 16-bit sum, as a partial checksum field holds it.
    #[inline]
    #[must_use]
    pub fn fold(self) -> u16 {
        let sum = (self.0 >> 32) + (self.0 & 0xffff_ffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        u16::from_be((sum & 0xffff) as u16)
    }

    /// The checksum field: the complement of [`Sum::fold`].
    #[inline]
    #[must_use]
    pub fn checksum(self) -> u16 {
        !self.fold()
    }

    /// The sum of less than four bytes.
    #[inline]
    fn tail(tail: &[u8]) -> u64 {
        match *tail {
            [a, b, c] => {
                u64::from(u16::from_ne_bytes([a, b])) + u64::from(u16::from_ne_bytes([c, 0]))
            }
            [a, b] => u64::from(u16::from_ne_bytes([a, b])),
            [a] => u64::from(u16::from_ne_bytes([a, 0])),
            _ => 0,
        }
    }

    #[inline]
    fn of_address(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self(u64::from(u32::from_ne_bytes(address.octets()))),
            IpAddr::V6(address) => Self::of(&address.octets()),
        }
    }
}

/// The checksum after a 16-bit field under it changed from `old` to `new` (RFC 1624 equation 3).
#[inline]
#[must_use]
pub fn update(check: u16, old: u16, new: u16) -> u16 {
    let sum = u32::from(!check) + u32::from(!old) + u32::from(new);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    !((sum & 0xffff) as u16)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    /// The definition of RFC 1071 section 1.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0_u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        u16::try_from(sum).unwrap()
    }

    #[test]
    fn rfc_1071_example() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::of(&bytes).fold(), 0xddf2);
        assert_eq!(Sum::of(&bytes).checksum(), !0xddf2);
    }

    #[test]
    fn carries_out_of_every_word_are_kept() {
        for len in [8, 16, 63, 64, 65, 128, 1460, 65535] {
            assert_eq!(Sum::of(&vec![0xff; len]).fold(), naive(&vec![0xff; len]), "{len} bytes");
        }
    }

    #[test]
    fn pseudo_header_is_the_sum_of_its_bytes() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 2, 0, 6, 0xff, 0xfe];
        let sum = Sum::pseudo_header(
            Ipv4Addr::new(192, 0, 2, 1).into(),
            Ipv4Addr::new(198, 51, 100, 2).into(),
            6,
            0xfffe,
        );
        assert_eq!(sum.fold(), naive(&v4));
        let source: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let destination: Ipv6Addr = "2001:db8:ffff::2".parse().unwrap();
        let mut v6 = [source.octets(), destination.octets()].concat();
        v6.extend([0, 1, 0x86, 0xa0, 0, 0, 0, 17]);
        let sum = Sum::pseudo_header(source.into(), destination.into(), 17, 100_000);
        assert_eq!(sum.fold(), naive(&v6));
    }

    #[test]
    fn update_avoids_the_minus_zero_of_rfc_1141() {
        // The example of RFC 1624 section 4.
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    proptest! {
        #[test]
        fn equals_the_naive_sum(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            prop_assert_eq!(Sum::of(&bytes).fold(), naive(&bytes));
        }

        #[test]
        fn parts_add_up(
            bytes in prop::collection::vec(any::<u8>(), 4..300),
            at in 0_usize..150,
            field: u16,
        ) {
            let (head, tail) = bytes.split_at((at * 2).min(bytes.len() & !1));
            prop_assert_eq!(Sum::of(head).add_bytes(tail).fold(), naive(&bytes));
            let with_field = [&field.to_be_bytes(), &bytes[..]].concat();
            prop_assert_eq!(Sum::of(&bytes).add_u16(field).fold(), naive(&with_field));
        }

        #[test]
        fn update_equals_summing_again(
            mut bytes in prop::collection::vec(any::<u8>(), 20..=20),
            at in 1_usize..10,
            new: u16,
        ) {
            bytes[0] = 0x45; // a sum of zero would have two representations
            let old = u16::from_be_bytes([bytes[at * 2], bytes[at * 2 + 1]]);
            let before = Sum::of(&bytes).checksum();
            bytes[at * 2..at * 2 + 2].copy_from_slice(&new.to_be_bytes());
            prop_assert_eq!(update(before, old, new), Sum::of(&bytes).checksum());
        }
    }
}
