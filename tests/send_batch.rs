//! One packet that the kernel refuses takes none of its batch with it, and is told once: `sys::raw::Batch` on a private
//! namespace's own routes, firewall and interfaces.
#![allow(clippy::unwrap_used)]

// Shared with `host_setup`, which uses all of it.
#[allow(dead_code)]
#[path = "host_setup/net.rs"]
mod net;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use net::{alone, sh};
use vstun::sys::raw::{Batch, Datagrams, Message, Received, Receiver, Sender};

/// As the director has it.
const BATCH: usize = 64;
const HEADER: usize = 20;
const PATIENCE: Duration = Duration::from_secs(20);

const HERE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 2);

/// Packets made by hand: each has a header and a number that names it, in two buffers.
struct Packets {
    batch: Batch,
    headers: Vec<u8>,
    payloads: Vec<u8>,
    count: u32,
}

impl Packets {
    fn new() -> Self {
        Self { batch: Batch::new(BATCH), headers: Vec::new(), payloads: Vec::new(), count: 0 }
    }

    /// Queues a packet of that many bytes without its header; gives its number.
    fn push(&mut self, destination: Ipv4Addr, len: usize) -> u32 {
        let (number, header, payload) = (self.count, self.headers.len(), self.payloads.len());
        self.count += 1;
        // RFC 791: version and length, DF, a TTL, protocol 4. The kernel fills in total length, source and checksum.
        self.headers.extend([0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 4, 0, 0, 0, 0, 0, 0]);
        self.headers.extend(destination.octets());
        self.payloads.extend(number.to_be_bytes());
        self.payloads.resize(payload + len, 0);
        let (header, payload) = (header..self.headers.len(), payload..self.payloads.len());
        let destination = destination.into();
        self.batch.push(Message { destination, header, payload });
        number
    }

    /// Sends the queue; gives each failure that was told: the packet's number and its errno.
    fn flush(&mut self, sender: &Sender) -> Vec<(u32, i32)> {
        let mut told = Vec::new();
        self.batch.flush(sender, &self.headers, &self.payloads, |message, error| {
            let number = u32::try_from(message.header.start / HEADER).unwrap();
            told.push((number, error.raw_os_error().unwrap()));
        });
        assert!(self.batch.is_empty());
        told
    }
}

/// The socket for IPv4 packets in IPv4.
fn receiver() -> Receiver {
    Receiver::open_each().unwrap().into_iter().next().unwrap()
}

/// The numbers of the next packets received, in their order.
fn received(receiver: &Receiver, wanted: usize) -> Vec<u32> {
    let (start, mut numbers) = (Instant::now(), Vec::new());
    let mut datagrams = Datagrams::new(BATCH);
    while numbers.len() < wanted {
        assert!(start.elapsed() < PATIENCE, "{} of {wanted} packets: {numbers:?}", numbers.len());
        if datagrams.receive(receiver).is_ok() {
            let number = |packet: Received<'_>| match packet {
                Received::V4(packet) => *packet[HEADER..].first_chunk().unwrap(),
                Received::V6 { .. } => panic!("{packet:?}"),
            };
            numbers.extend(datagrams.iter_mut().map(number).map(u32::from_be_bytes));
        }
        std::thread::yield_now();
    }
    numbers
}

#[test]
fn a_refused_packet_is_told_once_and_the_rest_arrives() {
    alone("a_refused_packet_is_told_once_and_the_rest_arrives", || {
        sh("ip link set lo mtu 1500; ip addr add 10.9.0.1/24 dev lo
            ip route add unreachable 10.9.1.2; ip route add prohibit 10.9.1.3
            nft 'add table inet firewall
                 add chain inet firewall output { type filter hook output priority 0; }
                 add rule inet firewall output ip daddr 10.9.0.4 drop'");
        let at = |last| Ipv4Addr::new(10, 9, 1, last);
        let refused = [
            (at(1), 100, libc::ENETUNREACH),
            (at(2), 100, libc::EHOSTUNREACH),
            (at(3), 100, libc::EACCES),
            (Ipv4Addr::new(10, 9, 0, 4), 100, libc::EPERM),
            (HERE, 1500 - HEADER + 1, libc::EMSGSIZE),
        ];
        let (sender, receiver) = (Sender::open().unwrap(), receiver());
        let mut packets = Packets::new();
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        // Good ones before, between and after; at the end two failures in a row, the last of them the queue's last.
        while packets.batch.len() < BATCH - 2 {
            let (destination, len, errno) = refused[bad.len() % refused.len()];
            good.push(packets.push(HERE, 1500 - HEADER));
            bad.push((packets.push(destination, len), errno));
        }
        for (destination, len, errno) in &refused[..2] {
            bad.push((packets.push(*destination, *len), *errno));
        }
        assert!(packets.batch.is_full());

        assert_eq!(packets.flush(&sender), bad);
        assert_eq!(received(&receiver, good.len()), good);
        let last = packets.push(HERE, 100);
        assert_eq!(packets.flush(&sender), [], "nothing of the batch before is left");
        assert_eq!(received(&receiver, 1), [last], "and none came twice");
    });
}

#[test]
fn a_full_send_buffer_is_told_for_each_packet() {
    alone("a_full_send_buffer_is_told_for_each_packet", || {
        // Packets wait, at the expense of the sending socket, for a hardware address that nobody tells.
        sh("ip link add v0 mtu 65535 type veth peer name v1 mtu 65535
            for n in v0 v1; do sysctl -qw net.ipv6.conf.$n.disable_ipv6=1; done
            sysctl -qw net.ipv4.neigh.v0.unres_qlen_bytes=1000000000 net.ipv4.neigh.v0.retrans_time_ms=1000000
            ip addr add 10.8.0.1/24 dev v0; ip link set v0 up; ip link set v1 up
            ip addr add 10.9.0.1/24 dev lo");
        let len = 60_000;
        let sender = Sender::open().unwrap();
        let (mut kept, mut told) = (0, Vec::new());
        // As many as the buffer holds without any of the kernel's own bytes, and so too many.
        for _ in 0..=sender.buffer().unwrap() / len / BATCH {
            let mut packets = Packets::new();
            for _ in 0..BATCH {
                packets.push(ELSEWHERE, len);
            }
            let failures = packets.flush(&sender);
            let numbers: BTreeSet<u32> = failures.iter().map(|(number, _)| *number).collect();
            assert_eq!(numbers.len(), failures.len(), "each is told once");
            kept += BATCH - failures.len();
            told.extend(failures);
        }
        assert!(kept > 0 && !told.is_empty(), "{kept} kept, {} told", told.len());
        assert!(told.iter().all(|(_, errno)| *errno == libc::EAGAIN), "{told:?}");

        // What was not told to have failed does leave; ARP's few bytes beside it are no packet's.
        sh("ip neigh replace 10.8.0.2 lladdr 02:00:00:00:00:02 dev v0");
        let bytes = sh("ip -s -j link show v0 | jq '.[0].stats64.tx.bytes'");
        let bytes: usize = bytes.trim().parse().unwrap();
        assert_eq!(bytes / (14 + HEADER + len), kept);
        let receiver = receiver();
        let mut packets = Packets::new();
        let last = packets.push(HERE, 100);
        assert_eq!(packets.flush(&sender), [], "the buffer is free again");
        assert_eq!(received(&receiver, 1), [last]);
    });
}
