//! The records of packets.

use super::*;
use crate::balancer::record::{DecisionBasis, RecordedVerdict};
use crate::balancer::tcp::ConnState;

impl Director {
    /// The packet's record.
    fn record(&mut self, packet: &[u8]) -> Record {
        let packet = Packet::parse(packet).unwrap();
        let seen = self.balancer.observe(&packet);
        let verdict = self.balancer.forward(self.now, &packet);
        self.balancer.record(self.now, &packet, &seen, &verdict)
    }
}

/// The grounds of the decision, and the states before and after.
fn course(record: &Record) -> (Option<DecisionBasis>, Option<ConnState>, Option<ConnState>) {
    (record.why, record.before, record.after)
}

#[test]
fn a_connection_s_records_show_its_states() {
    use ConnState::{Established, FinWait, SynRecv};
    let kind = SchedulerKind::RoundRobin;
    for number in [1, 2] {
        let (mut director, flow) = (Director::with(kind, &[(A, 1)]), flow(number));
        let record = director.record(&flow.tcp(Flags::SYN));
        assert_eq!(course(&record), (Some(DecisionBasis::Scheduler(kind)), None, Some(SynRecv)));
        assert_eq!((record.verdict, record.reason), (RecordedVerdict::Tunnel, None));
        assert_eq!((record.service.as_deref(), record.real), (Some("web"), Some(A)));
        let ends = record.ends.unwrap();
        assert_eq!((ends.protocol, ends.client), (6, flow.source()));
        assert_eq!(ends.ports.map(|(_, to)| to), Some(80));
        for (flags, before, after) in [
            (Flags::ACK, SynRecv, Established),
            (Flags::ACK, Established, Established),
            (Flags::FIN, Established, FinWait),
        ] {
            let record = director.record(&flow.tcp(flags));
            assert_eq!(course(&record), (Some(DecisionBasis::Entry), Some(before), Some(after)));
            assert_eq!((record.service.as_deref(), record.real), (Some("web"), Some(A)));
        }
    }
}

#[test]
fn refusals_and_drops_have_a_reason_and_no_real_server() {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1)]);
    director.apply(&set_weight(A, 0));
    let other = Flow { port: 81, ..flow(1) };
    for (packet, verdict, reason, service) in [
        (flow(1).tcp(Flags::SYN), RecordedVerdict::Reply, Reason::NoRealServer, Some("web")),
        (flow(2).tcp(Flags::ACK), RecordedVerdict::Reply, Reason::NoConnection, Some("web")),
        (other.tcp(Flags::SYN), RecordedVerdict::Reply, Reason::NoService, None),
        (other.tcp(Flags::RST), RecordedVerdict::Drop, Reason::NoService, None),
        (flow(2).datagram().to(C).bytes(), RecordedVerdict::Drop, Reason::NotVip, None),
    ] {
        let record = director.record(&packet);
        assert_eq!((record.verdict, record.reason), (verdict, Some(reason)));
        assert_eq!(record.service.as_deref(), service, "{reason:?}");
        assert_eq!((record.real, course(&record)), (None, (None, None, None)));
    }
}

#[test]
fn a_record_has_the_grounds_of_the_decision() {
    let kind = SchedulerKind::RoundRobin;
    let mut director = Director::with(kind, &[(A, 1), (B, 1)]);
    let persistence = Persistence {
        timeout: seconds(60),
        prefix_v4: 32,
        prefix_v6: 128,
        quiescent: Quiescent::Keep,
    };
    let persistent = Policy { persistence: Some(persistence), ..Policy::default() };
    director.apply(&set_policy(persistent));
    assert_eq!(director.record(&flow(1).tcp(Flags::SYN)).why, Some(DecisionBasis::Scheduler(kind)));
    assert_eq!(director.record(&flow(1).udp()).why, Some(DecisionBasis::Template));
    director.apply(&set_policy(Policy { one_packet: true, ..Policy::default() }));
    assert_eq!(director.record(&flow(2).udp()).why, Some(DecisionBasis::OnePacket(kind)));
    let echo = Family::V4.icmp_echo(b"x").bytes();
    let record = director.record(&echo);
    assert_eq!((record.verdict, record.why), (RecordedVerdict::Reply, Some(DecisionBasis::Echo)));

    let mut director = adopting(&[(A, 1)]);
    let record = director.record(&flow(1).tcp(Flags::ACK));
    assert_eq!(course(&record), (Some(DecisionBasis::Hash), None, Some(ConnState::SynAck)));
}

#[test]
fn later_fragments_follow_the_first_and_those_ahead_of_it_are_held() {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1)]);
    let piece = |number, offset, more| {
        let whole = flow(2).datagram().data(b"12345678");
        whole.identification(number).fragment(offset, more).bytes()
    };
    let record = director.record(&piece(7, 16, false));
    assert_eq!((record.verdict, record.why), (RecordedVerdict::Hold, None));
    let record = director.record(&piece(7, 0, true));
    assert_eq!(record.why, Some(DecisionBasis::Scheduler(SchedulerKind::RoundRobin)));
    director.record(&piece(8, 0, true));
    let record = director.record(&piece(8, 16, true));
    assert_eq!((record.why, record.real), (Some(DecisionBasis::Fragment), Some(A)));
    assert_eq!(record.service.as_deref(), Some("web"));
}

#[test]
fn a_connection_that_its_real_server_ends_names_it() {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1)]);
    let policy = Policy { existing: Existing::Reset, ..Policy::default() };
    director.apply(&set_policy(policy));
    director.connect(flow(1));
    director.apply(&set_state(A, AdminState::Disabled));
    let record = director.record(&flow(1).tcp(Flags::ACK));
    assert!(matches!(record.verdict, RecordedVerdict::Reset | RecordedVerdict::Reply));
    assert_eq!((record.why, record.real), (Some(DecisionBasis::Ended), Some(A)));
    assert_eq!(
        (record.before, record.after),
        (Some(ConnState::Established), Some(ConnState::Close))
    );
}
