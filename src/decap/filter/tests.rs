#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

/// Runs the program as the kernel does, on the network header of a packet from `source`. Checks the
/// same as `bpf_check_classic()`.
pub(in crate::decap) fn passes(program: &[Instruction], source: IpAddr, random: u32) -> bool {
    assert!((1..=MAX_INSTRUCTIONS).contains(&program.len()));
    assert_eq!(program.last().unwrap().code, RETURN);
    let mut header = [0; 40];
    match source {
        IpAddr::V4(source) => header[12..16].copy_from_slice(&source.octets()),
        IpAddr::V6(source) => header[8..24].copy_from_slice(&source.octets()),
    }
    let word = |bytes: &[u8], at: u32| {
        let at = usize::try_from(at).unwrap();
        u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
    };
    let (mut next, mut a) = (0, 0);
    loop {
        let Instruction { code, jt, jf, k } = program[next];
        next += 1;
        let skip = |condition| usize::from(if condition { jt } else { jf });
        match code {
            LOAD => {
                a = match k {
                    RANDOM => random,
                    NETWORK_HEADER..RANDOM => word(&header, k - NETWORK_HEADER),
                    other => panic!("offset {other:#x}"),
                };
            }
            JUMP => next += usize::try_from(k).unwrap(),
            EQUAL => next += skip(a == k),
            AT_LEAST => next += skip(a >= k),
            ANY_BIT => next += skip(a & k != 0),
            RETURN => return k != 0,
            other => panic!("instruction {other:#x}"),
        }
    }
}

fn outer_of(source: IpAddr) -> OuterVersion {
    if source.is_ipv4() { OuterVersion::V4 } else { OuterVersion::V6 }
}

/// A random number that lets no stranger's packet pass.
const UNLUCKY: u32 = 1;

fn check(directors: &[IpNet], source: IpAddr) {
    let program = program(directors, outer_of(source)).unwrap();
    let admitted = directors.iter().any(|net| net.contains(&source));
    assert_eq!(passes(&program, source, UNLUCKY), admitted, "{source} of {directors:?}");
    assert!(passes(&program, source, 7 * SAMPLE), "the sample");
}

#[test]
fn the_program_is_the_shortest_for_one_director() {
    let program = program(&["10.0.0.1/32".parse().unwrap()], OuterVersion::V4).unwrap();
    let one = |code, jt, jf, k| Instruction { code, jt, jf, k };
    let expected = [
        one(LOAD, 0, 0, NETWORK_HEADER + 12),
        one(EQUAL, 1, 0, 0x0a00_0001),
        one(JUMP, 0, 0, 1),
        one(RETURN, 0, 0, u32::MAX),
        one(LOAD, 0, 0, RANDOM),
        one(ANY_BIT, 1, 0, 63),
        one(RETURN, 0, 0, u32::MAX),
        one(RETURN, 0, 0, 0),
    ];
    assert_eq!(program, expected);
}

#[test]
fn one_stranger_in_64_passes() {
    let program = program(&[], OuterVersion::V6).unwrap();
    let stranger = "2001:db8::1".parse().unwrap();
    let passed = (0..6_400).filter(|random| passes(&program, stranger, *random)).count();
    assert_eq!(passed, 100);
}

#[test]
fn ranges_at_the_ends_and_beside_each_other() {
    let nets =
        |texts: &[&str]| -> Vec<IpNet> { texts.iter().map(|one| one.parse().unwrap()).collect() };
    let table = [
        nets(&["0.0.0.0/0", "::/0"]),
        nets(&["0.0.0.0/32", "255.255.255.255/32", "::/128", "ffff::/16"]),
        nets(&["10.0.0.0/25", "10.0.0.128/25", "10.0.0.64/26", "10.0.1.0/32"]),
        nets(&["fd00::/64", "fd00:0:0:1::/64", "fd00::1:0:0/96", "fd00::/128"]),
        nets(&["ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", "2001:db8:0:0:ffff::/80"]),
        nets(&["2001:db8::1/128", "2001:db8::3/128", "2001:db8:0:0:1::3/128"]),
    ];
    for directors in table {
        for net in &directors {
            around(net).into_iter().for_each(|source| check(&directors, source));
        }
    }
}

/// The first and the last address of the range, and their neighbours.
fn around(net: &IpNet) -> Vec<IpAddr> {
    match net {
        IpNet::V4(net) => [net.network(), net.broadcast()]
            .into_iter()
            .flat_map(|one| [-1, 0, 1].map(|by| one.to_bits().wrapping_add_signed(by)))
            .map(|bits| IpAddr::from(bits.to_be_bytes()))
            .collect(),
        IpNet::V6(net) => [net.network(), net.broadcast()]
            .into_iter()
            .flat_map(|one| [-1, 0, 1].map(|by| one.to_bits().wrapping_add_signed(by)))
            .map(|bits| IpAddr::from(bits.to_be_bytes()))
            .collect(),
    }
}

/// Addresses that share some leading words.
fn near() -> impl Strategy<Value = u128> {
    let word = || prop_oneof![0..4_u32, any::<u32>()];
    prop::array::uniform4(word())
        .prop_map(|words| words.iter().fold(0, |sum, word| sum << 32 | u128::from(*word)))
}

fn v6() -> impl Strategy<Value = IpNet> {
    (near(), 0..=128_u8).prop_map(|(address, length)| {
        IpNet::new(IpAddr::from(address.to_be_bytes()), length).unwrap().trunc()
    })
}

fn v4() -> impl Strategy<Value = IpNet> {
    (prop_oneof![0..16_u32, any::<u32>()], 0..=32_u8).prop_map(|(address, length)| {
        IpNet::new(IpAddr::from(address.to_be_bytes()), length).unwrap().trunc()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_program_admits_exactly_the_configured_directors(
        directors in prop::collection::vec(prop_oneof![v4(), v6()], 0..40),
        others in prop::collection::vec((near(), any::<u32>()), 8),
    ) {
        for net in &directors {
            around(net).into_iter().for_each(|source| check(&directors, source));
        }
        for (v6, v4) in others {
            check(&directors, IpAddr::from(v6.to_be_bytes()));
            check(&directors, IpAddr::from(v4.to_be_bytes()));
        }
    }
}

/// As many scattered IPv6 addresses as a configuration may name: the longest program.
#[test]
fn the_longest_list_of_directors_fits_and_one_too_long_does_not() {
    let scattered = |count: u32| -> Vec<IpNet> {
        (0..count)
            .map(|number| {
                u128::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
            })
            .map(|bits| IpNet::from(IpAddr::from(bits.to_be_bytes())))
            .collect()
    };
    let directors = scattered(256);
    let program = program(&directors, OuterVersion::V6).unwrap();
    for net in directors.iter().step_by(17) {
        around(net).into_iter().for_each(|source| {
            let admitted = directors.iter().any(|net| net.contains(&source));
            assert_eq!(passes(&program, source, UNLUCKY), admitted);
        });
    }
    assert_eq!(super::program(&scattered(2_000), OuterVersion::V6), None);
}
