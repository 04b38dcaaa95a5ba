//! What the gate refuses, with its reason: sources, destinations, packets.

use super::*;

#[test]
fn only_directors_may_send() {
    for family in FAMILIES {
        let packet = udp_packet(family).bytes();
        for source in ["10.0.0.0", "10.0.0.3", "10.9.0.1", "fd00::", "fd00::3", "fd09::1"] {
            delivered(&mut gate(), &tunnelled(address(source), 0, &packet));
        }
        for source in [
            "10.0.0.4",
            "10.9.0.2",
            "9.255.255.255",
            "198.51.100.7",
            "192.0.2.10",
            "fd00::4",
            "fd09::2",
            "fcff:ffff::1",
            "2001:db8::10",
            "::",
            "::ffff:10.0.0.1",
            "::10.0.0.1",
        ] {
            refused(&tunnelled(address(source), 0, &packet), Refusal::Source);
        }
    }
}

#[test]
fn only_vips_are_reached() {
    let others = OTHER_VIPS.map(address);
    for (family, outer) in MIXES {
        let to =
            |destination: IpAddr| from_director(outer, &udp_packet(family).to(destination).bytes());
        delivered(&mut gate(), &to(family.pick(others[0], others[1])));
        let strangers = family.pick(
            ["192.0.2.8", "192.0.2.11", "127.0.0.1", "10.0.0.11", "224.0.0.1"],
            ["2001:db8::8", "2001:db8::11", "::1", "::ffff:192.0.2.10", "ff02::1"],
        );
        for stranger in strangers {
            refused(&to(address(stranger)), Refusal::NotVip);
        }
    }
}

#[test]
fn sources_that_no_client_can_have_are_refused() {
    for (family, outer) in MIXES {
        let no_hosts = family.pick(
            ["192.0.2.10", "192.0.2.9", "127.0.0.1", "224.0.0.1", "255.255.255.255", "0.0.0.0"],
            ["2001:db8::10", "2001:db8::9", "::1", "ff0e::1", "::ffff:198.51.100.7", "::"],
        );
        for no_host in no_hosts {
            let packet = udp_packet(family).from(address(no_host)).bytes();
            refused(&from_director(outer, &packet), Refusal::BadSource);
        }
    }
}

#[test]
fn bad_packets_are_refused_with_their_reason() {
    for (family, outer) in MIXES {
        let inside = |packet: Ip, refusal| refused(&from_director(outer, &packet.bytes()), refusal);
        let packet = || udp_packet(family);
        inside(packet().set(0, 0x05), Refusal::NotIp);
        inside(packet().claim(1), Refusal::Truncated);
        inside(packet().drop_end(1), Refusal::Truncated);
        inside(packet().cut(family.header_len() - 1), Refusal::Truncated);
        inside(packet().set_upper(5, 0), Refusal::Malformed);
        // A tunnel in the tunnel, and a fragment of one.
        for number in [protocol::IPIP, protocol::IPV6, protocol::GRE] {
            inside(packet().protocol(number), Refusal::Unsupported);
            inside(packet().protocol(number).fragment(8, false), Refusal::Unsupported);
        }
        refused(&from_director(outer, &[]), Refusal::NotIp);
        let whole = from_director(outer, &packet().bytes());
        refused(&whole[..whole.len() - 1], Refusal::Truncated);
        refused(&whole[..1], Refusal::Truncated);
        let mut other = whole;
        other[outer.pick(9, 6)] = 94;
        refused(&other, Refusal::Unsupported);
    }
    refused(&[], Refusal::NotIp);
    for outer in FAMILIES {
        let inside = |packet: Ip, refusal| refused(&from_director(outer, &packet.bytes()), refusal);
        inside(udp_packet(Family::V4).set(0, 0x44), Refusal::Malformed);
        inside(udp_packet(Family::V4).set(0, 0x65), Refusal::Truncated);
        inside(udp_packet(Family::V4).options(&[131, 3, 4, 0]), Refusal::SourceRoute);
        inside(udp_packet(Family::V6).extension(ROUTING, &[0; 6]), Refusal::SourceRoute);
        inside(
            udp_packet(Family::V6).extension(ROUTING, &[4, 1, 0, 0, 0, 0]),
            Refusal::SourceRoute,
        );
        let jumbo = udp_packet(Family::V6).extension(HOP_BY_HOP, &[0xc2, 4, 0, 1, 0, 0]);
        inside(jumbo, Refusal::ExtensionHeader);
        let nested = udp_packet(Family::V6).fragment(0, true).extension(FRAGMENT, &[0; 6]);
        inside(nested, Refusal::ExtensionHeader);
        inside(udp_packet(Family::V6).protocol(51), Refusal::Unsupported);
    }
}
