#![allow(clippy::unwrap_used)]

use super::*;
use crate::wire::build::{
    DESTINATION_OPTIONS, FAMILIES, FRAGMENT, Family, HOP_BY_HOP, Ip, ROUTING,
};
use crate::wire::tcp::Flags;

const PADDED: [u8; 6] = [1, 4, 0, 0, 0, 0];

/// A TCP packet from the VIP to the client.
fn from_real_server(family: Family) -> Ip {
    family.tcp(Flags::ACK).data(&[7; 100]).backwards()
}

fn error(family: Family, kind: u8, quoted: &[u8]) -> Ip {
    family.icmp_error((kind, 4), quoted).from(family.router())
}

/// What the first kind of error, "unreachable", quotes.
fn quote_of(family: Family, quoted: &[u8]) -> Option<Quote> {
    let bytes = error(family, family.pick(3, 1), quoted).bytes();
    quote(&Packet::parse(&bytes).unwrap())
}

fn flow_to_client(family: Family, protocol: u8) -> Option<Quote> {
    Some(Quote {
        source: family.vip(),
        destination: family.client(),
        protocol,
        source_port: 80,
        destination_port: 40_000,
    })
}

/// Errors that RFC 792 and RFC 4443 section 2.1 define.
#[test]
fn the_flow_quoted_by_each_kind_of_error() {
    for family in FAMILIES {
        let errors: &[u8] = family.pick(&[3, 4, 11, 12], &[1, 2, 3, 4]);
        let quoted = from_real_server(family).bytes();
        for kind in 0..=u8::MAX {
            let expected = errors.contains(&kind).then(|| flow_to_client(family, 6)).flatten();
            let bytes = error(family, kind, &quoted).bytes();
            let packet = Packet::parse(&bytes).unwrap();
            assert_eq!(quote(&packet), expected, "type {kind}");
            assert_eq!(is_error(&packet), expected.is_some(), "type {kind}");
            let other = error(family, kind, &quoted).protocol(family.pick(58, 1)).bytes();
            let other = Packet::parse(&other).unwrap();
            assert_eq!((quote(&other), is_error(&other)), (None, false), "the other family's ICMP");
        }
    }
}

/// RFC 4861 section 4, RFC 2710 section 3, RFC 3810 section 5.2; mobile prefix solicitations and
/// similar messages are for a host.
#[test]
fn messages_that_concern_only_one_link() {
    for family in FAMILIES {
        let noise: Vec<u8> = (0..=u8::MAX)
            .filter(|&kind| {
                let bytes = family.icmp_echo(&[0; 16]).icmp_type(kind).bytes();
                concerns_the_link(&Packet::parse(&bytes).unwrap())
            })
            .collect();
        let expected: &[u8] = family.pick(&[], &[130, 131, 132, 133, 134, 135, 136, 137, 143]);
        assert_eq!(noise, expected);
        let bytes = family.udp(53).bytes();
        assert!(!concerns_the_link(&Packet::parse(&bytes).unwrap()));
    }
    // A kernel's report of its groups: from the unspecified address, after a router alert.
    let report = Family::V6
        .icmp_echo(&[0; 20])
        .icmp_type(143)
        .extension(HOP_BY_HOP, &[5, 2, 0, 0, 1, 0])
        .from(std::net::Ipv6Addr::UNSPECIFIED)
        .to([0xff02, 0, 0, 0, 0, 0, 0, 0x16])
        .bytes();
    assert!(concerns_the_link(&Packet::parse(&report).unwrap()));
}

#[test]
fn eight_bytes_of_the_transport_suffice_and_seven_do_not() {
    let chains = [
        from_real_server(Family::V4),
        from_real_server(Family::V4).options(&[1; 40]),
        from_real_server(Family::V6),
        from_real_server(Family::V6)
            .extension(HOP_BY_HOP, &PADDED)
            .extension(ROUTING, &[2, 0, 0, 0, 0, 0])
            .extension(DESTINATION_OPTIONS, &PADDED),
        from_real_server(Family::V6).fragment(0, true),
    ];
    for (packet, family) in
        chains.into_iter().zip([Family::V4, Family::V4, Family::V6, Family::V6, Family::V6])
    {
        let enough = packet.header_len() + 8;
        let quoted = packet.bytes();
        for len in [enough, enough + 1, quoted.len()] {
            assert_eq!(quote_of(family, &quoted[..len]), flow_to_client(family, 6), "{len} bytes");
        }
        for len in 0..enough {
            assert_eq!(quote_of(family, &quoted[..len]), None, "{len} of {enough} bytes");
        }
    }
}

#[test]
fn quoted_udp_and_wrong_lengths() {
    for family in FAMILIES {
        let length = family.pick(2, 4);
        let quoted = || from_real_server(family).protocol(17);
        let with =
            |byte| quote_of(family, &quoted().set(length, byte).set(length + 1, byte).bytes());
        assert_eq!(quote_of(family, &quoted().bytes()), flow_to_client(family, 17));
        assert_eq!(with(0xff), flow_to_client(family, 17), "longer than what is quoted");
        assert_eq!(with(0), flow_to_client(family, 17), "in another byte order, say");
    }
}

#[test]
fn a_quote_without_ports_names_no_flow() {
    for family in FAMILIES {
        let of = |packet: Ip| quote_of(family, &packet.bytes());
        let quoted = || from_real_server(family);
        assert_eq!(of(quoted().fragment(0, true)), flow_to_client(family, 6), "the first has them");
        for offset in [8, 64, 32_768] {
            assert_eq!(of(quoted().fragment(offset, false)), None, "a later fragment");
        }
        for protocol in [family.icmp(), family.pick(58, 1), 132, 4, 41, 50, 51, 59, 255] {
            assert_eq!(of(quoted().protocol(protocol)), None, "protocol {protocol}");
        }
        assert_eq!(of(quoted().set(0, family.pick(0x65, 0x45))), None, "another version inside");
        assert_eq!(of(quoted().set(0, family.pick(0x44, 0x50))), None);
    }
}

/// Errors that quote packets which no real server sends are not matched to one.
#[test]
fn a_quoted_chain_that_would_be_refused_names_no_flow() {
    let quoted = || from_real_server(Family::V6);
    for (name, packet) in [
        ("a route to go", quoted().extension(ROUTING, &[2, 1, 0, 0, 0, 0])),
        ("type 0", quoted().extension(ROUTING, &[0; 6])),
        (
            "hop-by-hop options late",
            quoted().extension(ROUTING, &[2, 0, 0, 0, 0, 0]).extension(HOP_BY_HOP, &PADDED),
        ),
        ("two fragment headers", quoted().fragment(0, true).extension(FRAGMENT, &[0; 6])),
        (
            "an option out of its header",
            quoted().extension(DESTINATION_OPTIONS, &[1, 5, 0, 0, 0, 0]),
        ),
        (
            "nine headers",
            (0..9).fold(quoted(), |packet, _| packet.extension(DESTINATION_OPTIONS, &PADDED)),
        ),
    ] {
        assert_eq!(quote_of(Family::V6, &packet.bytes()), None, "{name}");
    }
}

#[test]
fn an_error_after_extension_headers_is_recognised() {
    let quoted = from_real_server(Family::V6).bytes();
    let bytes = error(Family::V6, 2, &quoted).extension(DESTINATION_OPTIONS, &PADDED).bytes();
    let packet = Packet::parse(&bytes).unwrap();
    assert!(checksum_ok(&packet));
    assert_eq!(quote(&packet), flow_to_client(Family::V6, 6));
}

#[test]
fn an_error_in_fragments_is_ignored() {
    for family in FAMILIES {
        let quoted = from_real_server(family).bytes();
        let bytes = error(family, family.pick(3, 1), &quoted[..96]).fragment(0, true).bytes();
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!((quote(&packet), checksum_ok(&packet)), (None, false));
    }
}

/// RFC 4443 section 2.3: ICMPv6's checksum covers the addresses and the length too.
#[test]
fn the_checksum_covers_every_byte() {
    for family in FAMILIES {
        let quoted = from_real_server(family).bytes();
        let good = error(family, family.pick(3, 1), &quoted[..29]).bytes();
        assert!(checksum_ok(&Packet::parse(&good).unwrap()));
        let header_len = family.header_len();
        let addresses = family.pick(0..0, 8..40);
        for at in addresses.chain(header_len..good.len()) {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(!checksum_ok(&Packet::parse(&bad).unwrap()), "byte {at}");
        }
        let longer =
            error(family, family.pick(3, 1), &quoted[..29]).append(&[0; 2]).claim(2).bytes();
        assert_eq!(checksum_ok(&Packet::parse(&longer).unwrap()), family == Family::V4, "zeros");
        assert!(!checksum_ok(&Packet::parse(&quoted).unwrap()), "not ICMP");
        let other = error(family, 1, &quoted[..29]).protocol(family.pick(58, 1)).bytes();
        assert!(!checksum_ok(&Packet::parse(&other).unwrap()), "the other family's ICMP");
    }
}
