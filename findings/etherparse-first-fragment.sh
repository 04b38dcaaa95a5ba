#!/usr/bin/env bash
# etherparse 0.21.0: `SlicedPacket::from_ip` and `LaxSlicedPacket::from_ip` report no transport header for the FIRST fragment
# of a datagram (offset 0, more fragments), IPv4 and IPv6 alike, although the whole UDP or TCP header is in it. They look at
# "is fragmented", not at the offset. Whoever reads ports from the result takes a first fragment for a later one.
#
# Seen: whole datagram: transport Udp; the same bytes with MF set: transport None; an IPv6 "atomic" fragment (offset 0, no
# more) has its transport.
# Expected: the transport of a first fragment, as the kernel, tcpdump and tshark decode it.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"; mkdir src
cat >Cargo.toml <<'T'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"
[dependencies]
etherparse = "=0.21.0"
T
cat >src/main.rs <<'R'
use etherparse::{Ipv4Header, LaxSlicedPacket, PacketBuilder, SlicedPacket};
fn show(name: &str, packet: &[u8]) {
    let strict = SlicedPacket::from_ip(packet).map(|sliced| sliced.transport.is_some());
    let lax = LaxSlicedPacket::from_ip(packet).map(|sliced| sliced.transport.is_some());
    println!("{name}: transport found: strict {strict:?}, lax {lax:?}");
}
fn main() {
    let mut packet = Vec::new();
    PacketBuilder::ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64).udp(53, 5353).write(&mut packet, &[0; 64]).unwrap();
    show("v4 whole", &packet);
    let (mut header, _) = Ipv4Header::from_slice(&packet).unwrap();
    (header.dont_fragment, header.more_fragments) = (false, true);
    header.header_checksum = header.calc_header_checksum();
    packet.splice(..20, header.to_bytes().iter().copied());
    show("v4 first fragment", &packet);
    let mut packet = Vec::new();
    PacketBuilder::ipv6([1; 16], [2; 16], 64).udp(53, 5353).write(&mut packet, &[0; 64]).unwrap();
    let next = std::mem::replace(&mut packet[6], 44);
    let length = u16::from_be_bytes([packet[4], packet[5]]) + 8;
    packet[4..6].copy_from_slice(&length.to_be_bytes());
    packet.splice(40..40, [next, 0, 0, 0, 0, 0, 0, 7]);
    show("v6 atomic fragment", &packet);
    packet[43] = 1;
    show("v6 first fragment", &packet);
}
R
cargo run -q >out 2>build.log || { echo "cannot build:"; tail -n 5 build.log; exit 77; }
cat out
diff - out <<'X' || { echo changed; exit 1; }
v4 whole: transport found: strict Ok(true), lax Ok(true)
v4 first fragment: transport found: strict Ok(false), lax Ok(false)
v6 atomic fragment: transport found: strict Ok(true), lax Ok(true)
v6 first fragment: transport found: strict Ok(false), lax Ok(false)
X
