//! The bare loop in GUE: TUN with offload, `UDP_SEGMENT`, no tables, no logic.
//!
//! The cost of a program with the director's calls before it decides anything. A flow has one of as
//! many source ports as the director has by default. All packets that are there and have one source
//! port go in one send as long as they fit, those that are shorter with zeros behind them, to one
//! real server.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use vstun::sys::raw::segmented::{Headers, MAX_SEGMENTS, SegmentedSender};
use vstun::sys::tun::{MAX_FRAME_LEN, Tun, VIRTIO_HEADER_LEN};
use vstun::wire::Packet;
use vstun::wire::encap::gue;
use vstun::wire::encap::joins::MAX_BYTES;
use vstun::wire::segment::{self, MAX_HEADER_LEN, SplitPlan};
use vstun::wire::virtio::{self, Offload};

use super::ready;

/// Sends every packet that arrives at `tun` to the real server `to`, from the tunnel address
/// `from`. Its source ports begin at `first_port`; none of the director's own is among them.
pub(super) fn run(first_port: u16, tun: &str, from: Ipv4Addr, to: Ipv4Addr) -> Result<()> {
    let device = Tun::create(tun, MTU, true).with_context(|| format!("create {tun}"))?;
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(4);
    let mut source = SourceFd(&device.as_raw_fd());
    poll.registry().register(&mut source, Token(0), Interest::READABLE)?;
    let mut sends = Vec::new();
    for port in first_port..first_port + SOURCE_PORTS {
        sends.push(Send {
            socket: SegmentedSender::open(false, port, 64)?,
            headers: Headers {
                source: from.into(),
                destination: SocketAddr::new(to.into(), gue::PORT),
                traffic_class: 0,
                flow_label: 0,
            },
            bytes: Vec::with_capacity(MAX_BYTES),
            ends: Vec::with_capacity(MAX_SEGMENTS),
            size: 0,
        });
    }
    let mut frame = vec![0; MAX_FRAME_LEN];
    ready()?;
    loop {
        while let Ok(length) = device.read(&mut frame) {
            let place = source_port(&frame[VIRTIO_HEADER_LEN..length]);
            add(&mut sends[place], &mut frame[..length]);
        }
        sends.iter_mut().for_each(Send::flush);
        poll.poll(&mut events, None)?;
    }
}

/// Which source port the flow of this IPv4 packet without options has.
fn source_port(packet: &[u8]) -> usize {
    const IPPROTO_TCP: u8 = 6;
    let (Some(&protocol), Some(&port)) = (packet.get(9), packet.get(21)) else { return 0 };
    let ports = if protocol == IPPROTO_TCP { SOURCE_PORTS } else { SMALL_PACKETS_PORTS };
    usize::from(port) % usize::from(ports)
}

fn add(send: &mut Send, frame: &mut [u8]) {
    match virtio::split_frame(frame) {
        Ok((Offload::Checksum { start, offset }, _)) => {
            let packet = &mut frame[VIRTIO_HEADER_LEN..];
            let _ = segment::complete_checksum(packet, start, offset);
        }
        Ok((offload @ Offload::Tcp { .. }, _)) => {
            return split(send, &frame[VIRTIO_HEADER_LEN..], offload);
        }
        _ => {}
    }
    send.push([&frame[VIRTIO_HEADER_LEN..], &[]]);
}

fn split(send: &mut Send, packet: &[u8], offload: Offload) {
    let plan = Packet::parse(packet).ok();
    let plan = plan.and_then(|packet| SplitPlan::new(&packet, offload).ok());
    let Some(plan) = plan else { return };
    let mut header = [0; MAX_HEADER_LEN];
    for index in 0..plan.count() {
        let Some(payload) = plan.write(index, packet, &mut header) else { return };
        send.push([&header[..plan.header_len()], &packet[payload]]);
    }
}

/// Packets that leave together.
struct Send {
    socket: SegmentedSender,
    headers: Headers,
    bytes: Vec<u8>,
    /// Where each datagram's bytes end.
    ends: Vec<usize>,
    /// Bytes of the longest datagram.
    size: usize,
}

impl Send {
    fn push(&mut self, parts: [&[u8]; 2]) {
        let len = gue::HEADER_LEN + parts[0].len() + parts[1].len();
        let size = self.size.max(len);
        if self.ends.len() == MAX_SEGMENTS || size * (self.ends.len() + 1) > MAX_BYTES {
            self.flush();
        }
        self.bytes.extend_from_slice(&IPV4_INSIDE);
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.ends.push(self.bytes.len());
        self.size = self.size.max(len);
    }

    fn flush(&mut self) {
        if !self.ends.is_empty() {
            // What cannot be sent is lost, as on any wire.
            let _ = self.socket.send(&self.headers, &self.bytes, &self.ends, self.size);
        }
        self.bytes.clear();
        self.ends.clear();
        self.size = 0;
    }
}

/// GUE's header before an IPv4 packet.
const IPV4_INSIDE: [u8; gue::HEADER_LEN] = [0, 4, 0, 0];
/// A wire's 1,500 bytes less the outer headers.
const MTU: u16 = 1_468;
/// As many as the director has by default; flows other than TCP have one of the first four.
const SOURCE_PORTS: u16 = 16;
const SMALL_PACKETS_PORTS: u16 = 4;
