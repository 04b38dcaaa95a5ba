//! The bare loop's twin at the real server: a raw socket to TUN forwarder.
//!
//! One receive of up to 64 KB, one write; the inner packet is not copied, since the virtio-net
//! header overwrites the end of the outer one. It checks no sources or destinations. A packet that
//! the kernel merged on receipt (GRO) has only the pseudo-header's sum as TCP checksum, and must be
//! written as one TCP super-frame: here only for IPv4 in IPv4, since the other mixes only carry
//! datagrams.

use std::io::Read;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};
use socket2::{Domain, Socket};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use super::{OUTER, enlarge_receive_buffer, fold, raw_socket, ready, sum};

/// Writes the inner packet of everything that arrives with protocol 4 or 41 into `tun`; a thread
/// for each kind of tunnel.
pub(super) fn run(tun: &str) -> Result<()> {
    let device = DeviceBuilder::new().name(tun).mtu(1500).layer(Layer::L3).offload(true);
    let device = device.build_sync().with_context(|| format!("create {tun}"))?;
    let device = Arc::new(device);
    let open = |family, protocol| {
        let socket = raw_socket(family, protocol)?;
        enlarge_receive_buffer(&socket).map(|()| socket)
    };
    let main = open(Domain::IPV4, libc::IPPROTO_IPIP)?;
    let others = [
        (Domain::IPV4, libc::IPPROTO_IPV6),
        (Domain::IPV6, libc::IPPROTO_IPIP),
        (Domain::IPV6, libc::IPPROTO_IPV6),
    ];
    for (family, protocol) in others {
        let (socket, device) = (open(family, protocol)?, Arc::clone(&device));
        let outer = if family == Domain::IPV4 { OUTER } else { 0 };
        thread::spawn(move || unwrap_plainly(socket, outer, &device));
    }
    ready()?;
    unwrap(main, &device)
}

/// Packets without offload, behind `outer` bytes of header that the kernel delivers.
fn unwrap_plainly(mut socket: Socket, outer: usize, device: &SyncDevice) -> Result<()> {
    const NOTHING: [u8; 10] = [0; 10];
    let mut buffer = vec![0; NOTHING.len() + usize::from(u16::MAX)];
    loop {
        let length = socket.read(&mut buffer[NOTHING.len()..]).context("receive")?;
        buffer[outer..outer + NOTHING.len()].copy_from_slice(&NOTHING);
        let _ = device.send(&buffer[outer..NOTHING.len() + length]);
    }
}

fn unwrap(mut socket: Socket, device: &SyncDevice) -> Result<()> {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.read(&mut buffer).context("receive a tunnelled packet")?;
        let outer = usize::from(buffer[0] & 0x0f) * 4;
        if length < outer + OUTER {
            continue;
        }
        let header = virtio_header(&buffer[outer..length]);
        let start = outer - header.len();
        buffer[start..outer].copy_from_slice(&header);
        // A packet that the kernel refuses is lost, as on any wire.
        let _ = device.send(&buffer[start..length]);
    }
}

/// The 10 bytes (struct `virtio_net_hdr`, host byte order) that tell the kernel the remaining work
/// for `packet`.
fn virtio_header(packet: &[u8]) -> [u8; 10] {
    let mut header = [0; 10];
    let start = usize::from(packet[0] & 0x0f) * 4;
    if packet[9] != TCP || packet.len() < start + 20 || !partial_checksum(packet, start) {
        return header;
    }
    let headers = start + usize::from(packet[start + 12] >> 4) * 4;
    let segment_size = ADVERTISED_MSS + start + 20 - headers;
    header[0] = NEEDS_CHECKSUM;
    header[6..8].copy_from_slice(&short(start).to_ne_bytes());
    header[8..10].copy_from_slice(&16_u16.to_ne_bytes());
    if packet.len() > headers + segment_size {
        header[1] = GSO_TCP_V4;
        header[2..4].copy_from_slice(&short(headers).to_ne_bytes());
        header[4..6].copy_from_slice(&short(segment_size).to_ne_bytes());
    }
    header
}

/// Whether the TCP checksum is only the pseudo-header's sum.
fn partial_checksum(packet: &[u8], start: usize) -> bool {
    let length = u64::from(short(packet.len() - start));
    let pseudo = fold(sum(&packet[12..20]) + u64::from(TCP) + length);
    u16::from_be_bytes([packet[start + 16], packet[start + 17]]) == pseudo
}

fn short(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

const TCP: u8 = 6;
const NEEDS_CHECKSUM: u8 = 1;
const GSO_TCP_V4: u8 = 1;
/// What the topology's route tells clients to send at most (`advmss`).
const ADVERTISED_MSS: usize = 1440;
