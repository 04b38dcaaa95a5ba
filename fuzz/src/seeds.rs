//! Inputs that reach the far ends of the code, from which the mutations start.

use vstun::wire::checksum::Sum;
use vstun::wire::encap::{Outer, ipip};
use vstun::wire::protocol;
use vstun::wire::virtio::{self, GSO_TCPV4, GSO_UDP_L4, NEEDS_CSUM};

const CLIENT: [u8; 4] = [198, 51, 100, 7];
const VIP: [u8; 4] = [192, 0, 2, 10];

/// The seeds of every target, by its name.
pub fn all() -> [(&'static str, Vec<Vec<u8>>); 4] {
    [
        ("frames", frames()),
        ("decapsulation", decapsulation()),
        ("quotes", quotes()),
        ("configuration", configuration()),
    ]
}

fn frames() -> Vec<Vec<u8>> {
    let kind = |flags, gso_type, gso_size, csum_offset| virtio::Header {
        flags,
        gso_type,
        hdr_len: 40,
        gso_size,
        csum_start: 20,
        csum_offset,
    };
    let frame = |header: virtio::Header, packet: Vec<u8>| [&header.encode()[..], &packet].concat();
    vec![
        frame(kind(NEEDS_CSUM, GSO_TCPV4, 100, 16), tcp(0x19, 450)),
        frame(kind(NEEDS_CSUM, GSO_TCPV4, 1, 16), tcp(0x10, 40)),
        frame(kind(NEEDS_CSUM, GSO_UDP_L4, 64, 6), udp(CLIENT, VIP, 200)),
        frame(kind(NEEDS_CSUM, 0, 0, 16), tcp(0x02, 0)),
        frame(kind(0, 0, 0, 0), udp(CLIENT, VIP, 30)),
        frame(kind(0, 0, 0, 0), icmp(8, &[7; 56])),
    ]
}

fn decapsulation() -> Vec<Vec<u8>> {
    let fragment = |offset_and_flags: [u8; 2]| {
        let mut packet = udp(CLIENT, VIP, 64);
        packet[6..8].copy_from_slice(&offset_and_flags);
        packet
    };
    [tcp(0x18, 2000), tcp(0x02, 0), udp(CLIENT, VIP, 100), fragment([0x20, 0]), fragment([0, 9])]
        .iter()
        .flat_map(|inner| [tunnelled(0, inner), tunnelled(3, &partial(inner.clone()))])
        .collect()
}

fn quotes() -> Vec<Vec<u8>> {
    let quoted = udp(VIP, CLIENT, 40);
    vec![icmp(3, &quoted), icmp(11, &quoted[..28]), icmp(8, &[7; 20]), tunnelled(0, &quoted)]
}

fn configuration() -> Vec<Vec<u8>> {
    let director = r#"
[director]
tun = "vstun0"
uplinks = ["eth0"]
arp = true
source = "10.0.0.1"
announce_table = 0
control = "/run/vstun/director.sock"
max_connections = 1_000_000
[director.timeouts]
tcp_established = "15m"
[[service]]
name = "web"
listen = ["192.0.2.10:80/tcp", "192.0.2.10:5000-5099/udp", "192.0.2.11:*/tcp", "[2001:db8::10]:443/udp"]
scheduler = "wlc"
[[service.real]]
address = "10.0.0.11"
weight = 1
[[service.real]]
address = "10.0.0.12"
weight = 0
"#;
    let realserver = r#"
[realserver]
tun = "vstun0"
vips = ["192.0.2.10"]
directors = ["10.0.0.1/32"]
mss = "route"
control = "/run/vstun/realserver.sock"
"#;
    [director, realserver].map(|text| text.as_bytes().to_vec()).to_vec()
}

fn tcp(flags: u8, data_len: usize) -> Vec<u8> {
    let mut segment =
        vec![0x9c, 0x40, 0, 80, 0, 0, 0, 7, 0, 0, 0, 9, 0x50, flags, 1, 0, 0, 0, 0, 0];
    segment.resize(20 + data_len, b'x');
    ip(CLIENT, VIP, protocol::TCP, &segment)
}

fn udp(source: [u8; 4], destination: [u8; 4], data_len: usize) -> Vec<u8> {
    let [high, low] = length(8 + data_len);
    let mut datagram = vec![0x9c, 0x40, 0, 53, high, low, 0, 0];
    datagram.resize(8 + data_len, b'x');
    ip(source, destination, protocol::UDP, &datagram)
}

fn icmp(kind: u8, data: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, 0, 0, 0, 0, 1, 0, 2][..], data].concat();
    let check = Sum::of(&message).checksum();
    message[2..4].copy_from_slice(&check.to_be_bytes());
    ip([203, 0, 113, 1], VIP, protocol::ICMP, &message)
}

fn ip(source: [u8; 4], destination: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = length(20 + payload.len());
    let mut packet = vec![0x45, 0, high, low, 0, 1, 0, 0, 60, protocol, 0, 0];
    packet.extend(source);
    packet.extend(destination);
    let check = Sum::of(&packet).checksum();
    packet[10..12].copy_from_slice(&check.to_be_bytes());
    packet.extend(payload);
    packet
}

/// What GRO makes of a packet: its transport checksum holds the pseudo-header's sum.
fn partial(mut packet: Vec<u8>) -> Vec<u8> {
    let number = packet[9];
    let field = 20 + if number == protocol::TCP { 16 } else { 6 };
    let payload_len = u32::from(u16::from_be_bytes(length(packet.len() - 20)));
    let sum = Sum::pseudo_header(CLIENT.into(), VIP.into(), number, payload_len);
    packet[field..field + 2].copy_from_slice(&sum.fold().to_be_bytes());
    packet
}

fn tunnelled(traffic_class: u8, inner: &[u8]) -> Vec<u8> {
    let outer = Outer {
        source: [10, 0, 0, 1].into(),
        destination: [10, 0, 0, 11].into(),
        traffic_class,
        ttl: 64,
        dont_fragment: true,
        identification: 0,
        flow_label: 0,
    };
    let mut datagram = vec![0; 20];
    ipip::write(&outer, 4, inner.len(), &mut datagram).expect("seeds are short");
    datagram.extend(inner);
    datagram
}

fn length(length: usize) -> [u8; 2] {
    u16::try_from(length).expect("seeds are short").to_be_bytes()
}
