//! Changes as plans, events and explanations show them.

use super::*;
use crate::balancer::maglev::MaglevTables;
use crate::balancer::{Change, Explanation, FlowQuery, Why};
use crate::config::{Director, diff, director};
use crate::model::{Difference, RealValue, Seed};

fn specs(text: &str) -> Director {
    director(&format!("[director]\n{text}")).unwrap()
}

/// The plan from one configuration to the other, over the running services of [`state`].
fn plan(before: &str, after: &str) -> ReloadPlan {
    let (old, new) = (specs(before), specs(after));
    let running = state().services;
    let changes = diff(&old, &new).unwrap();
    let before = Before::new(old.specs(), &old.timeouts, &running);
    ReloadPlan::new(&changes, &before)
}

/// A client reads a plan as text; what it reads is what the daemon wrote.
fn assert_reads_back(plan: &ReloadPlan) {
    let line = encode(plan);
    let read: ReloadPlan<AlterationText> = decode(line.as_bytes()).unwrap();
    assert_eq!(encode(&read), line);
    assert_eq!(read.human(Layout::UNBOUNDED), plan.human(Layout::UNBOUNDED));
}

const WEB: &str = "[[service]]\nname = \"web\"\nlisten = [\"192.0.2.10:80/tcp\"]\n";
const DNS: &str =
    "[[service]]\nname = \"dns\"\nlisten = [\"192.0.2.10:53/udp\", \"192.0.2.10:53/tcp\"]\n";

fn reals(reals: &[(&str, u32)]) -> String {
    let line = |(address, weight): &(&str, u32)| {
        format!("[[service.real]]\naddress = \"{address}\"\nweight = {weight}\n")
    };
    reals.iter().map(line).collect()
}

#[test]
fn a_plan_shows_the_changes_and_the_connections_they_affect() {
    let old = WEB.to_owned() + &reals(&[("10.0.0.11", 1), ("10.1.0.11", 2)]) + DNS;
    let new = WEB.replace("80/tcp", "80/tcp\", \"192.0.2.10:53/udp")
        + "scheduler = \"rr\"\n"
        + &reals(&[("10.0.0.11", 3), ("2001:db8::12", 1)]);
    let plan = plan(&old, &new);
    let expected = "\
dns: remove service (wlc 192.0.2.10:53/udp 192.0.2.10:53/tcp, 0 real servers)
web: scheduler wlc → rr; 8 connections kept
web 10.1.0.11: remove real (weight 2); 4 connections drained
web 10.0.0.11: weight 1 → 3; 4 connections kept
web 2001:db8::12: add real (weight 1)
web: listen 192.0.2.10:80/tcp → 192.0.2.10:80/tcp 192.0.2.10:53/udp; 8 connections kept
6 changes; 4 connections drained, 0 lost
";
    assert_eq!(plan.human(Layout::UNBOUNDED), expected);
    let value = parse(&encode(&plan));
    let weight = json!({"what": "weight", "service": "web", "address": "10.0.0.11",
        "before": "1", "after": "3", "connections": 4, "fate": "kept"});
    assert_eq!(value["changes"][3], weight);
    assert_eq!((&value["connections_drained"], &value["connections_lost"]), (&json!(4), &json!(0)));
    assert_reads_back(&plan);
}

#[test]
fn a_plan_counts_connections_that_would_be_lost() {
    let dns = DNS.to_owned() + &reals(&[("10.0.0.11", 1)]);
    let old = WEB.to_owned() + &reals(&[("10.0.0.11", 1), ("10.1.0.11", 2)]) + &dns;
    let gone = plan(&old, &dns.replace("53/tcp", "80/tcp"));
    // Whoever takes the port takes the connections of the real servers that it has.
    assert_eq!((gone.connections_lost, gone.connections_drained), (4, 0));
    let merged = dns.replace("53/tcp", "80/tcp") + &reals(&[("10.1.0.11", 2)]);
    let merged = plan(&old, &merged);
    assert_eq!((merged.connections_lost, merged.connections_drained), (0, 0));
    assert!(merged.human(Layout::UNBOUNDED).contains("2 real servers); 8 connections kept"));
    let away = plan(&old, &dns);
    assert_eq!((away.connections_lost, away.connections_drained), (8, 0));
    let zero = plan(&old, &old.replace("weight = 2", "weight = 0"));
    assert_eq!((zero.connections_lost, zero.connections_drained), (0, 4));
    for state in ["disabled", "down"] {
        let state = format!("weight = 2\nstate = \"{state}\"");
        let out = old.replace("weight = 2", &state);
        let kept = plan(&old, &out);
        assert_eq!((kept.connections_lost, kept.connections_drained), (0, 4));
        let reset =
            |text: &str| text.replacen("name = \"web\"", "name = \"web\"\nexisting = \"reset\"", 1);
        for old in [old.clone(), reset(&old)] {
            let ended = plan(&old, &reset(&out));
            assert_eq!((ended.connections_lost, ended.connections_drained), (4, 0), "{state}");
        }
    }
}

/// A real server that is out of service keeps its connections only because of the service's policy.
#[test]
fn a_plan_counts_connections_of_servers_that_are_out_already_and_would_be_reset() {
    let old = WEB.to_owned() + &reals(&[("10.0.0.11", 1), ("10.1.0.11", 2)]);
    let new = old.replacen(
        "name = \"web\"",
        "name = \"web\"\nexisting = \"reset\"\npersistence = \"5m\"",
        1,
    );
    let planned = |new: &str, state| {
        let (old, new) = (specs(&old), specs(new));
        let mut running = super::state().services;
        running[0].reals[1].state = state;
        let changes = diff(&old, &new).unwrap();
        let before = Before::new(old.specs(), &old.timeouts, &running);
        ReloadPlan::new(&changes, &before)
    };
    for state in [RealState::Down, RealState::Disabled] {
        let plan = planned(&new, state);
        assert_eq!((plan.connections_lost, plan.connections_drained), (4, 0), "{state:?}");
        let text = plan.human(Layout::UNBOUNDED);
        assert!(text.contains("existing keep → reset; 4 connections lost"), "{text}");
        assert!(text.contains("persistence unset → 5m; 8 connections kept"), "{text}");
        // Counted once if it is removed as well, and not at all if it comes up.
        let gone = new.replace("[[service.real]]\naddress = \"10.1.0.11\"\nweight = 2\n", "");
        let plan = planned(&gone, state);
        assert_eq!((plan.connections_lost, plan.connections_drained), (4, 0), "{state:?}");
    }
    for state in [RealState::Up, RealState::Draining] {
        let plan = planned(&new, state);
        assert_eq!((plan.connections_lost, plan.connections_drained), (0, 0), "{state:?}");
    }
}

/// The smallest change of a deadline is shown.
#[test]
fn deadlines_are_shown_in_whole_seconds_unless_that_hides_a_change() {
    let web = specs(&(WEB.to_owned() + &reals(&[("10.0.0.11", 1), ("10.1.0.11", 2)])));
    let shown = |left, new| {
        let mut running = state().services;
        running[0].reals[1].deadline = Some(Duration::from_millis(left));
        let state = AdminState::Draining { deadline: Some(Duration::from_millis(new)) };
        let (service, address) = ("web".to_owned(), address("10.1.0.11"));
        let before = Before::new(web.specs(), &web.timeouts, &running);
        let changes = [Change::SetState { service, address, state }];
        let shown = Alteration::list(&changes, &before).pop()?;
        Some(shown.to_string().replace("web 10.1.0.11: state draining, for ", ""))
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(shown(598_700, 600_000), text("9m58s at most → draining, for 10m at most"));
    assert_eq!(shown(600_400, 600_000), text("10m400ms at most → draining, for 10m at most"));
    assert_eq!(shown(1_200, 1_500), text("1s at most → draining, for 1s500ms at most"));
    assert_eq!(shown(600_000, 600_000), None);
}

#[test]
fn a_plan_of_the_same_is_empty() {
    let same = WEB.to_owned() + &reals(&[("10.0.0.11", 1)]);
    let plan = plan(&same, &same);
    assert!(plan.is_empty());
    assert_eq!(plan.human(Layout::UNBOUNDED), "nothing would change\n");
    assert!(!ReloadPlan { tun_mtu: Some(1380), ..plan }.is_empty());
}

#[test]
fn listens_that_swap_ports_are_one_change_each() {
    let old = WEB.to_owned() + DNS;
    let new = WEB.replace("80/tcp", "53/tcp") + &DNS.replace("53/tcp", "80/tcp");
    let shown: Vec<_> = plan(&old, &new).changes.iter().map(|one| one.change.to_string()).collect();
    let expected = [
        "web: listen 192.0.2.10:80/tcp → 192.0.2.10:53/tcp",
        "dns: listen 192.0.2.10:53/udp 192.0.2.10:53/tcp → 192.0.2.10:53/udp 192.0.2.10:80/tcp",
    ];
    assert_eq!(shown, expected);
}

/// The Maglev tables before or after a reload.
fn maglev_tables(text: &str, slots: u32) -> MaglevTables {
    let services = specs(text).specs().cloned().map(Change::AddService).collect();
    let mut maglev_tables = MaglevTables::new(Seed(1, 2), slots);
    let _ = maglev_tables.follow(services);
    maglev_tables
}

/// A service of two real servers, the one with weight 1.
fn maglev(keys: &str, weight: u32) -> String {
    WEB.to_owned() + keys + &reals(&[("10.0.0.11", 1), ("10.1.0.11", weight)])
}

const MH: &str = "scheduler = \"mh\"\n";

#[test]
fn a_plan_counts_the_maglev_slots_that_move() {
    let (old, new) = (maglev(MH, 1), maglev(MH, 3));
    let (now, then) = (maglev_tables(&old, 1_031), maglev_tables(&new, 1_031));
    let same = plan(&old, &old).with_tables(&now, &now);
    assert!(same.maglev.is_empty() && same.is_empty());
    let plan = plan(&old, &new).with_tables(&now, &then);
    let expected = now.table("web").unwrap().moved(then.table("web").unwrap()) as u64;
    let moved = Moved { service: "web".to_owned(), moved: Some(expected), slots: 1_031 };
    assert!((200..400).contains(&expected), "a quarter: {expected}");
    assert_eq!(plan.maglev, [moved]);
    assert!(
        plan.human(Layout::UNBOUNDED)
            .contains(&format!("web: {expected} of 1031 Maglev slots move\n"))
    );
}

#[test]
fn a_plan_of_another_number_of_slots_counts_the_share_of_flows_that_moves() {
    let text = maglev(MH, 1);
    let (now, then) = (maglev_tables(&text, 1_031), maglev_tables(&text, 2_053));
    let plan = plan(&text, &text).with_tables(&now, &then);
    // With two real servers of equal weight half of the flows stay.
    let moved = plan.maglev[0].moved.unwrap();
    assert!((510..521).contains(&moved), "a half: {moved}");
    let alone = maglev(MH, 0);
    let (now, then) = (maglev_tables(&alone, 1_031), maglev_tables(&alone, 2_053));
    assert!(
        ReloadPlan::default().with_tables(&now, &then).maglev.is_empty(),
        "no other server is left"
    );
}

#[test]
fn a_plan_shows_where_maglev_slots_cannot_be_compared() {
    let by_client = MH.to_owned() + "hash_ports = false\n";
    let (rr, mh, by_client) = (maglev("", 1), maglev(MH, 1), maglev(&by_client, 1));
    for (old, new) in [(&rr, &mh), (&mh, &rr), (&mh, &by_client), (&by_client, &mh)] {
        let (now, then) = (maglev_tables(old, 1_031), maglev_tables(new, 1_031));
        let plan = plan(old, new).with_tables(&now, &then);
        assert_eq!(
            parse(&encode(&plan))["maglev"],
            json!([{"service": "web", "moved": null, "slots": 1031}])
        );
        assert!(
            plan.human(Layout::UNBOUNDED).contains("web: new flows are hashed otherwise;"),
            "{}",
            plan.human(Layout::UNBOUNDED)
        );
        assert_reads_back(&plan);
    }
    // Writing down mh's default changes no hash; adding or removing the service is a change of its
    // own.
    let written = maglev(&(MH.to_owned() + "hash_ports = true\n"), 1);
    for (old, new) in [(&mh, &written), (&mh, &DNS.to_owned()), (&DNS.to_owned(), &mh)] {
        let (now, then) = (maglev_tables(old, 1_031), maglev_tables(new, 1_031));
        assert!(plan(old, new).with_tables(&now, &then).maglev.is_empty());
    }
}

#[test]
fn thresholds_and_settings_are_shown() {
    let old = WEB.to_owned() + &reals(&[("10.0.0.11", 1)]);
    let new = old.clone() + "upper = 10\nlower = 4\n";
    let (before, after) = (65_537_u32.into(), 1_031_u32.into());
    let slots = Difference { key: "maglev_slots", before, after };
    let slots = Alteration::of(Altered::Setting(slots));
    let text = plan(&old, &new).with(vec![slots]).human(Layout::UNBOUNDED);
    let expected = "\
web 10.0.0.11: thresholds none → upper 10 lower 4; 4 connections kept
maglev_slots 65537 → 1031
2 changes; 0 connections drained, 0 lost
";
    assert_eq!(text, expected);
}

#[test]
fn policies_and_timeouts_are_shown_key_by_key() {
    let old = WEB.to_owned() + "persistence = \"300s\"\n" + &reals(&[("10.0.0.11", 1)]);
    let new = old.replace("300s", "1h") + "[director.timeouts]\nudp = \"90s\"\n";
    let plan = plan(&old, &new.replace("persistence", "existing = \"reset\"\npersistence"));
    let expected = "\
web: persistence 5m → 1h; 8 connections kept
web: existing keep → reset; 8 connections kept
timeouts.udp 5m → 1m30s
3 changes; 0 connections drained, 0 lost
";
    assert_eq!(plan.human(Layout::UNBOUNDED), expected);
    let value = parse(&encode(&plan));
    let persistence = json!({"what": "persistence", "service": "web", "before": "5m", "after": "1h",
        "connections": 8, "fate": "kept"});
    assert_eq!(value["changes"][0], persistence);
}

#[test]
fn an_event_is_one_flat_line() {
    let what = Altered::Real { before: RealValue::Weight(1), after: RealValue::Weight(3) };
    let change = Alteration::of_real("web", address("10.0.0.11"), what);
    let time = "2026-01-02T03:04:05.678Z".parse().unwrap();
    let operator = Origin::Operator(Credentials { uid: 1000, gid: 100, pid: Some(4711) });
    let event = Event { time, origin: operator, verb: "set-weight", change };
    let expected = json!({"version": 1, "time": "2026-01-02T03:04:05.678Z", "who": "operator",
        "uid": 1000, "gid": 100, "pid": 4711, "verb": "set-weight", "what": "weight",
        "service": "web", "address": "10.0.0.11", "before": "1", "after": "3"});
    assert_eq!(parse(&encode(&event)), expected);
    let shown = "web 10.0.0.11: weight 1 → 3 (set-weight by operator, uid 1000 gid 100 pid 4711)";
    assert_eq!(event.to_string(), shown);
    let host = Event { origin: Origin::Host, verb: "follow", ..event };
    assert_eq!(host.to_string(), "web 10.0.0.11: weight 1 → 3 (follow by host)");
}

/// A flow to `web` that goes to 10.0.0.11.
fn explained(mid_stream: Option<IpAddr>, syn: Option<IpAddr>, why: Why) -> Explained {
    let flow: FlowQuery = "tcp 198.51.100.7:40000 192.0.2.10:80".parse().unwrap();
    let (service, real) = (Some("web".to_owned()), Some(address("10.0.0.11")));
    let adopted_by_port = false;
    Explained::new(&flow, Explanation { service, real, syn, mid_stream, adopted_by_port, why })
}

#[test]
fn an_entry_is_explained() {
    let why = |state, expires, reusable| Why::Entry {
        state,
        idle: Duration::from_secs(3),
        expires: Duration::from_secs(expires),
        reusable,
        ends: false,
    };
    let real = Some(address("10.0.0.11"));
    for (syn, end) in [
        (Some(address("10.0.0.12")), "; a SYN is a new flow, which goes to 10.0.0.12"),
        (None, "; a SYN is a new flow, which no real server takes"),
    ] {
        let explained = explained(real, syn, why("FIN_WAIT", 117, true));
        assert!(explained.because.ends_with(end), "{}", explained.because);
        assert_eq!(explained.syn, syn);
    }
    let entry = explained(real, None, why("ESTABLISHED", 897, false));
    let expected = "\
flow         tcp 198.51.100.7:40000 192.0.2.10:80
service      web
real server  10.0.0.11
why          it has an entry, ESTABLISHED: last packet 3 s ago, expires in 14:57
";
    assert_eq!(entry.human(Layout::UNBOUNDED), expected);
    let value = parse(&encode(&entry));
    assert_eq!(value["why"], "entry");
    assert_eq!((&value["idle_seconds"], &value["expires_seconds"]), (&json!(3), &json!(897)));
}

#[test]
fn a_new_flow_is_explained() {
    let why = Why::Scheduler(SchedulerKind::WeightedLeastConnections);
    let new = explained(None, None, why);
    assert_eq!(new.scheduler.as_deref(), Some("wlc"));
    assert!(new.because.ends_with("TCP that is not a SYN is answered with a reset"), "{new:?}");
    let adopted = explained(Some(address("10.1.0.11")), None, why);
    let end = "TCP that is not a SYN is adopted, by 10.1.0.11";
    assert!(adopted.because.ends_with(end), "{adopted:?}");
    assert_eq!(parse(&encode(&adopted))["mid_stream"], "10.1.0.11");
    let template = explained(None, None, Why::Template);
    assert!(template.human(Layout::UNBOUNDED).contains("its client is remembered"), "{template:?}");
}

#[test]
fn a_flow_to_no_virtual_ip_is_explained() {
    let flow: FlowQuery = "tcp 198.51.100.7:40000 192.0.2.10:80".parse().unwrap();
    let (service, real, syn, mid_stream, why) = (None, None, None, None, Why::NotVip);
    let explanation = Explanation { service, real, syn, mid_stream, adopted_by_port: false, why };
    let nowhere = Explained::new(&flow, explanation);
    let expected = "service      none\nreal server  none\n";
    assert!(nowhere.human(Layout::UNBOUNDED).contains(expected), "{nowhere:?}");
}

#[test]
fn withdrawn_virtual_ips_are_listed() {
    let vip = |text, announced| VirtualIp { address: address(text), announced };
    let vips = vec![vip("192.0.2.10", true), vip("2001:db8::10", false)];
    let list = ServiceList { vips, ..ServiceList::from(&state()) };
    let text = list.human(Layout::UNBOUNDED);
    assert!(text.starts_with("12 of 1000000 connections\n2001:db8::10 is withdrawn\n\n"), "{text}");
    assert_eq!(parse(&encode(&list))["vips"][1]["announced"], false);
}

#[test]
fn an_explanation_of_any_port_holds_for_all_ports() {
    let flow: FlowQuery = "tcp 198.51.100.7 192.0.2.10:80".parse().unwrap();
    let explained = |real: Option<&str>, adopted_by_port, why| {
        let (service, real) = (Some("web".to_owned()), real.map(address));
        let explanation =
            Explanation { service, real, syn: None, mid_stream: None, adopted_by_port, why };
        Explained::new(&flow, explanation)
    };
    let wlc = SchedulerKind::WeightedLeastConnections;
    let next = explained(Some("10.0.0.11"), true, Why::Scheduler(wlc));
    assert_eq!(next.flow, "tcp 198.51.100.7 192.0.2.10:80");
    assert_eq!(
        next.because,
        "wlc would choose this one now for the next flow, of any port; a flow that has an entry \
         stays where it is (`vstun connections --client`); TCP that is not a SYN is adopted, where \
         its port decides"
    );
    let by_port = explained(None, false, Why::Port(SchedulerKind::Maglev));
    assert_eq!(by_port.why, "port");
    assert!(
        by_port.because.starts_with("it depends on the client's port: mh hashes "),
        "{by_port:?}"
    );
    let sh = explained(Some("10.0.0.11"), false, Why::Scheduler(SchedulerKind::SourceHashing));
    assert!(sh.because.starts_with("sh hashes no port: all new flows of the client go there"));
}
