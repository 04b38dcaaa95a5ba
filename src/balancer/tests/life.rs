//! The life cycles of connections and of their real servers.

use super::*;
use SchedulerKind::RoundRobin;

#[test]
fn a_removed_real_server_keeps_its_connections_and_goes_with_the_last() {
    let mut director = Director::with(RoundRobin, &[(A, 1), (B, 1)]);
    assert_eq!([director.connect(flow(1)), director.connect(flow(2))], [A, B]);
    director.apply(&remove_real(A));
    let real = director.real(A).unwrap();
    assert_eq!((real.state, real.active), (RealState::Draining, 1));
    assert_eq!(director.ack(flow(1)), A);
    for number in 3..6 {
        assert_eq!(director.syn(flow(number)), B, "no new connection");
    }
    director.to(&flow(1).tcp(Flags::FIN | Flags::ACK));
    director.pass(seconds(119));
    assert!(director.real(A).is_some());
    director.pass(seconds(2));
    assert_eq!(director.real(A), None);
    assert!(director.real(B).is_some());
}

#[test]
fn a_real_server_without_connections_goes_at_once() {
    let mut director = Director::with(RoundRobin, &[(A, 1), (B, 1)]);
    director.apply(&remove_real(A));
    assert_eq!(director.real(A), None);
    director
        .refuses(&remove_real(A), &ChangeError::NoReal { service: "web".to_owned(), address: A });
    assert_eq!(director.syn(flow(1)), B);
}

#[test]
fn a_real_server_added_again_has_its_connections_and_counters() {
    let mut director = Director::with(RoundRobin, &[(A, 1), (B, 1)]);
    director.connect(flow(1));
    director.apply(&remove_real(A));
    let before = director.real(A).unwrap();
    director.apply(&add_real(A, 7));
    let values = RealValues::of_weight(7);
    let expected =
        snapshot::RealSnapshot { state: RealState::Up, removed: false, values, ..before };
    assert_eq!(director.real(A), Some(expected));
    assert_eq!(director.ack(flow(1)), A);
    let next: Vec<_> = (2..4).map(|number| director.syn(flow(number))).collect();
    assert!(next.contains(&A), "it takes new connections again");
}

#[test]
fn a_freed_real_server_added_again_is_new() {
    let mut director = Director::with(RoundRobin, &[(A, 1), (B, 1)]);
    director.connect(flow(1));
    director.apply(&remove_real(A));
    director.pass(seconds(901));
    director.apply(&add_real(A, 1));
    let real = director.real(A).unwrap();
    assert_eq!((real.connections, real.packets, real.bytes), (0, 0, 0));
}

#[test]
fn a_removed_service_s_connections_die() {
    let mut director = Director::with(RoundRobin, &[(A, 1)]);
    director.connect(flow(1));
    director.to(&flow(2).udp());
    director.apply(&remove_web());
    assert!(director.balancer.snapshot().services.is_empty());
    assert_eq!(director.forward(&flow(1).tcp(Flags::ACK)), Verdict::Drop(Reason::NotVip));
    assert_eq!(director.connections(), 1, "the packet took the entry with it");
    director.pass(seconds(301));
    assert_eq!(director.connections(), 0);
}

#[test]
fn a_new_service_with_a_reused_index_gets_no_old_connections() {
    let mut director = Director::with(RoundRobin, &[(A, 1), (B, 1)]);
    for number in 0..4 {
        director.connect(flow(number));
    }
    director.apply(&remove_web());
    director.apply(&Change::AddService(web(RoundRobin, &[(C, 1), (A, 1)])));
    assert_eq!(director.counts(C), (0, 0));
    assert_eq!(director.counts(A), (0, 0), "another real server of the same address");

    director.resets(&flow(0).tcp(Flags::ACK));
    assert_eq!(director.connect(flow(0)), C, "the client may connect anew");
    assert_eq!(director.connect(flow(9)), A);
    // The old entries expire without changing the new service's counts.
    director.pass(seconds(850));
    director.ack(flow(0));
    director.ack(flow(9));
    director.pass(seconds(100));
    assert_eq!(director.connections(), 2);
    assert_eq!((director.counts(C), director.counts(A)), ((0, 1), (0, 1)), "idle since");

    // IDs of real servers are reused only now; their connections must not mix.
    director.apply(&add_real(B, 1));
    assert_eq!(director.counts(B), (0, 0));
    director.pass(seconds(1_000));
    assert_eq!((director.counts(C), director.counts(A)), ((0, 0), (0, 0)));
}

#[test]
fn weight_zero_keeps_what_is_there_and_takes_nothing_new() {
    let mut director = Director::with(RoundRobin, &[(A, 1), (B, 1)]);
    assert_eq!(director.connect(flow(1)), A);
    director.apply(&set_weight(A, 0));
    assert_eq!(director.ack(flow(1)), A);
    for number in 2..6 {
        assert_eq!(director.syn(flow(number)), B);
    }
    director.apply(&set_weight(B, 0));
    director.resets(&flow(7).tcp(Flags::SYN));
    assert_eq!(director.forward(&flow(7).udp()), Verdict::Reply);
    assert_eq!(director.ack(flow(1)), A);
    assert_eq!(director.real(A).unwrap().state, RealState::Up);
}

#[test]
fn a_reused_port_is_a_new_connection() {
    let rows: [(&str, &[u8]); 3] = [
        ("FIN_WAIT", &[Flags::SYN, Flags::ACK, Flags::FIN | Flags::ACK]),
        ("TIME_WAIT", &[Flags::SYN, Flags::FIN | Flags::ACK]),
        ("CLOSE", &[Flags::SYN, Flags::ACK, Flags::RST]),
    ];
    for (state, packets) in rows {
        let mut director = Director::with(RoundRobin, &[(A, 1), (B, 1)]);
        for &flags in packets {
            assert_eq!(director.to(&flow(1).tcp(flags)), A);
        }
        assert_eq!(director.states(), [state]);
        assert_eq!(director.syn(flow(1)), B, "{state}");
        assert_eq!(director.states(), ["SYN_RECV"]);
        assert_eq!((director.counts(A), director.counts(B)), ((0, 0), (1, 0)), "{state}");
    }
}

#[test]
fn a_syn_on_a_live_connection_goes_where_the_connection_is() {
    for packets in [&[Flags::SYN][..], &[Flags::SYN, Flags::ACK]] {
        let mut director = Director::with(RoundRobin, &[(A, 1), (B, 1)]);
        for &flags in packets {
            director.to(&flow(1).tcp(flags));
        }
        assert_eq!(director.syn(flow(1)), A);
        assert_eq!(director.connections(), 1);
        assert_eq!(director.real(A).unwrap().connections, 1);
    }
}

#[test]
fn a_syn_with_ack_or_rst_opens_nothing() {
    let mut director = Director::with(RoundRobin, &[(A, 1)]);
    director.resets(&flow(1).tcp(Flags::SYN | Flags::ACK));
    let verdict = director.forward(&flow(1).tcp(Flags::SYN | Flags::RST));
    assert_eq!(verdict, Verdict::Drop(Reason::NoConnection));
    assert_eq!(director.connections(), 0);
}

#[test]
fn counts_follow_the_states() {
    let mut director = Director::with(RoundRobin, &[(A, 1)]);
    let steps = [
        (Flags::SYN, "SYN_RECV", (1, 0)),
        (Flags::ACK, "ESTABLISHED", (1, 0)),
        (Flags::ACK | Flags::PSH, "ESTABLISHED", (1, 0)),
        (Flags::FIN | Flags::ACK, "FIN_WAIT", (0, 1)),
        (Flags::ACK, "FIN_WAIT", (0, 1)),
        (Flags::RST, "CLOSE", (0, 1)),
        (Flags::SYN, "SYN_RECV", (1, 0)),
    ];
    for (flags, state, counts) in steps {
        director.to(&flow(1).tcp(flags));
        assert_eq!((director.states(), director.counts(A)), (vec![state], counts), "{flags:#x}");
    }
    director.to(&flow(2).udp());
    assert_eq!(director.counts(A), (1, 1), "UDP is never active");
    assert_eq!(director.real(A).unwrap().connections, 3);
}

#[test]
fn each_state_lives_as_long_as_its_timeout_and_takes_its_count_with_it() {
    let rows: [(&[u8], u64); 5] = [
        (&[Flags::SYN], 60),
        (&[Flags::SYN, Flags::ACK], 900),
        (&[Flags::SYN, Flags::ACK, Flags::FIN | Flags::ACK], 120),
        (&[Flags::SYN, Flags::FIN | Flags::ACK], 120),
        (&[Flags::SYN, Flags::ACK, Flags::RST], 10),
    ];
    for (packets, timeout) in rows {
        let mut director = Director::with(RoundRobin, &[(A, 1)]);
        for &flags in packets {
            director.to(&flow(1).tcp(flags));
        }
        director.pass(seconds(timeout) - Duration::from_millis(1));
        assert_eq!(director.connections(), 1, "{packets:?}");
        director.pass(Duration::from_millis(251));
        assert_eq!((director.connections(), director.counts(A)), (0, (0, 0)), "{packets:?}");
        assert_eq!(director.balancer.next_deadline(), None);
    }
    let mut director = Director::with(RoundRobin, &[(A, 1)]);
    director.to(&flow(1).udp());
    director.pass(seconds(299));
    director.to(&flow(1).udp());
    director.pass(seconds(299));
    assert_eq!(director.counts(A), (0, 1), "each packet starts the time anew");
    director.pass(seconds(2));
    assert_eq!(director.counts(A), (0, 0));
}

#[test]
fn connections_are_listed_page_by_page() {
    let mut director = Director::with(RoundRobin, &[(A, 1)]);
    for number in 0..5 {
        director.connect(flow(number));
    }
    let (mut seen, mut from) = (Vec::new(), Some(0));
    while let Some(position) = from {
        let (page, next) = director.balancer.connections(director.now, position, 2);
        assert!(page.len() <= 2);
        seen.extend(page.iter().map(|connection| connection.client));
        from = next;
    }
    seen.sort();
    // IPv4 sorts before IPv6.
    let clients = [0, 2, 4, 1, 3].map(|number| (flow(number).source(), 40_000).into());
    assert_eq!(seen, clients);
    let (page, _) = director.balancer.connections(director.now, 0, 1);
    assert_eq!(page[0].virtual_address.to_string(), "192.0.2.10:80");
    assert_eq!((page[0].protocol, page[0].real), (Protocol::Tcp, A));
    assert_eq!(page[0].expires, seconds(900));
}
