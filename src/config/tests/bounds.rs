//! Each bound: the largest value is accepted, one more is refused.

use std::fmt::Write as _;

use crate::config::{self, Director, RealServer};
use crate::model::duration;

use super::{lines, with_services};

const SERVICE: &str = "[[service]]\nname = \"a\"\nlisten = [\"192.0.2.1:1/tcp\"]\n";

/// A director with one line of its own and one service.
pub(super) fn with_key(line: &str) -> String {
    format!("[director]\n{line}\n{SERVICE}")
}

/// Whether the director accepts `text`; if not, it has one fault that contains `refusal`.
#[track_caller]
pub(super) fn takes(text: &str, refusal: &str) -> bool {
    match config::director(text) {
        Ok(_) => true,
        Err(faults) => {
            let lines = lines(&faults);
            assert!(lines.len() == 1 && lines[0].contains(refusal), "{lines:?}");
            false
        }
    }
}

#[track_caller]
pub(super) fn takes_realserver(keys: &str, refusal: &str) -> bool {
    match config::realserver(&format!("[realserver]\n{keys}")) {
        Ok(_) => true,
        Err(faults) => {
            let lines = lines(&faults);
            assert!(lines.len() == 1 && lines[0].contains(refusal), "{lines:?}");
            false
        }
    }
}

#[test]
fn length_of_the_file() {
    let mut text = with_key("");
    text += &"#".repeat(config::MAX_LEN - text.len());
    assert!(takes(&text, ""));
    text.push('#');
    assert!(!takes(&text, "longer than 16777216 bytes"));
}

#[test]
fn durations_of_a_service() {
    let with = |key: &str, value: &str| format!("[director]\n{SERVICE}{key} = \"{value}\"\n");
    for (key, least, below, most, above) in [
        ("drain_deadline", "1s", "999ms", "31d", "31d1ms"),
        ("slow_start", "0s", "", "1d", "1d1ms"),
    ] {
        assert!(takes(&with(key, least), ""), "{key}");
        assert!(takes(&with(key, most), ""), "{key}");
        assert!(!takes(&with(key, above), "out of range"), "{key}");
        assert!(
            !takes(
                &with(key, below),
                if below.is_empty() { "not a duration" } else { "out of range" }
            ),
            "{key}"
        );
    }
}

/// A director of services with a Maglev table each, and one without.
fn tables(slots: u32, count: usize) -> String {
    let mut text = with_key(&format!("maglev_slots = {slots}"));
    for port in 0..count {
        let _ = writeln!(text, "[[service]]\nname = \"m{port}\"\nscheduler = \"mh\"");
        let _ = writeln!(text, "listen = [\"192.0.2.2:{}/tcp\"]", port + 1);
    }
    text
}

#[test]
fn slots_of_all_maglev_tables_together() {
    assert_eq!(config::MAX_MAGLEV_SLOTS, 4_096 * 65_537);
    // One service of `tables` has none.
    let usual = tables(65_537, config::MAX_SERVICES - 1);
    assert!(takes(&usual, ""));
    let all = usual.replacen("name = \"a\"", "name = \"a\"\nscheduler = \"mh\"", 1);
    assert!(takes(&all, ""), "just as many as are taken");
    let next = all.replace("= 65537", "= 65539");
    assert!(!takes(&next, "65539 for 4096 services with scheduler mh are 268447744 slots"));
    assert!(takes(&tables(1_048_573, 256), ""));
    assert!(!takes(&tables(1_048_573, 257), "at most 268439552 are taken in all"));
}

#[test]
fn busy_polling() {
    let director = |value: &str| with_key(&format!("busy_poll = \"{value}\""));
    let realserver = |value: &str| {
        format!("vips = [\"192.0.2.10\"]\ndirectors = [\"10.0.0.1/32\"]\nbusy_poll = \"{value}\"\n")
    };
    let most = duration::Text(config::MAX_BUSY_POLL).to_string();
    for value in ["0s", "1us", "50us", &most] {
        assert!(takes(&director(value), "") && takes_realserver(&realserver(value), ""), "{value}");
    }
    let refusal = "1s1us is out of range; write from 0s to 1s";
    assert!(!takes(&director("1s1us"), refusal));
    assert!(!takes_realserver(&realserver("1s1us"), refusal));
}

#[test]
fn numbers() {
    let connections = |count: u64| with_key(&format!("max_connections = {count}"));
    assert!(takes(&connections(1), ""));
    assert!(!takes(&connections(0), "out of range"));
    assert!(takes(&connections(u64::from(config::MAX_CONNECTIONS)), ""));
    assert!(!takes(&connections(u64::from(config::MAX_CONNECTIONS) + 1), "out of range"));

    let recorder = |count: u32| with_key(&format!("recorder = {count}"));
    assert!(takes(&recorder(0), "") && takes(&recorder(config::MAX_RECORDED), ""));
    assert!(!takes(&recorder(config::MAX_RECORDED + 1), "out of range"));

    let announce = |table: u64| with_key(&format!("announce_table = {table}"));
    for table in [0, 1, 252, 256, u64::from(u32::MAX)] {
        assert!(takes(&announce(table), ""), "{table}");
    }
    for table in [253, 254, 255] {
        assert!(!takes(&announce(table), "the kernel's table"), "{table}");
    }
    assert!(!takes(&announce(u64::from(u32::MAX) + 1), "out of range"));

    let ports = |range: &str| with_key(&format!("gue_source_ports = \"{range}\""));
    for range in ["1-64", "65472-65535", "5000-5000", "5000", "6017-6079", "6081-6090"] {
        assert!(takes(&ports(range), ""), "{range}");
    }
    assert!(!takes(&ports("1-65"), "1-65 are 65 ports; at most 64 are taken"));
    assert!(!takes(&ports("6080-6090"), "contains gue_port, 6080"));
    assert!(!takes(&ports("9-8"), "write 8-9"));
    for text in ["0-3", "", "-", "1-", "-9", "1-2-3", "+1-2", "1 - 2", "65536", "65500-65536"] {
        assert!(!takes(&ports(text), "is not a range of ports"), "{text}");
    }
    assert!(!takes(&with_key("gue_port = 61455"), "is one of gue_source_ports"));

    let slots = |slots: u32| with_key(&format!("maglev_slots = {slots}"));
    for prime in [1_031, 65_537, 1_048_573] {
        assert!(takes(&slots(prime), ""), "{prime}");
    }
    assert!(!takes(&slots(1_030), "write a number from 1031 to 1048573"));
    assert!(!takes(&slots(1_048_574), "out of range"));
    assert!(!takes(&slots(1_032), "1032 is not a prime number; the next is 1033"));
    assert!(!takes(&slots(1_048_572), "the next is 1048573"));

    let weight = |weight: u32| {
        with_key("") + &format!("[[service.real]]\naddress = \"10.0.0.1\"\nweight = {weight}\n")
    };
    assert!(takes(&weight(0), "") && takes(&weight(65_535), ""));
    assert!(!takes(&weight(65_536), "out of range"));
}

#[test]
fn length_of_the_hash_seed() {
    let seed = |len: usize| with_key(&format!("hash_seed = \"{}\"", "s".repeat(len)));
    assert!(takes(&seed(config::MIN_HASH_SEED_LEN), ""));
    assert!(!takes(&seed(config::MIN_HASH_SEED_LEN - 1), "is 7 bytes long; write 8 to 256"));
    assert!(takes(&seed(config::MAX_HASH_SEED_LEN), ""));
    assert!(!takes(&seed(config::MAX_HASH_SEED_LEN + 1), "is 257 bytes long"));
    // A secret must not appear in a log.
    let faults = config::director(&with_key("hash_seed = \"secret\"")).unwrap_err();
    assert!(!lines(&faults)[0].contains("secret"), "{faults:?}");
}

#[test]
fn marks_of_floods() {
    let flows = |flows: u64| with_key("") + &format!("flood_new_flows = {flows}\n");
    assert!(takes(&flows(0), "") && takes(&flows(10_000_000), ""));
    assert!(!takes(&flows(10_000_001), "write a number from 0 to 10000000"));

    let table = |part: &str| with_key("") + &format!("flood_table_use = \"{part}\"\n");
    for part in ["off", "1%", "100%"] {
        assert!(takes(&table(part), ""), "{part}");
    }
    for part in ["0%", "101%", "80", "%", "-1%", "+80%", "8 0%", "80 %", "256%", "on", ""] {
        assert!(!takes(&table(part), "write \"1%\" to \"100%\", or \"off\""), "{part}");
    }
}

#[test]
fn durations() {
    let udp = |text: &str| with_key(&format!("timeouts.udp = \"{text}\""));
    assert!(takes(&udp("1s"), "") && takes(&udp("31d"), ""));
    assert!(!takes(&udp("999ms"), "write from 1s to 31d"));
    assert!(!takes(&udp("31d1ms"), "write from 1s to 31d"));
}

#[test]
fn lengths_of_names_and_paths() {
    let tun = |len: usize| with_key(&format!("tun = \"{}\"", "t".repeat(len)));
    assert!(takes(&tun(1), "") && takes(&tun(config::MAX_INTERFACE_LEN), ""));
    assert!(!takes(&tun(0), "1 to 15") && !takes(&tun(config::MAX_INTERFACE_LEN + 1), "1 to 15"));

    let control = |len: usize| with_key(&format!("control = \"/{}\"", "s".repeat(len - 1)));
    assert!(takes(&control(2), "") && takes(&control(config::MAX_CONTROL_LEN), ""));
    assert!(!takes(&control(config::MAX_CONTROL_LEN + 1), "108 bytes"));
    assert!(!takes(&control(1), "absolute path"));

    let name = |len: usize| with_key("").replace("\"a\"", &format!("\"{}\"", "n".repeat(len)));
    assert!(takes(&name(1), "") && takes(&name(config::MAX_NAME_LEN), ""));
    assert!(!takes(&name(0), "1 to 63") && !takes(&name(config::MAX_NAME_LEN + 1), "1 to 63"));
}

#[test]
fn legal_names_of_interfaces() {
    for name in ["eth0.100", "br-0_x", "wg0@home", "..."] {
        assert!(takes(&with_key(&format!("tun = '{name}'")), ""), "{name}");
    }
    for name in [".", "..", "a b", "a/b", "a:b", "tun%d", "\u{e9}", "a\tb"] {
        assert!(
            !takes(&with_key(&format!("tun = '{name}'")), "is not an interface name"),
            "{name}"
        );
    }
}

#[test]
fn uplinks() {
    let uplinks = |count: usize| {
        let names: Vec<_> = (0..count).map(|name| format!("\"eth{name}\"")).collect();
        with_key(&format!("uplinks = [{}]", names.join(", ")))
    };
    assert!(takes(&uplinks(config::MAX_UPLINKS), ""));
    assert!(!takes(&uplinks(config::MAX_UPLINKS + 1), "65 elements"));
}

#[test]
fn services() {
    let services = |count: usize| {
        let mut text = with_services("");
        for port in 1..=count {
            let _ = writeln!(text, "[[service]]\nname = \"s{port}\"");
            let _ = writeln!(text, "listen = [\"192.0.2.1:{port}/tcp\"]");
        }
        text
    };
    assert!(takes(&services(config::MAX_SERVICES), ""));
    assert!(!takes(&services(config::MAX_SERVICES + 1), "4097 services"));
    assert!(!takes(&services(0), "no [[service]]"));
}

#[test]
fn listens() {
    let listens = |count: usize| {
        let texts: Vec<_> = (0..count)
            .map(|at| format!("\"192.0.2.{}:{}/tcp\"", at >> 15, (at & 0x7fff) + 1))
            .collect();
        with_services(&format!("[[service]]\nname = \"a\"\nlisten = [{}]\n", texts.join(",")))
    };
    assert!(takes(&listens(config::MAX_LISTENS), ""));
    assert!(!takes(&listens(config::MAX_LISTENS + 1), "65537 listens in all"));
    assert!(!takes(&listens(0), "the list is empty"));
}

#[test]
fn real_servers() {
    let reals = |services: usize, each: usize, more: usize| {
        let mut text = with_services("");
        for service in 0..services {
            let each = if service == 0 { each + more } else { each };
            let reals: Vec<_> = (0..each)
                .map(|real| format!("{{address=\"10.0.{}.{}\"}}", real / 256, real % 256))
                .collect();
            let _ = writeln!(text, "[[service]]\nname = \"s{service}\"");
            let _ = writeln!(text, "listen = [\"192.0.2.1:{}/tcp\"]", service + 1);
            let _ = writeln!(text, "real = [{}]", reals.join(","));
        }
        text
    };
    let most = config::MAX_REALS_PER_SERVICE;
    assert!(takes(&reals(1, most, 0), ""));
    assert!(!takes(&reals(1, most, 1), "1025 real servers; a service has at most 1024"));
    let (services, each) = (128, config::MAX_REALS / 128);
    assert!(takes(&reals(services, each, 0), ""));
    assert!(!takes(&reals(services, each, 1), "65537 real servers in all"));
    assert!(takes(&reals(1, 0, 0), ""), "a service may wait for its real servers");
}

#[test]
fn a_real_servers_lists() {
    let keys = |vips: usize, directors: usize| {
        let list = |count: usize, net: &str| -> String {
            let texts: Vec<_> =
                (0..count).map(|at| format!("\"{net}.{}.{}\"", at / 256, at % 256)).collect();
            texts.join(",")
        };
        let (vips, directors) = (list(vips, "192.0"), list(directors, "10.0"));
        format!("vips = [{vips}]\ndirectors = [{directors}]\n")
    };
    assert!(takes_realserver(&keys(config::MAX_VIPS, config::MAX_DIRECTORS), ""));
    assert!(!takes_realserver(&keys(config::MAX_VIPS + 1, 1), "1025 elements"));
    assert!(!takes_realserver(&keys(1, config::MAX_DIRECTORS + 1), "257 elements"));
    assert!(!takes_realserver(&keys(0, 1), "the list is empty"));
    assert!(!takes_realserver(&keys(1, 0), "the list is empty"));

    let priority = |priority: u32| keys(1, 1) + &format!("rule_priority = {priority}\n");
    assert!(takes_realserver(&priority(1), ""));
    assert!(takes_realserver(&priority(RealServer::MAX_RULE_PRIORITY), ""));
    assert!(!takes_realserver(&priority(0), "out of range"));
    assert!(!takes_realserver(&priority(RealServer::MAX_RULE_PRIORITY + 1), "out of range"));
    let table = |table: u32| keys(1, 1) + &format!("table = {table}\n");
    assert!(takes_realserver(&table(1), "") && takes_realserver(&table(u32::MAX), ""));
    assert!(!takes_realserver(&table(0), "out of range"));
    assert!(!takes_realserver(&table(254), "the kernel's table main"));
}

#[test]
fn the_defaults_pass_their_own_checks() {
    let keys = [
        format!("tun = \"{}\"", Director::TUN),
        format!("control = \"{}\"", Director::CONTROL),
        format!("max_connections = {}", Director::CONNECTIONS),
    ];
    assert!(takes(&with_key(&keys.join("\n")), ""));
}

#[test]
fn hostile_shapes_end() {
    let deep = "a.".repeat(400_000) + "a = 1\n";
    let nested = "a = ".to_owned() + &"[".repeat(1_000_000);
    let same_reals = "{address=\"10.0.0.1\"},".repeat(1024);
    let same_listens = "\"192.0.2.1:1-65535/tcp\",".repeat(config::MAX_LISTENS);
    let crowded =
        format!("[[service]]\nname=\"a\"\nlisten=[{same_listens}]\nreal=[{same_reals}]\n");
    let unequal = "=\n".repeat(100_000);
    let tables = "[[a]]\n".repeat(170_000);
    for text in [deep, nested, with_services(&crowded), unequal, tables] {
        let faults = config::director(&text).unwrap_err();
        assert!(!faults.is_empty() && faults.len() <= config::MAX_FAULTS + 1);
    }
}
