//! A packet that the kernel refuses does not affect the rest of its batch, and is reported once:
//! `sys::raw::Batch` with a private namespace's own routes, firewall and interfaces.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use super::net::{alone, sh, wait_for_addresses};
use vstun::sys::raw::{
    BatchMessage, HEADROOM, Inside, ReceiveBuffers, Received, Receiver, SendBatch, Sender,
};

/// As in the director.
const BATCH: usize = 64;
const PATIENCE: Duration = Duration::from_secs(60);

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1));
const HERE_V6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 1);
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 8, 0, 2));

/// Hand-made packets: each has a header and a unique number, in two buffers.
struct Packets {
    batch: SendBatch,
    headers: Vec<u8>,
    payloads: Vec<u8>,
    /// The offset of each packet's header.
    starts: Vec<usize>,
}

/// Length of an IP header towards that address.
fn header_len(destination: IpAddr) -> usize {
    if destination.is_ipv4() { 20 } else { 40 }
}

impl Packets {
    fn new() -> Self {
        let (headers, payloads, starts) = (Vec::new(), Vec::new(), Vec::new());
        Self { batch: SendBatch::new(BATCH), headers, payloads, starts }
    }

    /// Queues a packet with this payload length; returns its number.
    fn push(&mut self, destination: IpAddr, len: usize) -> u32 {
        self.push_with(destination, len, true)
    }

    fn push_with(&mut self, destination: IpAddr, len: usize, dont_fragment: bool) -> u32 {
        let (header, payload) = (self.headers.len(), self.payloads.len());
        let number = u32::try_from(self.starts.len()).unwrap();
        self.starts.push(header);
        match destination {
            IpAddr::V4(destination) => {
                // RFC 791: version and length, DF, a TTL, protocol 4. The kernel fills in total
                // length, source and checksum.
                let flags = if dont_fragment { 0x40 } else { 0 };
                self.headers.extend([0x45, 0, 0, 0, 0, 1, flags, 0, 64, 4, 0, 0, 0, 0, 0, 0]);
                self.headers.extend(destination.octets());
            }
            IpAddr::V6(destination) => {
                // RFC 8200: the kernel fills in no field.
                let [high, low] = u16::try_from(len).unwrap().to_be_bytes();
                self.headers.extend([0x60, 0, 0, 0, high, low, 4, 64]);
                self.headers.extend(HERE_V6.octets());
                self.headers.extend(destination.octets());
            }
        }
        self.payloads.extend(number.to_be_bytes());
        self.payloads.resize(payload + len, 0);
        let (header, payload) = (header..self.headers.len(), payload..self.payloads.len());
        self.batch.push(BatchMessage { destination, header, payload, fragment_of: 0 });
        number
    }

    /// Sends the queue; returns each reported failure: the packet's number and its errno.
    fn flush(&mut self, sender: &Sender) -> Vec<(u32, i32)> {
        let mut refused = Vec::new();
        self.batch.flush(sender, &self.headers, &self.payloads, |message, error| {
            let number = self.starts.binary_search(&message.header.start).unwrap();
            refused.push((u32::try_from(number).unwrap(), error.raw_os_error().unwrap()));
        });
        assert!(self.batch.is_empty());
        refused
    }
}

/// The sockets for IPv4 packets, in IPv4 and in IPv6.
fn receivers() -> Vec<Receiver> {
    let mut receivers = Receiver::open_each().unwrap();
    receivers.retain(|receiver| receiver.inside() == Inside::Ipv4);
    assert_eq!(receivers.len(), 2, "one of each family");
    receivers
}

/// The numbers of the next received packets, in order within each family, IPv4 first; and their
/// lengths.
fn received(receivers: &[Receiver], wanted: usize) -> Vec<(u32, usize)> {
    let start = Instant::now();
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    let mut datagrams = ReceiveBuffers::new(BATCH);
    while v4.len() + v6.len() < wanted {
        assert!(start.elapsed() < PATIENCE, "of {wanted} packets: {v4:?} {v6:?}");
        for receiver in receivers {
            if datagrams.receive(receiver, usize::MAX).is_err() {
                continue;
            }
            for datagram in datagrams.iter_mut() {
                let (payload, numbers) = match datagram {
                    Received::Whole(packet) => (&packet[20..], &mut v4),
                    Received::Payload { source, bytes, .. } => {
                        assert_eq!(source, IpAddr::from(HERE_V6));
                        (&bytes[HEADROOM..], &mut v6)
                    }
                };
                let number = u32::from_be_bytes(*payload.first_chunk().unwrap());
                numbers.push((number, payload.len()));
            }
        }
        std::thread::yield_now();
    }
    [v4, v6].concat()
}

/// A refused packet: destination, payload length, and errno.
type Refused = (IpAddr, usize, i32);

/// The packets that cannot be sent, by family.
fn refused() -> [Vec<Refused>; 2] {
    let v4 = |third, last| IpAddr::from([10, 9, third, last]);
    let v6 = |third, last| IpAddr::from([0xfd09, 0, 0, third, 0, 0, 0, last]);
    [
        vec![
            (v4(1, 1), 100, libc::ENETUNREACH),
            (v4(1, 2), 100, libc::EHOSTUNREACH),
            (v4(1, 3), 100, libc::EACCES),
            (v4(0, 4), 100, libc::EPERM),
            (HERE, 1500 - 20 + 1, libc::EMSGSIZE),
        ],
        vec![
            (v6(1, 1), 100, libc::ENETUNREACH),
            (v6(1, 2), 100, libc::EHOSTUNREACH),
            (v6(1, 3), 100, libc::EACCES),
            (v6(0, 4), 100, libc::EPERM),
            (HERE_V6.into(), 1500 - 40 + 1, libc::EMSGSIZE),
        ],
    ]
}

fn network() {
    sh("ip link set lo mtu 1500; ip addr add 10.9.0.1/24 dev lo
        ip addr add fd09::1/64 dev lo nodad; ip route add local fd09::/64 dev lo
        ip route add unreachable 10.9.1.2; ip route add prohibit 10.9.1.3
        ip route add unreachable fd09:0:0:1::2; ip route add prohibit fd09:0:0:1::3
        nft 'add table inet firewall
             add chain inet firewall output { type filter hook output priority 0; }
             add rule inet firewall output ip daddr 10.9.0.4 drop
             add rule inet firewall output ip6 daddr fd09::4 drop'");
}

/// Fills the queue with good packets and refused ones between them, and sends it.
fn send_refused_among_good(targets: &[(IpAddr, Vec<Refused>)]) {
    let (sender, receivers) = (Sender::open().unwrap(), receivers());
    let mut packets = Packets::new();
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    let mut turn = targets.iter().cycle();
    let mut count = 0;
    // Good ones before, between and after; at the end two failures in a row, the last of them at
    // the end of the queue.
    while packets.batch.len() < BATCH - 2 {
        let (here, refused) = turn.next().unwrap();
        let (destination, len, errno) = refused[count / targets.len() % refused.len()];
        count += 1;
        let longest = 1500 - header_len(*here);
        good.push((here.is_ipv6(), packets.push(*here, longest), longest));
        bad.push((destination.is_ipv6(), packets.push(destination, len), errno));
    }
    for &(destination, len, errno) in &targets.last().unwrap().1[..2] {
        bad.push((destination.is_ipv6(), packets.push(destination, len), errno));
    }
    assert!(packets.batch.is_full());
    // Each family is sent in one call, IPv4 first.
    good.sort_by_key(|(v6, ..)| *v6);
    bad.sort_by_key(|(v6, ..)| *v6);

    let refused: Vec<_> = bad.iter().map(|&(_, number, errno)| (number, errno)).collect();
    assert_eq!(packets.flush(&sender), refused);
    let arrived: Vec<_> = good.iter().map(|&(_, number, len)| (number, len)).collect();
    assert_eq!(received(&receivers, good.len()), arrived);
    for (here, _) in targets {
        let last = packets.push(*here, 100);
        assert_eq!(packets.flush(&sender), [], "nothing of the batch before is left");
        assert_eq!(received(&receivers, 1), [(last, 100)], "and none came twice");
    }
}

#[test]
fn a_refused_packet_is_reported_once_and_the_rest_arrives() {
    alone("send_batch::a_refused_packet_is_reported_once_and_the_rest_arrives", || {
        network();
        let [v4, v6] = refused();
        send_refused_among_good(&[(HERE, v4.clone())]);
        send_refused_among_good(&[(HERE_V6.into(), v6.clone())]);
        send_refused_among_good(&[(HERE, v4), (HERE_V6.into(), v6)]);
    });
}

/// A path MTU in the kernel, which a forged ICMP error may have lowered, does not limit packets:
/// the balancer has its own path MTUs. Only the interface's MTU limits them, with and without DF.
#[test]
fn only_the_interface_s_mtu_refuses_packets() {
    alone("send_batch::only_the_interface_s_mtu_refuses_packets", || {
        network();
        sh("ip route change local 10.9.0.1 dev lo table local mtu 600");
        let (sender, receivers) = (Sender::open().unwrap(), receivers());
        let mut packets = Packets::new();
        let refused = [true, false].map(|df| (packets.push_with(HERE, 1_481, df), libc::EMSGSIZE));
        let sent = [true, false].map(|df| (packets.push_with(HERE, 1_480, df), 1_480));
        assert_eq!(packets.flush(&sender), refused);
        assert_eq!(received(&receivers, 2), sent);
    });
}

#[test]
fn a_full_send_buffer_is_reported_for_each_packet() {
    alone("send_batch::a_full_send_buffer_is_reported_for_each_packet", || {
        // Packets are queued, and count for the sending socket, until a hardware address is
        // resolved; no host answers for this one.
        sh("ip link add v0 mtu 65535 type veth peer name v1 mtu 65535
            for n in v0 v1; do sysctl -qw net.ipv6.conf.$n.disable_ipv6=1; done
            sysctl -qw net.ipv4.neigh.v0.unres_qlen_bytes=1000000000 \
            net.ipv4.neigh.v0.retrans_time_ms=1000000
            ip addr add 10.8.0.1/24 dev v0; ip link set v0 up; ip link set v1 up
            ip addr add 10.9.0.1/24 dev lo");
        let len = 60_000;
        let sender = Sender::open().unwrap();
        let (mut kept, mut refused) = (0, Vec::new());
        // As many as would fill the buffer without the kernel's overhead, and so too many.
        for _ in 0..=sender.buffer().unwrap() / len / BATCH {
            let mut packets = Packets::new();
            for _ in 0..BATCH {
                packets.push(ELSEWHERE, len);
            }
            let failures = packets.flush(&sender);
            let numbers: BTreeSet<u32> = failures.iter().map(|(number, _)| *number).collect();
            assert_eq!(numbers.len(), failures.len(), "each is reported once");
            kept += BATCH - failures.len();
            refused.extend(failures);
        }
        assert!(kept > 0 && !refused.is_empty(), "{kept} kept, {} refused", refused.len());
        assert!(refused.iter().all(|(_, errno)| *errno == libc::EAGAIN), "{refused:?}");

        // Packets that were not reported as failed are sent; the few bytes of ARP do not count.
        sh("ip neigh replace 10.8.0.2 lladdr 02:00:00:00:00:02 dev v0");
        let bytes = sh("ip -s -j link show v0 | jq '.[0].stats64.tx.bytes'");
        let bytes: usize = bytes.trim().parse().unwrap();
        assert_eq!(bytes / (14 + header_len(ELSEWHERE) + len), kept);
        let receivers = receivers();
        let mut packets = Packets::new();
        let last = packets.push(HERE, 100);
        assert_eq!(packets.flush(&sender), [], "the buffer is free again");
        assert_eq!(received(&receivers, 1), [(last, 100)]);
    });
}

/// Sends one IPv6 packet without data from `source`; returns the kernel's errno.
fn send_v6(sender: &Sender, source: Ipv6Addr, destination: Ipv6Addr) -> Option<i32> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, 41, 64];
    packet.extend(source.octets());
    packet.extend(destination.octets());
    let (mut batch, mut errno) = (SendBatch::new(1), None);
    let payload = 0..packet.len();
    batch.push(BatchMessage {
        destination: destination.into(),
        header: 0..0,
        payload,
        fragment_of: 0,
    });
    batch.flush(sender, &[], &packet, |_, error| errno = error.raw_os_error());
    errno
}

#[test]
fn a_bound_source_finds_the_route_and_leaves_the_header_unchanged() {
    alone("send_batch::a_bound_source_finds_the_route_and_leaves_the_header_unchanged", || {
        sh("ip addr add 2001:db8::1/128 dev lo nodad; ip addr add 2001:db8::2/128 dev lo nodad");
        wait_for_addresses(&["2001:db8::1", "2001:db8::2"]);
        sh("ip -6 rule add from 2001:db8::1 prohibit priority 1
            ip -6 rule add lookup local priority 2; ip -6 rule del priority 0");
        let at = |last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last);
        let sender = Sender::open().unwrap();
        let [_, _, _, receiver, _, _]: [Receiver; 6] =
            Receiver::open_each().unwrap().try_into().expect("both families");
        let mut datagrams = ReceiveBuffers::new(BATCH);
        let mut arrived = |from| {
            let start = Instant::now();
            while datagrams.receive(&receiver, usize::MAX).is_err() {
                assert!(start.elapsed() < PATIENCE, "nothing from {from}");
                std::thread::yield_now();
            }
            let from = IpAddr::from(from);
            datagrams
                .iter_mut()
                .all(|packet| matches!(packet, Received::Payload { source, .. } if source == from))
        };
        assert_eq!(send_v6(&sender, at(1), at(2)), None, "no error");
        assert!(arrived(at(1)));
        sender.set_source_v6(Some(at(1)));
        assert_eq!(send_v6(&sender, at(2), at(2)), Some(libc::EACCES), "routed as from ::1");
        sender.set_source_v6(Some(at(2)));
        assert_eq!(send_v6(&sender, at(1), at(2)), None, "routed as from ::2");
        assert!(arrived(at(1)), "but the header keeps it");
        sender.set_source_v6(Some(at(1)));
        sender.set_source_v6(Some(at(3)));
        assert_eq!(send_v6(&sender, at(1), at(2)), None, "no such address, so none is reported");
        assert!(arrived(at(1)));
    });
}
