//! Packets as other senders make them: Linux's own tunnels, katran, and IPVS. Made by hand from
//! their sources; each is a whole datagram from 10.0.0.1 to 10.0.0.11.

use super::*;

/// The sender, the datagram, and where its inner packet starts or why it is refused.
const SENT: [(&str, Encap, usize, Option<Refusal>, &str); 10] = [
    (
        "`ip link add type ipip encap gue`",
        Encap::Gue,
        32,
        None,
        "450000481a2b400040110c6f0a0000010a00000bd2f117c000340000000400004500002800004000 \
         40064e8bc6336407c000020a9c40005000000001000000005002ffff270c0000",
    ),
    (
        "`ip link add type sit encap gue encap-csum`",
        Encap::Gue,
        32,
        None,
        "4500005c1a2b400040110c5b0a0000010a00000bd2f117c000489a3d002900006000000000140640 \
         20010db8000c0000000000000000000720010db80000000000000000000000109c40005000000001 \
         000000005002ffffb7bc0000",
    ),
    (
        "katran, IPv4 inside: no checksum; the source port is a hash of the client",
        Encap::Gue,
        28,
        None,
        "450000441a2b400040110c730a0000010a00000b5a7317c000300000450000280000400040064e8b \
         c6336407c000020a9c40005000000001000000005002ffff270c0000",
    ),
    (
        "katran, IPv6 inside",
        Encap::Gue,
        28,
        None,
        "450000581a2b400040110c5f0a0000010a00000b20c117c000440000600000000014064020010db8 \
         000c0000000000000000000720010db80000000000000000000000109c4000500000000100000000 \
         5002ffffb7bc0000",
    ),
    (
        "IPVS, `--tun-type gue --tun-nocsum`: a UDP query",
        Encap::Gue,
        32,
        None,
        "450000411a2b400040110c760a0000010a00000bc5a017c0002d0000000400004500002100004000 \
         40114e87c6336407c000020a9c400035000d27317175657279",
    ),
    (
        "IPVS, `--tun-type gue --tun-csum`, IPv6 inside",
        Encap::Gue,
        32,
        None,
        "4500005c1a2b400040110c5b0a0000010a00000bc5a017c00048a78e002900006000000000140640 \
         20010db8000c0000000000000000000720010db80000000000000000000000109c40005000000001 \
         000000005002ffffb7bc0000",
    ),
    (
        "IPVS, `--tun-type gue --tun-remcsum`: an option in the header",
        Encap::Gue,
        40,
        Some(Refusal::TunnelHeader),
        "450000501a2b400040110c670a0000010a00000bc5a017c0003c0000020400018000000000140024 \
         450000280000400040064e8bc6336407c000020a9c40005000000001000000005002ffff270c0000",
    ),
    (
        "IPVS, `--tun-type gre --tun-nocsum`",
        Encap::Gre,
        24,
        None,
        "4500004000004000402f26840a0000010a00000b00000800450000280000400040064e8bc6336407 \
         c000020a9c40005000000001000000005002ffff270c0000",
    ),
    (
        "IPVS, `--tun-type gre`, IPv6 inside",
        Encap::Gre,
        24,
        None,
        "4500005400004000402f26700a0000010a00000b000086dd600000000014064020010db8000c0000 \
         000000000000000720010db80000000000000000000000109c40005000000001000000005002ffff \
         b7bc0000",
    ),
    (
        "IPVS, `--tun-type gre --tun-csum`",
        Encap::Gre,
        28,
        None,
        "4500004400004000402f26800a0000010a00000b80000800645f0000450000280000400040064e8b \
         c6336407c000020a9c40005000000001000000005002ffff270c0000",
    ),
];

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let digit = |digit: u8| u8::try_from((digit as char).to_digit(16).unwrap()).unwrap();
    digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// The gate's decision on a datagram, as its socket delivers it, and the packet for the TUN.
fn decide(gate: &mut Gate, encap: Encap, datagram: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut datagram = datagram.to_vec();
    let outer = Ipv4HeaderSlice::from_slice(&datagram).unwrap();
    let source = IpAddr::from(outer.source_addr());
    let decision = match encap {
        Encap::Gue => {
            datagram = [&[0; HEADROOM], &datagram[28..]].concat();
            gate.open_bare(Payload::Gue, source, 0, HEADROOM, &mut datagram)
        }
        _ => gate.open(&mut datagram),
    };
    match decision {
        Admission::Deliver(frame) => Ok(datagram[frame][HEADER_LEN..].to_vec()),
        Admission::Drop(refusal) => Err(refusal),
        other => panic!("{other:?}"),
    }
}

#[test]
fn packets_of_other_senders_are_received() {
    for (sender, encap, start, refusal, hex) in SENT {
        let (datagram, mut gate) = (bytes(hex), gate());
        let expected = refusal.map_or_else(|| Ok(datagram[start..].to_vec()), Err);
        assert_eq!(decide(&mut gate, encap, &datagram), expected, "{sender}");
        let delivered = u64::from(refusal.is_none());
        assert_eq!(gate.counters().accepted(encap).packets, delivered, "{sender}");
    }
}

/// The inner packets have right checksums: nothing is left to complete.
#[test]
fn packets_of_other_senders_need_no_completion() {
    for (sender, encap, _, refusal, hex) in SENT {
        let mut gate = gate();
        let _ = decide(&mut gate, encap, &bytes(hex));
        assert_eq!(gate.counters().partial_checksums, 0, "{sender}");
        assert_eq!(gate.counters().dropped_total(), u64::from(refusal.is_some()), "{sender}");
    }
}
