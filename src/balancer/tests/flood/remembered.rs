//! Persistent clients in a flood: it creates no templates, and existing ones live on as always.

use super::*;

const TIME: u64 = 60;

/// A director with templates, and the real server of each of the first thirty clients; none of them
/// has a flow left.
fn remembering(quiescent: Quiescent) -> (Director, Vec<IpAddr>) {
    let mut director = watchful(10_000, SchedulerKind::RoundRobin, 0);
    let persistence =
        Some(Persistence { timeout: seconds(TIME), prefix_v4: 32, prefix_v6: 128, quiescent });
    let flood = FloodMarks { new_flows: RATE, table_use: 0 };
    director.apply(&set_policy(Policy { persistence, flood, ..Policy::default() }));
    let homes = (0..30).map(|number| director.connect(flow(number))).collect();
    for number in 0..30 {
        director.to(&flow(number).tcp(Flags::RST));
    }
    (director, homes)
}

fn from(client: u32, port: u16, flags: u8) -> Vec<u8> {
    flow(client).segment(flags).source_port(port).bytes()
}

/// A second of the flood.
fn second(director: &mut Director) {
    let sources = u32::try_from(director.now.0).unwrap();
    flood(director, sources, RATE + 1);
    assert!(director.flood().active);
    director.pass(seconds(1));
}

#[test]
fn each_new_flow_restarts_its_client_s_timeout() {
    let (mut director, homes) = remembering(Quiescent::Keep);
    second(&mut director);
    let templates = director.balancer.snapshot().templates;
    for round in 0..9 {
        (0..20).for_each(|_| second(&mut director));
        for (number, home) in (0..30).zip(&homes) {
            assert_eq!(director.to(&from(number, 2_000 + round, Flags::SYN)), *home, "{round}");
        }
        assert!(director.balancer.snapshot().templates <= templates, "no new ones");
    }
    assert_eq!(director.balancer.snapshot().templates, 30, "the flood's are gone");
}

#[test]
fn a_flow_of_the_flood_holds_its_client_s_template_while_it_lives() {
    for udp in [false, true] {
        let (mut director, homes) = remembering(Quiescent::Keep);
        second(&mut director);
        let packet = |number| match udp {
            true => flow(number).datagram().source_port(7).bytes(),
            false => from(number, 7, Flags::ACK),
        };
        for _ in 0..3 * TIME {
            for number in 0..30 {
                director.to(&packet(number));
            }
            director.pass(seconds(1));
        }
        let mut templates = [A, B, C].map(|real| director.real(real).unwrap().templates);
        templates.sort_unstable();
        assert_eq!(templates, [10, 10, 10], "udp {udp}");
        for (number, home) in (0..30).zip(&homes) {
            assert_eq!(director.to(&from(number, 9, Flags::SYN)), *home, "udp {udp}");
        }
        director.pass(seconds(2_000));
        assert_eq!(director.balancer.snapshot().templates, 0, "nothing holds them for good");
    }
}

#[test]
fn a_flood_creates_no_template() {
    let (mut director, _) = remembering(Quiescent::Keep);
    second(&mut director);
    let templates = director.balancer.snapshot().templates;
    let real = director.to(&from(5_000, 7, Flags::SYN));
    assert_eq!(director.to(&from(5_000, 7, Flags::ACK)), real);
    assert_eq!(director.to(&from(5_000, 8, Flags::SYN)), real, "the client's hash");
    assert_eq!(director.balancer.snapshot().templates, templates);
    assert_eq!(director.balancer.counters().without_template, 0);
}

#[test]
fn clients_of_a_quiescent_server_stay_or_move_as_always() {
    for quiescent in Quiescent::ALL {
        let (mut director, homes) = remembering(quiescent);
        director.apply(&set_state(homes[0], AdminState::Draining { deadline: None }));
        second(&mut director);
        for (number, home) in (0..30).zip(&homes) {
            let stays = *home != homes[0] || quiescent == Quiescent::Keep;
            // A reset of a flow without an entry goes where the flow goes.
            assert_eq!(director.to(&from(number, 6, Flags::RST)) == *home, stays, "{quiescent:?}");
            let real = director.to(&from(number, 7, Flags::SYN));
            assert_eq!(real == *home, stays, "{quiescent:?}");
            assert_eq!(director.to(&from(number, 7, Flags::ACK)), real);
            assert_eq!(director.to(&from(number, 8, Flags::SYN)), real, "and is remembered there");
        }
    }
}
