#!/usr/bin/env bash
# pcap-file 2.0.0: the time of a pcapng packet is taken for nanoseconds whatever the interface says. A file without if_tsresol, so
# in microseconds (the format's default; what many tools write), is read 1,000 times too early, and one in units of 2^-10 s
# more than that. Its writer does the same: an interface without the option gets nanoseconds, which other readers take for microseconds.
#
# Seen: the same moment, 1,700,000,000 s, in three resolutions: read as 1,700,000 s, 1,700,000,000 s and 1,740.8 s; tshark reads
# one moment from all three. What the library writes without the option tshark reads as 1,700,000,000,000 s.
# Expected: `timestamp` is a Duration, so the resolution of the packet's interface is applied to it, both ways.
set -euo pipefail
command -v tshark >/dev/null || { echo "needs tshark"; exit 77; }
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"; mkdir src
cat >Cargo.toml <<'T'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"
[dependencies]
pcap-file = "=2.0.0"
T
cat >src/main.rs <<'R'
use pcap_file::DataLink;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionBlock;
use pcap_file::pcapng::{Block, PcapNgReader, PcapNgWriter};
use std::{borrow::Cow, fs::File, time::Duration};

const PACKET: [u8; 20] =
    [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 59, 0xf6, 0x8c, 192, 0, 2, 1, 192, 0, 2, 2];

fn main() {
    for name in ["microseconds", "nanoseconds", "binary"] {
        let mut reader = PcapNgReader::new(File::open(name).unwrap()).unwrap();
        while let Some(block) = reader.next_block() {
            if let Block::EnhancedPacket(packet) = block.unwrap() {
                println!("{name}: pcap-file reads {:?}", packet.timestamp);
            }
        }
    }
    let mut writer = PcapNgWriter::new(File::create("written").unwrap()).unwrap();
    let interface =
        InterfaceDescriptionBlock { linktype: DataLink::RAW, snaplen: 0, options: vec![] };
    writer.write_block(&Block::InterfaceDescription(interface)).unwrap();
    let packet = EnhancedPacketBlock {
        interface_id: 0,
        timestamp: Duration::from_secs(1_700_000_000),
        original_len: 20,
        data: Cow::Borrowed(&PACKET),
        options: vec![],
    };
    writer.write_block(&Block::EnhancedPacket(packet)).unwrap();
}
R
python3 - <<'P'
import struct
def block(kind, body):
    return struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)
packet = bytes([0x45, 0, 0, 20, 0, 0, 0, 0, 64, 59, 0xF6, 0x8C, 192, 0, 2, 1, 192, 0, 2, 2])
def write(name, resolution, units):
    options = b"" if resolution is None else struct.pack("<HHB3xHH", 9, 1, resolution, 0, 0)
    time = 1_700_000_000 * units
    with open(name, "wb") as file:
        file.write(block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)))
        file.write(block(1, struct.pack("<HHI", 101, 0, 0) + options))
        file.write(block(6, struct.pack("<IIIII", 0, time >> 32, time & 0xFFFFFFFF, 20, 20) + packet))
write("microseconds", None, 10**6)
write("nanoseconds", 9, 10**9)
write("binary", 0x8A, 2**10)
P
cargo run -q >out 2>build.log || { echo "cannot build or run:"; tail -n 5 build.log; exit 77; }
for name in microseconds nanoseconds binary written; do
    echo "$name: tshark reads $(tshark -r $name -T fields -e frame.time_epoch 2>/dev/null)" >>out
done
tshark --version 2>/dev/null | sed -n 1p; cat out
diff - out <<'X' || { echo changed; exit 1; }
microseconds: pcap-file reads 1700000s
nanoseconds: pcap-file reads 1700000000s
binary: pcap-file reads 1740.8s
microseconds: tshark reads 1700000000.000000000
nanoseconds: tshark reads 1700000000.000000000
binary: tshark reads 1700000000.000000000
written: tshark reads 1700000000000.000000000
X
