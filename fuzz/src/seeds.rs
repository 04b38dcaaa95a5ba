//! Inputs that reach deep into the code, from which the mutations start.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vstun::control::{TraceBegins, TracedDecision, to_hex};
use vstun::model::Seed;
use vstun::trace::pcapng::Writer;
use vstun::wire::checksum::Sum;
use vstun::wire::encap::{Encap, Outer, ipip};
use vstun::wire::virtio::{self, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM};
use vstun::wire::{Packet, protocol};

/// The two ends of a flow, and a router between them.
#[derive(Clone, Copy)]
struct Ends {
    client: IpAddr,
    vip: IpAddr,
    router: IpAddr,
    director: IpAddr,
    real: IpAddr,
}

const V4: Ends = Ends {
    client: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)),
    vip: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)),
    router: IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)),
    director: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
    real: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 11)),
};

const V6: Ends = Ends {
    client: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 7)),
    vip: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10)),
    router: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 1)),
    director: IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
    real: IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 11)),
};

const FAMILIES: [Ends; 2] = [V4, V6];

/// IPv6 extension headers without the byte that names the next one: their number, and the rest.
type Chain<'a> = &'a [(u8, &'a [u8])];

const OPTIONS: Chain<'_> =
    &[(0, &[0, 5, 2, 0, 0, 1, 0]), (60, &[1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])];
const ROUTE: Chain<'_> = &[(43, &[0, 2, 0, 0, 0, 0, 0])];
const ATOMIC: Chain<'_> = &[(44, &[0, 0, 0, 0, 0, 0, 9])];
const FIRST: Chain<'_> = &[(60, &[0, 1, 4, 0, 0, 0, 0]), (44, &[0, 0, 1, 0, 0, 0, 9])];
const LATER: Chain<'_> = &[(44, &[0, 0, 72, 0, 0, 0, 9])];

/// The seeds of every target, by its name.
pub fn all() -> [(&'static str, Vec<Vec<u8>>); 8] {
    [
        ("frames", frames()),
        ("fragments", fragments()),
        ("decapsulation", decapsulation()),
        ("merged_gue", merged_gue()),
        ("coalescing", coalescing()),
        ("quotes", quotes()),
        ("configuration", configuration()),
        ("recordings", recordings()),
    ]
}

/// The packets of the frames, recorded as new connections and as known ones.
fn recordings() -> Vec<Vec<u8>> {
    let record = |before: Option<&str>| {
        let begins = TraceBegins::default().with_seeds((Seed(1, 2), Seed(3, 4)));
        let mut writer = Writer::new(&begins).expect("a file");
        for (number, frame) in (0..).zip(frames()) {
            let Ok((_, packet)) = virtio::split_frame(&frame) else { continue };
            let kept = packet.get(..64).unwrap_or(packet);
            let decision = TracedDecision {
                time: "2026-11-28T12:00:00Z".to_owned(),
                milliseconds: number * 700,
                bytes: packet.len() as u64,
                verdict: "tunnel".to_owned(),
                service: Some("web".to_owned()),
                address: "10.0.0.12".parse().ok(),
                scheduler: before.is_none().then(|| "rr".to_owned()),
                before: before.map(str::to_owned),
                after: Some("ESTABLISHED".to_owned()),
                packet: Some(to_hex(kept)),
                ..TracedDecision::default()
            };
            writer.add(&decision).expect("a decision");
        }
        writer.take()
    };
    vec![record(None), record(Some("ESTABLISHED"))]
}

/// Datagrams of three fragments in other orders, with an overlap, with pauses, and in too many
/// fragments.
fn fragments() -> Vec<Vec<u8>> {
    let step = |kind: u8, start: u16, len: u16, more: u8| {
        let ([a, b], [c, d]) = (start.to_be_bytes(), len.to_be_bytes());
        [kind, 5, a, b, c, d, more, 0]
    };
    let of = |kind: u8| {
        let (first, middle, last) =
            (step(kind, 0, 1_400, 1), step(kind, 1_400, 1_400, 1), step(kind, 2_800, 77, 0));
        let overlap = step(kind, 1_392, 16, 1);
        let (pause, long) = (step(0xf0, 0, 20_000, 0), step(0xf0, 0, 30_000, 0));
        let tiny = (0..130).map(|place| step(kind, place * 24, 24, 1)).rev();
        [
            [first, middle, last].concat(),
            [last, middle, first].concat(),
            [middle, first, pause, last, first].concat(),
            [middle, overlap, last, first, long, last, first].concat(),
            [last, first, first, middle, pause].concat(),
            tiny.collect::<Vec<_>>().concat(),
        ]
    };
    (0..4).flat_map(of).collect()
}

fn frames() -> Vec<Vec<u8>> {
    FAMILIES.into_iter().flat_map(frames_of).chain(dressed_frames()).collect()
}

fn kind(flags: u8, gso_type: u8, gso_size: u16, start: u16, csum_offset: u16) -> [u8; 10] {
    virtio::Header { flags, gso_type, hdr_len: 40, gso_size, csum_start: start, csum_offset }
        .encode()
}

fn frames_of(ends: Ends) -> Vec<Vec<u8>> {
    let (start, gso) = if ends.vip.is_ipv4() { (20, GSO_TCPV4) } else { (40, GSO_TCPV6) };
    let echo = if ends.vip.is_ipv4() { 8 } else { 128 };
    vec![
        [&kind(NEEDS_CSUM, gso, 100, start, 16)[..], &tcp(ends, &[], 0x19, 450)].concat(),
        [&kind(NEEDS_CSUM, gso, 1, start, 16)[..], &tcp(ends, &[], 0x10, 40)].concat(),
        [&kind(NEEDS_CSUM, GSO_UDP_L4, 64, start, 6)[..], &udp(ends.client, ends.vip, &[], 200)]
            .concat(),
        [&kind(NEEDS_CSUM, 0, 0, start, 16)[..], &tcp(ends, &[], 0x02, 0)].concat(),
        [&kind(0, 0, 0, 0, 0)[..], &udp(ends.client, ends.vip, &[], 30)].concat(),
        [&kind(0, 0, 0, 0, 0)[..], &icmp(ends, echo, &[7; 56])].concat(),
    ]
}

/// With extension headers.
fn dressed_frames() -> Vec<Vec<u8>> {
    let udp = |chain| udp(V6.client, V6.vip, chain, 200);
    vec![
        [&kind(NEEDS_CSUM, GSO_TCPV6, 100, 64, 16)[..], &tcp(V6, OPTIONS, 0x18, 450)].concat(),
        [&kind(NEEDS_CSUM, GSO_UDP_L4, 64, 64, 6)[..], &udp(OPTIONS)].concat(),
        [&kind(0, 0, 0, 0, 0)[..], &udp(ROUTE)].concat(),
        [&kind(0, 0, 0, 0, 0)[..], &udp(ATOMIC)].concat(),
        [&kind(0, 0, 0, 0, 0)[..], &udp(FIRST)].concat(),
        [&kind(0, 0, 0, 0, 0)[..], &udp(LATER)].concat(),
    ]
}

/// Whole datagrams, and those without their outer header: see the target.
fn decapsulation() -> Vec<Vec<u8>> {
    let fragment = |offset_and_flags: [u8; 2]| {
        let mut packet = udp(V4.client, V4.vip, &[], 64);
        packet[6..8].copy_from_slice(&offset_and_flags);
        packet
    };
    let mut inners = vec![fragment([0x20, 0]), fragment([0, 9])];
    for ends in FAMILIES {
        inners.extend([tcp(ends, &[], 0x18, 2000), tcp(ends, &[], 0x02, 0)]);
        inners.push(udp(ends.client, ends.vip, &[], 100));
    }
    inners.extend([tcp(V6, OPTIONS, 0x18, 2000), tcp(V6, ATOMIC, 0x18, 9)]);
    inners.extend([FIRST, LATER].map(|chain| udp(V6.client, V6.vip, chain, 64)));
    let datagrams = |inner: &Vec<u8>| {
        let merged = partial(inner.clone());
        let version = if inner[0] >> 4 == 4 { 0 } else { 1 };
        vec![
            tunnelled(V4, 0, inner),
            tunnelled(V6, 3, &merged),
            [&[0, version][..], inner].concat(),
            [&[3, version][..], &merged].concat(),
        ]
    };
    inners.iter().flat_map(datagrams).collect()
}

/// Segments of one stream in each variant, of two streams in turn, padded datagrams, and bad ones.
fn merged_gue() -> Vec<Vec<u8>> {
    let variant_0 = |packet: Vec<u8>| {
        let protocol = if packet[0] >> 4 == 4 { 4 } else { 41 };
        [&[0, protocol, 0, 0][..], &packet].concat()
    };
    let merged = |datagrams: Vec<Vec<u8>>| {
        let piece = datagrams.iter().map(Vec::len).max().unwrap_or_default();
        let mut bytes = [&[0][..], &length(piece)].concat();
        for mut datagram in datagrams {
            datagram.resize(piece, 0);
            bytes.extend(datagram);
        }
        bytes
    };
    let stream = |ends: Ends| (0..4).map(move |index| segment(ends, index));
    let mut all: Vec<_> =
        FAMILIES.iter().map(|ends| merged(stream(*ends).map(variant_0).collect())).collect();
    all.extend(FAMILIES.map(|ends| merged(stream(ends).collect())));
    all.push(merged(stream(V4).zip(stream(V6)).flat_map(|(v4, v6)| [v4, v6]).collect()));
    let padded = [udp(V4.client, V4.vip, &[], 40), udp(V4.client, V4.vip, &[], 9)];
    all.push(merged(padded.map(variant_0).to_vec()));
    all.push(merged(vec![partial(tcp(V6, &[], 0x02, 0)), variant_0(tcp(V4, &[], 0x18, 90))]));
    let bad = [[0x20, 4, 0, 0], [1, 4, 0, 0], [0, 17, 0, 0], [0, 41, 0, 0], [0, 4, 0, 1]];
    let bad = bad.iter().map(|header| [&header[..], &segment(V4, 0)].concat());
    all.push(merged(bad.collect()));
    all
}

/// Batches that are merged, of one flow and of two alternating flows.
fn coalescing() -> Vec<Vec<u8>> {
    let batched = |packet: &Vec<u8>| [&length(packet.len())[..], &[0], packet].concat();
    let stream = |ends: Ends| -> Vec<Vec<u8>> {
        (0..4_u8).map(|index| batched(&segment(ends, index))).collect()
    };
    let datagram = batched(&udp(V4.client, V4.vip, &[], 40));
    let in_turn = stream(V4).into_iter().zip(stream(V6)).map(|(v4, v6)| [v4, v6].concat());
    vec![
        stream(V4).concat(),
        stream(V6).concat(),
        in_turn.collect::<Vec<_>>().concat(),
        [stream(V4).concat(), datagram, stream(V6).concat()].concat(),
    ]
}

/// A segment of 60 bytes of a stream, with right checksums.
fn segment(ends: Ends, index: u8) -> Vec<u8> {
    let mut packet = tcp(ends, &[], 0x10, 60);
    let at = if ends.vip.is_ipv4() { 20 } else { 40 };
    if ends.vip.is_ipv4() {
        packet[5] = index;
        packet[10..12].fill(0);
        let check = Sum::of(&packet[..20]).checksum();
        packet[10..12].copy_from_slice(&check.to_be_bytes());
    }
    packet[at + 7] = index * 60;
    let sum = Sum::pseudo_header(ends.client, ends.vip, protocol::TCP, 80);
    let check = sum.add_bytes(&packet[at..]).checksum();
    packet[at + 16..at + 18].copy_from_slice(&check.to_be_bytes());
    packet
}

fn quotes() -> Vec<Vec<u8>> {
    let of = |ends: Ends| {
        let quoted = udp(ends.vip, ends.client, &[], 40);
        let (unreachable, exceeded, echo) =
            if ends.vip.is_ipv4() { (3, 11, 8) } else { (1, 3, 128) };
        let shortest = quoted.len() - 40;
        vec![
            icmp(ends, unreachable, &quoted),
            icmp(ends, exceeded, &quoted[..shortest]),
            icmp(ends, echo, &[7; 20]),
            tunnelled(ends, 0, &quoted),
        ]
    };
    let chains = [OPTIONS, ROUTE, ATOMIC, FIRST, LATER];
    let dressed = chains.map(|chain| icmp(V6, 2, &udp(V6.vip, V6.client, chain, 40)));
    FAMILIES.into_iter().flat_map(of).chain(dressed).collect()
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
listen = [
  "192.0.2.10:80/tcp", "192.0.2.10:5000-5099/udp", "192.0.2.11:*/tcp", "[2001:db8::10]:443/udp",
]
scheduler = "wlc"
[[service.real]]
address = "10.0.0.11"
weight = 1
[[service.real]]
address = "10.0.0.12"
weight = 0
[[service.real]]
address = "fd00::11"
"#;
    let dual = r#"
[director]
source = ["10.0.0.1", "fd00::1"]
[[service]]
name = "web"
listen = ["[2001:db8::10]:80/tcp", "[2001:db8::10]:5000-5099/udp", "192.0.2.10:80/tcp"]
[[service.real]]
address = "fd00::11"
[[service.real]]
address = "10.0.0.11"
"#;
    let realserver = r#"
[realserver]
tun = "vstun0"
vips = ["192.0.2.10", "2001:db8::10"]
directors = ["10.0.0.1/32", "fd00::/64"]
mss = "route"
control = "/run/vstun/realserver.sock"
"#;
    [director, dual, realserver].map(|text| text.as_bytes().to_vec()).to_vec()
}

fn tcp(ends: Ends, chain: Chain<'_>, flags: u8, data_len: usize) -> Vec<u8> {
    let mut segment =
        vec![0x9c, 0x40, 0, 80, 0, 0, 0, 7, 0, 0, 0, 9, 0x50, flags, 1, 0, 0, 0, 0, 0];
    segment.resize(20 + data_len, b'x');
    ip(ends.client, ends.vip, chain, protocol::TCP, &segment)
}

fn udp(source: IpAddr, destination: IpAddr, chain: Chain<'_>, data_len: usize) -> Vec<u8> {
    let [high, low] = length(8 + data_len);
    let mut datagram = vec![0x9c, 0x40, 0, 53, high, low, 0, 0];
    datagram.resize(8 + data_len, b'x');
    ip(source, destination, chain, protocol::UDP, &datagram)
}

fn icmp(ends: Ends, kind: u8, data: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, 0, 0, 0, 0, 1, 0, 2][..], data].concat();
    let (number, pseudo) = match ends.vip {
        IpAddr::V4(_) => (protocol::ICMP, Sum::default()),
        IpAddr::V6(_) => {
            let len = u32::from(u16::from_be_bytes(length(message.len())));
            (protocol::ICMPV6, Sum::pseudo_header(ends.router, ends.vip, protocol::ICMPV6, len))
        }
    };
    let check = pseudo.add_bytes(&message).checksum();
    message[2..4].copy_from_slice(&check.to_be_bytes());
    ip(ends.router, ends.vip, &[], number, &message)
}

fn ip(
    source: IpAddr,
    destination: IpAddr,
    chain: Chain<'_>,
    protocol: u8,
    payload: &[u8],
) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let [high, low] = length(20 + payload.len());
            let mut packet = vec![0x45, 0, high, low, 0, 1, 0, 0, 60, protocol, 0, 0];
            packet.extend(source.octets());
            packet.extend(destination.octets());
            let check = Sum::of(&packet).checksum();
            packet[10..12].copy_from_slice(&check.to_be_bytes());
            packet.extend(payload);
            packet
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut numbers: Vec<u8> = chain.iter().map(|(number, _)| *number).collect();
            numbers.push(protocol);
            let headers = chain.iter().zip(&numbers[1..]);
            let headers: Vec<u8> =
                headers.flat_map(|((_, rest), next)| [&[*next], *rest].concat()).collect();
            let [high, low] = length(headers.len() + payload.len());
            let mut packet = vec![0x60, 0x0a, 0xbc, 0xde, high, low, numbers[0], 60];
            packet.extend(source.octets());
            packet.extend(destination.octets());
            packet.extend(headers);
            packet.extend(payload);
            packet
        }
        _ => panic!("addresses of two families"),
    }
}

/// Makes a packet look merged by GRO: its transport checksum is the pseudo-header's sum.
fn partial(mut packet: Vec<u8>) -> Vec<u8> {
    let Ok(parsed) = Packet::parse(&packet) else { return packet };
    let (at, number) = (usize::from(parsed.header_len), parsed.protocol);
    let field = at + if number == protocol::TCP { 16 } else { 6 };
    let payload_len = u32::from(u16::from_be_bytes(length(packet.len() - at)));
    let sum = Sum::pseudo_header(parsed.source, parsed.destination, number, payload_len);
    packet[field..field + 2].copy_from_slice(&sum.fold().to_be_bytes());
    packet
}

fn tunnelled(ends: Ends, traffic_class: u8, inner: &[u8]) -> Vec<u8> {
    let outer = Outer {
        source: ends.director,
        destination: ends.real,
        traffic_class,
        ttl: 64,
        dont_fragment: true,
        identification: 0,
        flow_label: 0x1_2345,
    };
    let mut datagram = vec![0; Encap::Ipip.outer_len(ends.real)];
    ipip::write(&outer, inner[0] >> 4, inner.len(), &mut datagram).expect("seeds are short");
    datagram.extend(inner);
    datagram
}

fn length(length: usize) -> [u8; 2] {
    u16::try_from(length).expect("seeds are short").to_be_bytes()
}
