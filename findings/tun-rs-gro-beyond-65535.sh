#!/usr/bin/env bash
# tun-rs 2.8.16, the GRO of `send_multiple` (`GROTable::apply_gro`): the only bound of a merged packet is the capacity of its buffer.
# With buffers of 128 KiB, 80 TCP segments of 1,400 bytes become one packet of 112,040 bytes, and the 16 bits of its IPv4 total
# length (and of an IPv6 payload length) hold the rest of a division by 65,536. The capacity of a Vec is often more than was asked
# for, so a program may meet this without asking for large buffers.
#
# Seen: 112,040 bytes, total length 46,504, IPv6: 112,060 bytes, payload length 46,484. With 60 KiB of
# capacity: two packets whose lengths are right.
# Expected: a merged packet ends at 65,535 bytes, as in the kernel's own GRO without BIG TCP.
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
use etherparse::PacketBuilder;
use tun_rs::{GROTable, VIRTIO_NET_HDR_LEN};

fn segment(v6: bool, seq: u32, capacity: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(capacity);
    bytes.resize(VIRTIO_NET_HDR_LEN, 0);
    let payload = [7; 1400];
    if v6 {
        let mut ip = etherparse::Ipv6Header { hop_limit: 64, ..Default::default() };
        (ip.source, ip.destination) = ([1; 16], [2; 16]);
        ip.next_header = etherparse::ip_number::TCP;
        let ip = etherparse::IpHeaders::Ipv6(ip, Default::default());
        let packet = PacketBuilder::ip(ip).tcp(80, 1000, seq, 500).ack(9);
        packet.write(&mut bytes, &payload).unwrap();
    } else {
        let packet = PacketBuilder::ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64);
        packet.tcp(80, 1000, seq, 500).ack(9).write(&mut bytes, &payload).unwrap();
    }
    bytes
}

fn merge(name: &str, v6: bool, count: u32, capacity: usize) {
    let mut buffers: Vec<Vec<u8>> =
        (0..count).map(|i| segment(v6, 1 + i * 1400, capacity)).collect();
    GROTable::new().apply_gro(&mut buffers, VIRTIO_NET_HDR_LEN, false).unwrap();
    // A buffer that was merged into another keeps its bytes: only the first one of each merged packet is longer.
    for buffer in buffers.iter().filter(|one| one.len() > 2000) {
        let packet = &buffer[VIRTIO_NET_HDR_LEN..];
        let at = if v6 { 4 } else { 2 };
        let length = u16::from_be_bytes([packet[at], packet[at + 1]]);
        println!("{name}: {} bytes, length field {length}", packet.len());
    }
}

fn main() {
    merge("IPv4, 128 KiB", false, 80, 128 << 10);
    merge("IPv6, 128 KiB", true, 80, 128 << 10);
    merge("IPv4, 60 KiB", false, 80, 60 << 10);
}
R
cargo run -q >out 2>build.log || { echo "cannot build or run:"; tail -n 25 build.log; exit 77; }
cat out
diff - out <<'X' || { echo changed; exit 1; }
IPv4, 128 KiB: 112040 bytes, length field 46504
IPv6, 128 KiB: 112060 bytes, length field 46484
IPv4, 60 KiB: 60240 bytes, length field 60240
IPv4, 60 KiB: 51840 bytes, length field 51840
X
