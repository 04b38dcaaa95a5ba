//! Packets as other senders make them: Linux's own tunnels and IPVS, captured, and katran.

use super::*;

/// The datagrams by name. `netns-tests/other-kernel/50-captured.sh` compares them with those of a
/// kernel.
const DATAGRAMS: &str = include_str!("senders.txt");

/// The sender, where the inner packet starts in its datagram, and why it is refused.
const SENT: [(&str, Encap, usize, Option<Refusal>); 20] = [
    // `ip link add type ipip encap gue`, and `sit`; by default without a checksum.
    ("ipip-gue", Encap::Gue, 32, None),
    ("ipip-gue-csum", Encap::Gue, 32, None),
    ("ipip-gue-remcsum", Encap::Gue, 40, Some(Refusal::RemoteChecksum)),
    ("sit-gue", Encap::Gue, 32, None),
    ("sit-gue-csum", Encap::Gue, 32, None),
    ("sit-gue-remcsum", Encap::Gue, 40, Some(Refusal::RemoteChecksum)),
    // `ip link add type gre`.
    ("gre-4", Encap::Gre, 24, None),
    ("gre-6", Encap::Gre, 24, None),
    ("katran-4", Encap::Gue, 28, None),
    ("katran-6", Encap::Gue, 28, None),
    // `ipvsadm --tun-type gue --tun-nocsum` and so on.
    ("ipvs-gue-nocsum-4", Encap::Gue, 32, None),
    ("ipvs-gue-csum-4", Encap::Gue, 32, None),
    ("ipvs-gue-remcsum-4", Encap::Gue, 40, Some(Refusal::RemoteChecksum)),
    ("ipvs-gue-nocsum-6", Encap::Gue, 32, None),
    ("ipvs-gue-csum-6", Encap::Gue, 32, None),
    ("ipvs-gue-remcsum-6", Encap::Gue, 40, Some(Refusal::RemoteChecksum)),
    ("ipvs-gre-nocsum-4", Encap::Gre, 24, None),
    ("ipvs-gre-csum-4", Encap::Gre, 28, None),
    ("ipvs-gre-nocsum-6", Encap::Gre, 24, None),
    ("ipvs-gre-csum-6", Encap::Gre, 28, None),
];

/// The gate of the host that they are sent to.
fn host() -> Gate {
    let vips = ["192.0.2.10", "2001:db8:b::10"].map(address).to_vec();
    Gate::new(vec!["10.0.0.1/32".parse().unwrap()], vips, MSS)
}

fn datagram(name: &str) -> Vec<u8> {
    let mut lines = DATAGRAMS.lines().filter_map(|line| line.split_once(' '));
    bytes(lines.find(|(key, _)| *key == name).unwrap().1)
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().collect();
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
    for (sender, encap, start, refusal) in SENT {
        let (datagram, mut gate) = (datagram(sender), host());
        let expected = refusal.map_or_else(|| Ok(datagram[start..].to_vec()), Err);
        assert_eq!(decide(&mut gate, encap, &datagram), expected, "{sender}");
        let delivered = u64::from(refusal.is_none());
        assert_eq!(gate.counters().accepted(encap).packets, delivered, "{sender}");
    }
}

/// The inner packets have right checksums: nothing is left to complete.
#[test]
fn packets_of_other_senders_need_no_completion() {
    for (sender, encap, _, refusal) in SENT {
        let mut gate = host();
        let _ = decide(&mut gate, encap, &datagram(sender));
        assert_eq!(gate.counters().partial_checksums, 0, "{sender}");
        assert_eq!(gate.counters().dropped_total(), u64::from(refusal.is_some()), "{sender}");
    }
}
