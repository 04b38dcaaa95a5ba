//! Path MTUs that a flow's packets claim, and probes that show which of them are true.

use super::*;

/// A path with a router that takes `mtu` bytes, and answers at most so many packets.
#[derive(Clone, Copy, Debug)]
struct Path {
    mtu: usize,
    answers: usize,
}

impl Director {
    /// The probes that are due, as they leave.
    fn probes(&mut self) -> Vec<Vec<u8>> {
        let mut probes = Vec::new();
        while let Some((tunnel, probe)) = self.balancer.size_probe(self.now) {
            assert_eq!((tunnel.limit, tunnel.link), (usize::MAX, usize::MAX), "never in pieces");
            probes.push(probe.to_vec());
        }
        probes
    }

    /// Sends the probes that are due on the path, and handles the replies. Returns their sizes.
    fn probe(&mut self, real: IpAddr, path: &mut Path) -> Vec<usize> {
        let probes = self.probes();
        for probe in &probes {
            let outer_len = if real.is_ipv4() { 20 } else { 40 };
            if probe.len() + outer_len > path.mtu && path.answers > 0 {
                path.answers -= 1;
                let mtu = u16::try_from(path.mtu).unwrap();
                self.report(real, mtu, Quoted::of(&Packet::parse(probe).unwrap()));
            }
        }
        probes.iter().map(Vec::len).collect()
    }

    fn claim(&mut self, inner: Family, outer: Family, mtu: u16) {
        let verdict = self.report(outer.real(11), mtu, quoted(&client(inner, Flags::ACK, 1_400)));
        assert_eq!(verdict, Verdict::Drop(Reason::PathMtu));
    }
}

/// With the usual link.
fn linked(outer: Family) -> Director {
    let mut director = director(outer);
    director.apply(&Change::SetLinkMtus([(outer.real(11), 1_500)].into()));
    director
}

#[test]
fn a_true_claim_is_every_client_s_once_a_probe_is_refused() {
    for (inner, outer) in MIXES {
        let mut director = linked(outer);
        let longest = 1_500 - outer.header_len();
        director.claim(inner, outer, 1_400);
        let probes = director.probe(outer.real(11), &mut Path { mtu: 1_400, answers: 1 });
        assert_eq!(probes, [longest]);
        for family in FAMILIES {
            let reported_mtu = u32::try_from(1_400 - outer.header_len()).unwrap();
            assert_eq!(
                director.reported_mtu(&client(family, Flags::ACK, longest)),
                Some(reported_mtu)
            );
        }
        // Another router behind it.
        director.claim(inner, outer, 1_300);
        let probes = director.probe(outer.real(11), &mut Path { mtu: 1_300, answers: 1 });
        assert_eq!(probes, [1_400 - outer.header_len()], "at once");
        // Below the least MTU of IPv6, fragments of the outer packet carry the rest.
        let reported_mtu =
            u32::try_from(1_300 - outer.header_len()).unwrap().max(inner.pick(0, 1_280));
        assert_eq!(director.reported_mtu(&client(inner, Flags::ACK, longest)), Some(reported_mtu));
    }
}

#[test]
fn a_probe_is_an_echo_reply_from_the_client_with_df() {
    for (inner, outer) in MIXES {
        let mut director = linked(outer);
        director.claim(inner, outer, 1_400);
        let probes = director.probes();
        let packet = Packet::parse(&probes[0]).unwrap();
        assert_eq!((packet.source, packet.destination), (inner.client(), inner.vip()));
        assert!(packet.dont_fragment && crate::wire::icmp::checksum_ok(&packet));
        let kind = inner.pick(0, 129);
        assert_eq!(packet.transport, Transport::Icmp { kind, code: 0 });
        let header = outer::Inner::of_size_probe(&packet, 7);
        let tunnel = director.tunnel(&client(inner, Flags::ACK, 0));
        let tunnel = Tunnel { limit: usize::MAX, link: usize::MAX, ..tunnel };
        assert!(header.outer(&tunnel, 0, outer.director()).dont_fragment);
    }
}

#[test]
fn until_then_routers_may_cut_and_a_false_claim_is_over_after_ten_seconds() {
    for (inner, outer) in MIXES {
        let mut director = linked(outer);
        let long = client(inner, Flags::ACK, 1_400);
        director.claim(inner, outer, 1_300);
        let mut sizes = Vec::new();
        for _ in 0..9 {
            assert_eq!(director.reported_mtu(&long), None);
            assert_eq!(director.may_be_cut(&long), outer == Family::V4);
            sizes.extend(director.probes().iter().map(Vec::len));
            director.pass(seconds(1));
        }
        let (greatest, smallest) = (1_500 - outer.header_len(), 1_301 - outer.header_len());
        let tried = [greatest, smallest, greatest, smallest];
        assert_eq!(sizes, tried[..outer.pick(4, 1)], "over IPv6 each claim has one");
        director.pass(seconds(1));
        assert!(!director.may_be_cut(&long));
        // It was refuted: another claim changes nothing, but is probed.
        director.claim(inner, outer, 1_299);
        assert!(!director.may_be_cut(&long));
        assert_eq!(director.probes().len(), 1);
    }
}

#[test]
fn an_answer_counts_for_two_seconds_and_with_every_number_right() {
    for (inner, outer) in MIXES {
        let mut director = linked(outer);
        let longest = client(inner, Flags::ACK, 1_500 - outer.header_len());
        director.claim(inner, outer, 1_400);
        let probe = director.probes().remove(0);
        let answer = Quoted::of(&Packet::parse(&probe).unwrap());
        let Quoted::EchoReply(reply) = answer else { panic!() };
        let QuotedPacket { flow, number, label } = reply;
        for wrong in [
            QuotedPacket { label: label ^ 1, ..reply },
            QuotedPacket { number: number ^ 1, ..reply },
            QuotedPacket { flow: Quote { source_port: flow.source_port ^ 1, ..flow }, ..reply },
        ] {
            let verdict = director.report(outer.real(11), 1_400, Quoted::EchoReply(wrong));
            assert_eq!(verdict, UNVERIFIED);
        }
        assert_eq!(director.report(outer.real(12), 1_400, answer), UNVERIFIED, "another's");
        director.pass(Duration::from_millis(2_001));
        assert_eq!(director.report(outer.real(11), 1_400, answer), UNVERIFIED, "too late");
        assert_eq!(director.reported_mtu(&longest), None);
        director.claim(inner, outer, 1_400);
        let probe = director.probes().remove(0);
        let answer = Quoted::of(&Packet::parse(&probe).unwrap());
        director.pass(Duration::from_millis(2_000));
        director.report(outer.real(11), 1_400, answer);
        assert!(director.reported_mtu(&longest).is_some());
    }
}

#[test]
fn no_path_is_probed_more_than_once_a_second_nor_more_than_64_in_a_turn() {
    let reals: Vec<_> = (0..65).map(|n| Ipv4Addr::new(10, 0, 1, n).into()).collect();
    let weighed: Vec<_> = reals.iter().map(|&real| (real, 1)).collect();
    let mut director = Director::with(RoundRobin, &weighed);
    let flows: Vec<_> = (0..65).map(|number| (flow(number), director.syn(flow(number)))).collect();
    let claim_all = |director: &mut Director| {
        for &(flow, real) in &flows {
            director.report(real, 1_300, quoted(&flow.segment(Flags::ACK).bytes()));
        }
    };
    claim_all(&mut director);
    assert_eq!(director.probes().len(), 64);
    claim_all(&mut director);
    assert_eq!(director.probes().len(), 1, "the one that had no room");
    director.pass(Duration::from_millis(999));
    claim_all(&mut director);
    assert_eq!(director.probes().len(), 0);
    director.pass(Duration::from_millis(1));
    claim_all(&mut director);
    assert_eq!(director.probes().len(), 64);
}

proptest! {
    /// False claims of a client have no lasting effect: no client gets "packet too big", the
    /// director fragments no packet, and after ten seconds no state is left.
    #[test]
    fn claims_of_a_client_harm_nobody(
        mix in prop::sample::select(MIXES.to_vec()),
        claims in prop::collection::vec((any::<u16>(), 0_u64..4_000, any::<u32>()), 1..40),
    ) {
        let (inner, outer) = mix;
        let mut director = linked(outer);
        let longest = client(inner, Flags::ACK, 1_500 - outer.header_len());
        for (mtu, pause, guess) in claims {
            director.report(outer.real(11), mtu, quoted(&client(inner, Flags::ACK, 1_000)));
            director.probes();
            let Quoted::Packet(packet) = quoted(&longest) else { panic!() };
            let guessed = QuotedPacket { number: guess & 0xffff, label: guess >> 16, ..packet };
            director.report(outer.real(11), mtu, Quoted::EchoReply(guessed));
            prop_assert_eq!(director.reported_mtu(&longest), None);
            let tunnel = director.tunnel(&longest);
            prop_assert_eq!(outer::pieces(&tunnel, longest.len()), None);
            director.pass(Duration::from_millis(pause));
        }
        prop_assert_eq!(director.real(outer.real(11)).unwrap().path_mtu, None);
        director.pass(seconds(10));
        prop_assert_eq!(director.reported_mtu(&longest), None);
        prop_assert!(!director.may_be_cut(&longest));
    }

    /// A true path MTU is found although another client makes false claims meanwhile: at the latest
    /// with the router's second answer.
    #[test]
    fn a_smaller_path_is_found_beside_false_claims(
        mix in prop::sample::select(MIXES.to_vec()),
        mtu in 1_320_u16..1_499,
        lies in prop::collection::vec(any::<u16>(), 0..10),
    ) {
        let (inner, outer) = mix;
        let mut director = linked(outer);
        let longest = client(inner, Flags::ACK, 1_500 - outer.header_len());
        let mut path = Path { mtu: mtu.into(), answers: 2 };
        for _ in 0..4 {
            for &lie in &lies {
                director.report(outer.real(11), lie, quoted(&client(inner, Flags::ACK, 1_000)));
            }
            director.claim(inner, outer, mtu);
            director.probe(outer.real(11), &mut path);
            director.pass(seconds(1));
        }
        let reported_mtu = u32::from(mtu) - u32::try_from(outer.header_len()).unwrap();
        prop_assert_eq!(director.reported_mtu(&longest), Some(reported_mtu));
    }
}
