#!/usr/bin/env bash
# tun-rs 2.8.16, the GRO of `send_multiple` (`GROTable::apply_gro`): TCP segments over IPv6 with different flow labels are merged, and
# all leave with the first one's. The kernel's own GRO takes the label as part of the flow. Labels change in the middle of a
# connection on purpose: a Linux sender takes a new one when it has to retransmit, so that the way through ECMP changes, and a Linux
# receiver that sees a new label on a spurious retransmission changes its own. Behind such a merge it sees none.
#
# Seen: labels 0x11111 and 0x22222 on two adjacent segments: one packet of 2,860 bytes with 0x11111. Other traffic classes or hop
# limits keep them apart.
# Expected: two packets.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"; mkdir src
cat >Cargo.toml <<'T'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"
[dependencies]
tun-rs = { version = "=2.8.16", default-features = false }
etherparse = "=0.21.0"
T
cat >src/main.rs <<'R'
use etherparse::{IpHeaders, Ipv6Header, PacketBuilder, ip_number};
use tun_rs::{GROTable, VIRTIO_NET_HDR_LEN};

fn segment(seq: u32, label: u32, class: u8, hops: u8) -> Vec<u8> {
    let mut ip = Ipv6Header { hop_limit: hops, traffic_class: class, ..Default::default() };
    ip.flow_label = label.try_into().unwrap();
    (ip.source, ip.destination) = ([1; 16], [2; 16]);
    ip.next_header = ip_number::TCP;
    let ip = IpHeaders::Ipv6(ip, Default::default());
    let mut bytes = Vec::with_capacity(8000);
    bytes.resize(VIRTIO_NET_HDR_LEN, 0);
    PacketBuilder::ip(ip).tcp(80, 1000, seq, 500).ack(9).write(&mut bytes, &[7; 1400]).unwrap();
    bytes
}

fn merge(name: &str, mut buffers: [Vec<u8>; 2]) {
    GROTable::new().apply_gro(&mut buffers, VIRTIO_NET_HDR_LEN, false).unwrap();
    let packet = &buffers[0][VIRTIO_NET_HDR_LEN..];
    let label = u32::from_be_bytes(packet[..4].try_into().unwrap()) & 0xfffff;
    println!("{name}: {} bytes, label {label:#x}", packet.len());
}

fn main() {
    let first = || segment(1, 0x11111, 0, 64);
    merge("same", [first(), segment(1401, 0x11111, 0, 64)]);
    merge("other label", [first(), segment(1401, 0x22222, 0, 64)]);
    merge("other class", [first(), segment(1401, 0x11111, 8, 64)]);
    merge("other hop limit", [first(), segment(1401, 0x11111, 0, 63)]);
}
R
cargo run -q >out 2>build.log || { echo "cannot build or run:"; tail -n 25 build.log; exit 77; }
cat out
diff - out <<'X' || { echo changed; exit 1; }
same: 2860 bytes, label 0x11111
other label: 2860 bytes, label 0x11111
other class: 1460 bytes, label 0x11111
other hop limit: 1460 bytes, label 0x11111
X
