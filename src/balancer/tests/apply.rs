//! Every change, and its refusals.

use super::*;

#[test]
fn an_added_service_has_all_its_configured_values() {
    let director = Director::with(SchedulerKind::WeightedRoundRobin, &[(A, 3), (B, 0)]);
    let services = director.balancer.snapshot().services;
    assert_eq!(services.len(), 1);
    assert_eq!(*services[0].name, *"web");
    assert_eq!(*services[0].listens, listens(&["192.0.2.10:80/tcp", "192.0.2.10:80/udp"]));
    assert_eq!(services[0].scheduler, SchedulerKind::WeightedRoundRobin);
    let reals: Vec<_> =
        services[0].reals.iter().map(|real| (real.address, real.values.weight)).collect();
    assert_eq!(reals, [(A, 3), (B, 0)]);
}

fn mail() -> ServiceSpec {
    ServiceSpec {
        name: "mail".to_owned(),
        listens: listens(&["192.0.2.10:25/tcp", "192.0.2.10:100-200/tcp"]),
        ..web(SchedulerKind::RoundRobin, &[(A, 1)])
    }
}

/// A service named `new` that listens there.
fn new(texts: &[&str]) -> ServiceSpec {
    ServiceSpec { name: "new".to_owned(), listens: listens(texts), ..mail() }
}

const FREE: [&str; 1] = ["192.0.2.10:443/tcp"];

/// Each change is refused with its error, and changes nothing.
fn refused(rows: &[(Change, ChangeError)]) {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1), (B, 1)]);
    director.apply(&Change::AddService(mail()));
    director.connect(flow(1));
    for (change, error) in rows {
        director.refuses(change, error);
    }
    // The arenas behind the snapshot are unchanged too.
    assert_eq!(director.syn(flow(2)), B);
    let closed = Flow { client: 3, port: 443 };
    director.resets(&closed.tcp(Flags::SYN));
}

#[test]
fn listens_that_overlap_are_refused() {
    let set =
        |texts: &[&str]| Change::SetListens { service: "mail".to_owned(), listens: listens(texts) };
    let add = |texts: &[&str]| Change::AddService(new(texts));
    let overlap = |text: &str, other: &str| ChangeError::Overlap {
        listen: text.parse().unwrap(),
        other: other.to_owned(),
    };
    refused(&[
        (add(&["192.0.2.10:80/tcp"]), overlap("192.0.2.10:80/tcp", "web")),
        (add(&["192.0.2.10:*/udp"]), overlap("192.0.2.10:*/udp", "web")),
        (add(&["192.0.2.10:90-100/tcp"]), overlap("192.0.2.10:90-100/tcp", "mail")),
        (add(&["192.0.2.10:200-210/tcp"]), overlap("192.0.2.10:200-210/tcp", "mail")),
        (
            add(&["192.0.2.10:300-310/tcp", "192.0.2.10:305/tcp"]),
            overlap("192.0.2.10:305/tcp", "new"),
        ),
        (add(&["192.0.2.10:443/tcp", "192.0.2.10:443/tcp"]), overlap("192.0.2.10:443/tcp", "new")),
        (set(&["192.0.2.10:443/tcp", "192.0.2.10:80/tcp"]), overlap("192.0.2.10:80/tcp", "web")),
        (
            set(&["192.0.2.10:10-20/tcp", "192.0.2.10:5-10/tcp"]),
            overlap("192.0.2.10:5-10/tcp", "mail"),
        ),
    ]);
}

#[test]
fn changes_of_what_does_not_exist_are_refused() {
    let service = || "missing".to_owned();
    let no_service = || ChangeError::NoService(service());
    let no_real = || ChangeError::NoReal { service: "web".to_owned(), address: C };
    let value = RealValue::Weight(1);
    refused(&[
        (Change::SetListens { service: service(), listens: listens(&FREE) }, no_service()),
        (Change::RemoveService { service: service() }, no_service()),
        (
            Change::SetScheduler { service: service(), scheduler: SchedulerKind::RoundRobin },
            no_service(),
        ),
        (Change::AddReal { service: service(), real: spec(C, 1) }, no_service()),
        (Change::RemoveReal { service: service(), address: A }, no_service()),
        (remove_real(C), no_real()),
        (Change::SetReal { service: service(), address: A, value }, no_service()),
        (set_weight(C, 1), no_real()),
    ]);
}

#[test]
fn what_exists_already_and_weights_out_of_range_are_refused() {
    let twice = |name: &str| ChangeError::RealExists { service: name.to_owned(), address: A };
    let exists = ServiceSpec { name: "web".to_owned(), ..new(&FREE) };
    let heavy = ServiceSpec { reals: vec![spec(A, 1), spec(B, 65_536)], ..new(&FREE) };
    let double = ServiceSpec { reals: vec![spec(A, 1), spec(A, 2)], ..new(&FREE) };
    let weight = || ChangeError::Value(RealValue::Weight(65_536));
    refused(&[
        (Change::AddService(exists), ChangeError::ServiceExists("web".to_owned())),
        (Change::AddService(heavy), weight()),
        (Change::AddService(double), twice("new")),
        (add_real(A, 1), twice("web")),
        (add_real(C, 65_536), weight()),
        (set_weight(A, 65_536), weight()),
    ]);
}

#[test]
fn the_largest_weight_is_accepted() {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 65_535)]);
    director.apply(&set_weight(A, 0));
    director.apply(&set_weight(A, 65_535));
    director.apply(&add_real(B, 65_535));
    assert_eq!(director.real(B).unwrap().values.weight, 65_535);
}

#[test]
fn adjacent_listens_and_those_of_the_other_transport_do_not_overlap() {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1)]);
    for (name, texts) in [
        ("below", &["192.0.2.10:1-79/tcp"][..]),
        ("above", &["192.0.2.10:81-65535/tcp", "192.0.2.10:81-65535/udp"]),
        ("elsewhere", &["192.0.2.11:80/tcp", "[2001:db8::11]:80/tcp"]),
    ] {
        let listens = listens(texts);
        let spec = web(SchedulerKind::RoundRobin, &[(B, 1)]);
        director.apply(&Change::AddService(ServiceSpec { name: name.to_owned(), listens, ..spec }));
    }
    for (port, real) in [(1, B), (79, B), (80, A), (81, B), (65_535, B)] {
        assert_eq!(director.syn(Flow { client: 1, port }), real, "port {port}");
    }
}

#[test]
fn set_listens_moves_the_service_and_keeps_its_connections() {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1), (B, 1)]);
    let real = director.connect(flow(1));
    let moved = listens(&["192.0.2.10:8080/tcp", "192.0.2.10:70-90/udp"]);
    director.apply(&Change::SetListens { service: "web".to_owned(), listens: moved.clone() });
    assert_eq!(*director.balancer.snapshot().services[0].listens, moved);

    assert_eq!(director.ack(flow(1)), real, "an open connection goes on");
    director.resets(&flow(2).tcp(Flags::SYN));
    director.syn(Flow { client: 2, port: 8080 });
    director.to(&Flow { client: 2, port: 90 }.udp());
    let again = listens(&["192.0.2.10:80/tcp", "192.0.2.10:8080/tcp"]);
    director.apply(&Change::SetListens { service: "web".to_owned(), listens: again });
    director.syn(flow(2));
    assert_eq!(director.forward(&Flow { client: 3, port: 90 }.udp()), Verdict::Reply);
}

#[test]
fn another_scheduler_chooses_from_now_on() {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 3), (B, 1)]);
    assert_eq!([director.syn(flow(1)), director.syn(flow(2))], [A, B]);
    let scheduler = SchedulerKind::WeightedRoundRobin;
    director.apply(&Change::SetScheduler { service: "web".to_owned(), scheduler });
    assert_eq!(director.balancer.snapshot().services[0].scheduler, scheduler);
    let next: Vec<_> = (3..7).map(|number| director.syn(flow(number))).collect();
    assert_eq!(next, [A, A, B, A]);
}

#[test]
fn new_timeouts_apply_from_a_flow_s_next_packet_on() {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1)]);
    director.connect(flow(1));
    director.connect(flow(2));
    let timeouts = Timeouts { tcp_established: seconds(20), ..Timeouts::DEFAULT };
    director.apply(&Change::SetTimeouts(timeouts));
    director.ack(flow(1));
    director.pass(seconds(21));
    assert_eq!(director.connections(), 1);
    director.pass(seconds(900));
    assert_eq!(director.connections(), 0);
}
