//! Mixing of 64-bit hashes.

use std::net::IpAddr;

/// The hash of a real server's address that makes its draws independent: the same in every service
/// and every run.
pub(super) fn salt(address: IpAddr) -> u64 {
    mix(match address {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            #[allow(clippy::cast_possible_truncation)] // both halves are used
            let (high, low) = ((bits >> 64) as u64, bits as u64);
            high.rotate_left(32) ^ low
        }
    })
}

/// The step of `SplitMix64`: 2^64 divided by the golden ratio.
pub(super) const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The hash that follows `hash` if another one is needed.
pub(super) fn next_hash(hash: u64) -> u64 {
    // Without the step 0 would follow 0.
    mix(hash.wrapping_add(STEP))
}

/// The finaliser of SplitMix64: every bit of the input moves every bit of the output.
pub(super) fn mix(mut bits: u64) -> u64 {
    bits ^= bits >> 30;
    bits = bits.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits ^= bits >> 27;
    bits = bits.wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}
