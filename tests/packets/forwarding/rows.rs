//! Named packets and the verdict on each in a director without state.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vstun::balancer::Reason;
use vstun::wire::tcp::Flags;

use super::A;
use super::Deed::{self, Drop, Hold, Reply, To};
use super::build::{DESTINATION_OPTIONS, FRAGMENT, Family, HOP_BY_HOP, Ip, ROUTING};

pub(crate) type Row = (&'static str, Vec<u8>, Deed);

/// One PadN.
const PADDED: [u8; 6] = [1, 4, 0, 0, 0, 0];

fn rows<const N: usize>(rows: [(&'static str, Ip, Deed); N]) -> Vec<Row> {
    rows.into_iter().map(|(name, packet, deed)| (name, packet.bytes(), deed)).collect()
}

pub(crate) fn opening(family: Family) -> Vec<Row> {
    let syn = || family.tcp(Flags::SYN);
    let both = rows([
        ("a SYN opens", syn(), To(A)),
        ("a SYN with ECN negotiation opens", family.tcp(Flags::SYN | 0xc0), To(A)),
        ("a SYN with data opens", syn().data(b"early"), To(A)),
        ("a SYN with FIN opens", family.tcp(Flags::SYN | Flags::FIN), To(A)),
        ("a datagram opens", family.udp(53).data(b"query"), To(A)),
        ("an empty datagram opens", family.udp(53), To(A)),
        ("a TTL of one is the kernel's business", syn().ttl(1), To(A)),
        ("a wrong TCP checksum is the server's business", syn().flip_upper(16), To(A)),
        ("bytes after the packet are cut off", syn().append(&[0; 6]), To(A)),
        ("a first fragment opens", syn().data(&[0; 12]).fragment(0, true), To(A)),
        ("a later fragment is held", syn().data(&[0; 12]).fragment(800, true), Hold),
        ("the last fragment is held", syn().data(&[0; 11]).fragment(800, false), Hold),
    ]);
    [both, family.pick(opening_v4 as fn() -> Vec<Row>, opening_v6)()].concat()
}

fn opening_v4() -> Vec<Row> {
    let with = |options: &[u8]| Family::V4.tcp(Flags::SYN).options(options);
    rows([
        ("a record route option passes", with(&[7, 7, 4, 0, 0, 0, 0, 0]), To(A)),
        ("a router alert option passes", with(&[148, 4, 0, 0]), To(A)),
        ("forty bytes of no-operation pass", with(&[1; 40]), To(A)),
        ("what follows the end of options is padding", with(&[0, 131, 3, 4]), To(A)),
    ])
}

fn opening_v6() -> Vec<Row> {
    let syn = || Family::V6.tcp(Flags::SYN);
    let options = |packet: Ip| packet.extension(DESTINATION_OPTIONS, &PADDED);
    let longest = [&[1, 156][..], &[0; 156]].concat();
    rows([
        ("hop-by-hop options pass", syn().extension(HOP_BY_HOP, &[5, 2, 0, 0, 1, 0]), To(A)),
        ("destination options pass", options(syn()), To(A)),
        (
            "a route that has been followed passes",
            syn().extension(ROUTING, &[4, 0, 0, 0, 0, 0]),
            To(A),
        ),
        ("eight headers pass", (0..8).fold(syn(), |packet, _| options(packet)), To(A)),
        ("160 bytes of headers pass", syn().extension(DESTINATION_OPTIONS, &longest), To(A)),
        ("an atomic fragment is whole", syn().fragment(0, false), To(A)),
        ("UDP behind headers", options(Family::V6.udp(53)), To(A)),
        ("an unknown option", syn().extension(DESTINATION_OPTIONS, &[0xde, 4, 1, 2, 3, 4]), To(A)),
    ])
}

pub(crate) fn refusals(family: Family) -> Vec<Row> {
    let tcp = |flags, port| family.tcp(flags).destination_port(port);
    rows([
        ("TCP to a closed port", tcp(Flags::SYN, 443), Reply),
        ("a stray ACK to a closed port", tcp(Flags::ACK, 443), Reply),
        ("UDP to a closed port", family.udp(80), Reply),
        ("TCP to a port that only UDP has", tcp(Flags::SYN, 53), Reply),
        ("TCP to port zero", tcp(Flags::SYN, 0), Reply),
        ("a stray ACK", tcp(Flags::ACK, 80), Reply),
        ("a stray SYN with ACK", tcp(Flags::SYN | Flags::ACK, 80), Reply),
        ("a stray FIN", tcp(Flags::FIN, 80), Reply),
        ("a segment without flags", tcp(0, 80), Reply),
        ("a SYN to a service without servers", tcp(Flags::SYN, 81), Reply),
        ("UDP to a service without servers", family.udp(81), Reply),
        ("an echo request", family.icmp_echo(b"ping"), Reply),
        ("an echo request without data", family.icmp_echo(b""), Reply),
        ("no reset for a reset", tcp(Flags::RST, 80), Drop(Reason::NoConnection)),
        (
            "nor for one that acknowledges",
            tcp(Flags::RST | Flags::ACK, 80),
            Drop(Reason::NoConnection),
        ),
        ("nor for one with SYN", tcp(Flags::RST | Flags::SYN, 80), Drop(Reason::NoConnection)),
        ("a reset to a closed port", tcp(Flags::RST, 443), Drop(Reason::NoService)),
        ("a reset to a service without servers", tcp(Flags::RST, 81), Drop(Reason::NoConnection)),
    ])
}

pub(crate) fn drops(family: Family) -> Vec<Row> {
    [
        broken(family),
        foreign(family),
        from_nobody(family),
        family.pick(drops_v4 as fn() -> Vec<Row>, drops_v6)(),
    ]
    .concat()
}

/// Packets that contradict themselves.
fn broken(family: Family) -> Vec<Row> {
    let syn = || family.tcp(Flags::SYN);
    let udp = || family.udp(53);
    let ping = || family.icmp_echo(&[7; 16]);
    // Eight bytes of a TCP header, with a matching length.
    let tiny = syn().fragment(0, true).claim(-12);
    let half = family.header_len() - 1;
    let mut broken = rows([
        ("version 5", syn().set(0, 0x55), Drop(Reason::NotIp)),
        ("half a header", syn().cut(half), Drop(Reason::Truncated)),
        ("a byte less than the header says", syn().drop_end(1), Drop(Reason::Truncated)),
        ("a TCP header cut short", syn().claim(-1), Drop(Reason::Malformed)),
        ("a TCP data offset of four", syn().set_upper(12, 0x40), Drop(Reason::Malformed)),
        ("a TCP data offset past the end", syn().set_upper(12, 0x60), Drop(Reason::Malformed)),
        ("a UDP header cut short", udp().claim(-1), Drop(Reason::Malformed)),
        ("a UDP length below its header's", udp().set_upper(5, 7), Drop(Reason::Malformed)),
        ("a UDP length past the end", udp().set_upper(5, 9), Drop(Reason::Malformed)),
        ("an ICMP header cut short", family.icmp_echo(b"").claim(-1), Drop(Reason::Malformed)),
        ("a wrong ICMP checksum", family.icmp_echo(b"ping").flip_upper(8), Drop(Reason::Malformed)),
        ("a fragment of a ping", ping().fragment(0, true), Drop(Reason::Fragment)),
        ("a later fragment of a ping", ping().fragment(800, true), Drop(Reason::Fragment)),
        ("a first fragment without its flags", tiny, Drop(Reason::Malformed)),
        ("no whole units", syn().data(&[0; 11]).fragment(800, true), Drop(Reason::Malformed)),
        ("a fragment past the end", syn().fragment(65_528, false), Drop(Reason::Malformed)),
        ("a fragment that rewrites TCP flags", syn().fragment(8, false), Drop(Reason::Malformed)),
    ]);
    broken.push(("no bytes", vec![], Drop(Reason::NotIp)));
    broken
}

/// Valid packets that are not for a service.
fn foreign(family: Family) -> Vec<Row> {
    let syn = || family.tcp(Flags::SYN);
    let elsewhere: IpAddr = family.pick(
        Ipv4Addr::new(192, 0, 2, 11).into(),
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x11).into(),
    );
    let group: IpAddr = family.pick(
        Ipv4Addr::new(224, 0, 0, 1).into(),
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).into(),
    );
    let echo = || family.icmp_echo(b"");
    let reply = family.echo_reply();
    let (error, code) = family.port_unreachable();
    let unknown = family.tcp(Flags::ACK).backwards().bytes();
    rows([
        ("a destination that is not a VIP", syn().to(elsewhere), Drop(Reason::NotVip)),
        ("UDP to no VIP", family.udp(53).to(elsewhere), Drop(Reason::NotVip)),
        ("an echo request to no VIP", echo().to(elsewhere), Drop(Reason::NotVip)),
        ("a multicast destination", family.udp(53).to(group), Drop(Reason::NotVip)),
        ("an echo reply", echo().icmp_type(reply), Drop(Reason::Icmp)),
        ("an unknown ICMP type", echo().icmp_type(200), Drop(Reason::Icmp)),
        ("an unknown ICMP error", echo().icmp_type(100), Drop(Reason::Icmp)),
        ("an echo request with a code", echo().icmp_code(1), Drop(Reason::Icmp)),
        ("the other family's ICMP", echo().protocol(family.pick(58, 1)), Drop(Reason::Protocol)),
        ("GRE", syn().protocol(47), Drop(Reason::Protocol)),
        ("IPv4 inside", syn().protocol(4), Drop(Reason::Protocol)),
        ("IPv6 inside", syn().protocol(41), Drop(Reason::Protocol)),
        ("ESP", syn().protocol(50), Drop(Reason::Protocol)),
        ("SCTP", syn().protocol(132), Drop(Reason::Protocol)),
        (
            "an error that quotes nothing",
            family.icmp_error((error, code), &[]),
            Drop(Reason::IcmpNoFlow),
        ),
        (
            "an error about an unknown flow",
            family.icmp_error((error, code), &unknown),
            Drop(Reason::IcmpNoFlow),
        ),
    ])
}

/// Sources that a client cannot have, by family.
fn nobodies(family: Family) -> Vec<IpAddr> {
    let v4 = [
        [0, 0, 0, 0],
        [0, 1, 2, 3],
        [127, 0, 0, 1],
        [127, 255, 255, 255],
        [224, 0, 0, 1],
        [239, 255, 255, 255],
        [240, 0, 0, 1],
        [255, 255, 255, 255],
    ];
    let v6 = ["::", "::1", "ff02::1", "ff0e::1", "ffff::", "::ffff:198.51.100.7", "::ffff:0.0.0.0"];
    let v6 = v6.iter().map(|text| text.parse::<IpAddr>().unwrap());
    let mut nobodies: Vec<_> = family.pick(v4.map(IpAddr::from).to_vec(), v6.collect());
    nobodies.push(family.vip());
    nobodies
}

fn from_nobody(family: Family) -> Vec<Row> {
    let of = |source: IpAddr| {
        rows([
            ("a SYN from no client", family.tcp(Flags::SYN).from(source), Drop(Reason::BadSource)),
            ("UDP from no client", family.udp(80).from(source), Drop(Reason::BadSource)),
            (
                "an echo request from no client",
                family.icmp_echo(b"").from(source),
                Drop(Reason::BadSource),
            ),
        ])
    };
    nobodies(family).into_iter().flat_map(of).collect()
}

fn drops_v4() -> Vec<Row> {
    let syn = || Family::V4.tcp(Flags::SYN);
    let echo = || Family::V4.icmp_echo(b"");
    rows([
        ("a header of four words", syn().set(0, 0x44), Drop(Reason::Malformed)),
        ("a length below the header's", syn().set(3, 19), Drop(Reason::Malformed)),
        ("an option of length one", syn().options(&[7, 1, 0, 0]), Drop(Reason::Malformed)),
        ("an option out of the header", syn().options(&[7, 5, 4, 0]), Drop(Reason::Malformed)),
        (
            "a loose source route",
            syn().options(&[131, 7, 4, 10, 0, 0, 1, 0]),
            Drop(Reason::SourceRoute),
        ),
        (
            "a strict source route",
            syn().options(&[1, 137, 7, 4, 10, 0, 0, 1]),
            Drop(Reason::SourceRoute),
        ),
        ("a timestamp request", echo().icmp_type(13), Drop(Reason::Icmp)),
        ("a redirect", echo().icmp_type(5), Drop(Reason::Icmp)),
        ("an authentication header", syn().protocol(51), Drop(Reason::Protocol)),
    ])
}

fn drops_v6() -> Vec<Row> {
    let syn = || Family::V6.tcp(Flags::SYN);
    let options = |packet: Ip, body: &[u8]| packet.extension(DESTINATION_OPTIONS, body);
    let nine = (0..9).fold(syn(), |packet, _| options(packet, &PADDED));
    let too_long = [&[1, 164][..], &[0; 164]].concat();
    let late = options(syn(), &PADDED).extension(HOP_BY_HOP, &PADDED);
    let jumbo = syn().extension(HOP_BY_HOP, &[0xc2, 4, 0, 1, 0, 0]);
    let jumbogram = jumbo.clone().claim(-28);
    let nested = syn().fragment(0, true).extension(FRAGMENT, &[0, 1, 0, 0, 0, 9]);
    let chains = rows([
        ("nine headers", nine, Drop(Reason::ExtensionHeader)),
        ("168 bytes of headers", options(syn(), &too_long), Drop(Reason::ExtensionHeader)),
        ("hop-by-hop options that are not first", late, Drop(Reason::ExtensionHeader)),
        ("a jumbo payload", jumbo, Drop(Reason::ExtensionHeader)),
        ("a jumbogram", jumbogram, Drop(Reason::ExtensionHeader)),
        ("a fragment in a fragment", nested, Drop(Reason::ExtensionHeader)),
        (
            "an option out of its header",
            options(syn(), &[1, 5, 0, 0, 0, 0]),
            Drop(Reason::Malformed),
        ),
        ("a header out of the packet", options(syn(), &PADDED).set(41, 9), Drop(Reason::Malformed)),
        ("no next header", syn().protocol(59), Drop(Reason::Protocol)),
        ("a route of type 0", syn().extension(ROUTING, &[0; 6]), Drop(Reason::SourceRoute)),
        ("a route to go", syn().extension(ROUTING, &[4, 1, 0, 0, 0, 0]), Drop(Reason::SourceRoute)),
    ]);
    let unwalked = [51, 135, 139, 140].map(|kind| {
        ("a header that is not walked", syn().protocol(kind), Drop(Reason::Unsupported))
    });
    [chains, rows(unwalked), link_noise()].concat()
}

/// Packets that kernels send on a link, and similar ones.
fn link_noise() -> Vec<Row> {
    let own = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    let routers = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
    let reports = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
    let of = |kind| Family::V6.icmp_echo(&[0; 16]).icmp_type(kind);
    let quiet = Drop(Reason::LinkNoise);
    let mut noise = rows([
        ("a solicitation of routers", of(133).from(own).to(routers), quiet),
        ("from a host without an address", of(133).from(Ipv6Addr::UNSPECIFIED).to(routers), quiet),
        (
            "a report of groups",
            of(143).from(own).to(reports).extension(HOP_BY_HOP, &[5, 2, 0, 0, 1, 0]),
            quiet,
        ),
        (
            "and without an address",
            of(143)
                .from(Ipv6Addr::UNSPECIFIED)
                .to(reports)
                .extension(HOP_BY_HOP, &[5, 2, 0, 0, 1, 0]),
            quiet,
        ),
        ("an address asked for", of(135).from(Ipv6Addr::UNSPECIFIED).to(reports), quiet),
        ("even with a wrong checksum", of(135).flip_upper(2), quiet),
        (
            "UDP on a link is none of it",
            Family::V6.udp(5_353).from(own).to(reports),
            Drop(Reason::BadSource),
        ),
        (
            "nor is an echo request from nowhere",
            of(128).from(Ipv6Addr::UNSPECIFIED),
            Drop(Reason::BadSource),
        ),
    ]);
    for kind in [130, 131, 132, 133, 134, 135, 136, 137, 143] {
        noise.push(("to a virtual IP all the same", of(kind).bytes(), quiet));
    }
    noise
}
