//! ```text
//!   this namespace: eth0 10.2.0.2/24 ─── 10.2.0.1/24 eth0 :router
//! ```

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::director::{no_tun, tun};
use super::net::{
    alone, assert_same, cleanup, connect, is_killed, kill_one, picture, run, sh, until,
    until_followed, wait_for,
};
use vstun::app::host::{DesiredRealServer, Session};

pub(crate) const CONTROL: &str = "/run/vstun/realserver.sock";
const VIP: &str = "192.0.2.10";

pub(crate) fn host() {
    connect("eth0", "10.2.0.2/24", "router", "10.2.0.1/24");
    sh("ip route add default via 10.2.0.1");
    wait_for("test $(ip -6 addr show scope link -tentative | grep -c inet6) = 1");
}

pub(crate) fn desired() -> DesiredRealServer {
    DesiredRealServer {
        tun: "vstun0".into(),
        vips: vec![VIP.parse().unwrap()],
        directors: vec!["10.2.0.1/32".parse().unwrap()],
        shim: 0,
        gre: false,
        mss_route: true,
        rule_priority: 17_600,
        table: 17_600,
    }
}

async fn start(desired: &DesiredRealServer) -> Session {
    let mut session = Session::open(Path::new(CONTROL)).unwrap();
    let prepared = session.plan_realserver(desired).await.unwrap();
    assert_eq!(prepared.advertised_mss().v4, if desired.mss_route { 1440 } else { 1460 });
    tun();
    session.install(prepared).await.unwrap();
    session
}

#[test]
fn after_undo_the_host_is_as_before() {
    alone("realserver::after_undo_the_host_is_as_before", || {
        host();
        sh("sysctl -qw net.ipv4.conf.all.rp_filter=1");
        let before = picture();
        run(async {
            let mut session = start(&desired()).await;
            assert_eq!(sh("sysctl -n net.ipv4.conf.vstun0.rp_filter"), "2\n");
            assert_eq!(sh("sysctl -n net.ipv4.conf.eth0.arp_ignore"), "1\n");
            assert_eq!(sh("sysctl -n net.ipv4.conf.eth0.arp_announce"), "2\n");
            assert_eq!(sh("sysctl -n net.ipv4.conf.lo.arp_ignore"), "0\n");
            assert!(sh("ip addr show dev vstun0").contains("192.0.2.10/32"));
            let rule = sh("ip rule show pref 17600");
            assert!(rule.contains("from 192.0.2.10 lookup 17600 proto 176"), "{rule}");
            let route = sh("ip route get 198.51.100.1 from 192.0.2.10");
            assert!(route.contains("via 10.2.0.1") && route.contains("table 17600"), "{route}");
            let table = sh("ip route show table 17600");
            assert!(table.contains("10.2.0.0/24 dev eth0 proto 176 scope link"), "{table}");
            assert_eq!(table.matches("advmss 1440").count(), 2, "{table}");
            session.undo().await.unwrap();
        });
        no_tun();
        assert_same(&before, &picture());
    });
}

#[test]
fn values_already_right_are_not_written() {
    alone("realserver::values_already_right_are_not_written", || {
        host();
        sh("sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2");
        run(async {
            let mut session = start(&desired()).await;
            assert_eq!(sh("sysctl -n net.ipv4.conf.eth0.arp_ignore"), "0\n");
            assert_eq!(sh("sysctl -n net.ipv4.conf.eth0.arp_announce"), "0\n");
            session.undo().await.unwrap();
        });
        no_tun();
    });
}

#[test]
fn copies_are_exact_but_for_the_mss() {
    alone("realserver::copies_are_exact_but_for_the_mss", || {
        host();
        sh("
            ip route add 198.51.100.0/24 nexthop via 10.2.0.1 weight 1 nexthop via 10.2.0.7 weight 3
            ip route add 198.18.0.0/15 via 172.31.0.1 dev eth0 onlink
            ip route add 203.0.113.0/24 via 10.2.0.1 mtu lock 1400 initcwnd 20 congctl reno
            ip route add 203.0.113.0/25 via 10.2.0.1 metric 50 advmss 1000
            ip route add 203.0.113.0/25 via 10.2.0.7 metric 60
            ip route add blackhole 192.168.1.0/24
            ip route add unreachable 192.168.2.0/24 metric 9
            ip route add prohibit 192.168.3.0/24
            ip route add throw 192.168.4.0/24
            ip route add 192.168.5.0/24 tos 0x10 via 10.2.0.1
            ip route add 192.168.6.0/24 via inet6 fe80::1 dev eth0
            ip nexthop add id 7 via 10.2.0.1 dev eth0
            ip route add 192.168.7.0/24 nhid 7
            ip route add 192.168.8.0/24 via 10.2.0.1 realm 3
        ");
        let before = picture();
        let main = sh("ip -d route show table main");
        run(async {
            let mut session = start_unchecked().await;
            let copied = sh("ip -d route show table 17600");
            assert_eq!(plain(&main), plain(&copied));
            assert!(
                copied.contains("203.0.113.0/24") && copied.contains("advmss 1340"),
                "{copied}"
            );
            assert!(copied.contains("advmss 1000"), "a smaller one is kept: {copied}");
            session.undo().await.unwrap();
        });
        no_tun();
        assert_same(&before, &picture());
    });
}

async fn start_unchecked() -> Session {
    let mut session = Session::open(Path::new(CONTROL)).unwrap();
    let prepared = session.plan_realserver(&desired()).await.unwrap();
    tun();
    session.install(prepared).await.unwrap();
    session
}

/// Routes without the fields that a copy changes: protocol, table, MSS.
pub(crate) fn plain(routes: &str) -> Vec<String> {
    let mut lines: Vec<String> = routes
        .lines()
        .map(|line| {
            let mut words = Vec::new();
            let mut all = line.split_whitespace();
            while let Some(word) = all.next() {
                if matches!(word, "proto" | "table" | "advmss") {
                    all.next();
                } else {
                    words.push(word);
                }
            }
            words.join(" ")
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn copies_follow_route_changes_and_new_interfaces() {
    alone("realserver::copies_follow_route_changes_and_new_interfaces", || {
        host();
        run(async {
            let mut session = start(&desired()).await;
            sh("ip route replace default via 10.2.0.7; ip route add 198.18.0.0/15 via 10.2.0.1");
            until_followed(
                &mut session,
                "
                    ip route show table 17600 | grep -q 'default via 10.2.0.7.*advmss 1440'
                    ip route show table 17600 | grep -q 198.18.0.0/15
                ",
            )
            .await;
            // If the future is dropped and called again, it has missed nothing.
            sh("ip route del 198.18.0.0/15; ip link add late type veth peer name later");
            until_followed(
                &mut session,
                "
                    test $(ip route show table 17600 | grep -c 198.18.0.0/15) = 0
                    test $(sysctl -n net.ipv4.conf.late.arp_ignore) = 1
                    test $(sysctl -n net.ipv4.conf.later.arp_announce) = 2
                ",
            )
            .await;
            session.undo().await.unwrap();
            assert_eq!(sh("sysctl -n net.ipv4.conf.late.arp_ignore"), "0\n");
        });
        no_tun();
    });
}

/// Two routes of which never more than one is there, until both are added last. Once its queue is
/// full the kernel drops messages until that is empty, and says so once, before the first of it.
#[test]
fn a_route_is_copied_although_its_last_message_was_lost() {
    alone("realserver::a_route_is_copied_although_its_last_message_was_lost", || {
        host();
        let copied = |to: &str| format!("ip route show table 17600 | grep -q '^{to} via'");
        let [before, lost, after] = ["198.51.100.1", "198.18.0.1", "198.51.100.2"].map(copied);
        run(async {
            let mut session = start(&desired()).await;
            sh("ip route add 198.51.100.1 via 10.2.0.1");
            until_followed(&mut session, &before).await;
            sh(r#"
                awk 'BEGIN {
                    for (n = 0; n < 30000; n++)
                        for (step = 0; step < 2; step++)
                            print "route", step ? "del" : "add", "198.18.0." (n % 2 + 1),
                                "via 10.2.0.1"
                }' | ip -batch -
                ip route add 198.18.0.1 via 10.2.0.1
                ip route add 198.18.0.2 via 10.2.0.1
                awk 'NR > 1 { lost += $9 } END { exit !lost }' /proc/net/netlink
            "#);
            // A busy machine: the old messages are not all read when the routes are.
            let busy = async {
                loop {
                    std::thread::sleep(Duration::from_millis(10));
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                told = session.follow() => panic!("{told:?}"),
                () = busy => {}
                () = async {
                    until(&lost).await;
                    // Its message is behind all the old ones.
                    sh("ip route add 198.51.100.2 via 10.2.0.1");
                    until(&after).await;
                } => {}
            }
            sh(&lost);
            sh(&copied("198.18.0.2"));
            session.undo().await.unwrap();
        });
        no_tun();
    });
}

#[test]
fn commands_that_follow_each_other_do_not_put_a_check_off_for_ever() {
    const TEST: &str =
        "realserver::commands_that_follow_each_other_do_not_put_a_check_off_for_ever";
    alone(TEST, || {
        host();
        run(async {
            let mut session = start(&desired()).await;
            sh("sysctl -qw net.ipv4.conf.eth0.arp_ignore=0");
            let begun = Instant::now();
            while sh("sysctl -n net.ipv4.conf.eth0.arp_ignore") == "0\n" {
                assert!(begun.elapsed() < Duration::from_secs(20), "it is not put back");
                session.catch_up().await.unwrap();
                // As a command interrupts it.
                let _ = timeout(Duration::from_millis(20), session.follow()).await;
            }
            session.undo().await.unwrap();
        });
        no_tun();
    });
}

/// The kernel announces nothing, and the director would send to the old one for half a minute.
#[test]
fn another_hardware_address_of_the_host_is_announced() {
    alone("realserver::another_hardware_address_of_the_host_is_announced", || {
        host();
        sh("
            ip addr add 2001:db8:2::2/64 dev eth0 nodad
            ip -n router addr add 2001:db8:2::1/64 dev eth0 nodad
            mac=$(cat /sys/class/net/eth0/address)
            for address in 10.2.0.2 2001:db8:2::2; do
                ip -n router neigh replace $address lladdr $mac dev eth0 nud reachable
            done
        ");
        run(async {
            let mut session = start(&desired()).await;
            sh("ip link set eth0 address 02:00:00:00:00:77");
            let known = "ip -n router neigh show ADDRESS | grep -q 02:00:00:00:00:77";
            let both = ["10.2.0.2", "2001:db8:2::2"].map(|one| known.replace("ADDRESS", one));
            let both = both.join(" && ");
            until_followed(&mut session, &both).await;
            session.undo().await.unwrap();
        });
        no_tun();
    });
}

#[test]
fn the_vip_on_an_ethernet_is_refused() {
    alone("realserver::the_vip_on_an_ethernet_is_refused", || {
        host();
        sh("ip addr add 192.0.2.10/24 dev eth0");
        let before = picture();
        run(async {
            let mut session = Session::open(Path::new(CONTROL)).unwrap();
            let error = session.plan_realserver(&desired()).await.unwrap_err();
            assert!(
                format!("{error:#}").contains("ip addr del 192.0.2.10/24 dev eth0"),
                "{error:#}"
            );
        });
        assert_same(&before, &picture());
    });
}

#[test]
fn the_server_does_not_answer_arp_for_the_vip() {
    alone("realserver::the_server_does_not_answer_arp_for_the_vip", || {
        host();
        let asked = || {
            sh("ip -n router route replace 192.0.2.10 dev eth0
                ip -n router neigh flush all
                ip netns exec router ping -c1 -W1 192.0.2.10 >/dev/null 2>&1 || true
                ip -n router neigh show 192.0.2.10")
        };
        run(async {
            let mut session = start(&desired()).await;
            let seen = asked();
            assert!(!seen.contains("lladdr"), "{seen}");
            session.undo().await.unwrap();
        });
        no_tun();
        // Without the set-up the kernel would answer.
        sh("ip addr add 192.0.2.10/32 dev lo");
        let seen = asked();
        assert!(seen.contains("lladdr"), "{seen}");
    });
}

#[test]
fn cleanup_removes_what_a_killed_real_server_left() {
    const TEST: &str = "realserver::cleanup_removes_what_a_killed_real_server_left";
    alone(TEST, || {
        if is_killed(start(&desired())) {
            return;
        }
        host();
        let before = picture();
        kill_one(TEST, |_| {});
        no_tun();
        assert!(sh("ip rule").contains("192.0.2.10"), "it left something behind");
        assert!(sh("ip route show table 17600").contains("default"));
        cleanup(CONTROL).unwrap();
        assert_same(&before, &picture());
    });
}

#[test]
fn the_next_start_takes_over_from_a_killed_real_server() {
    const TEST: &str = "realserver::the_next_start_takes_over_from_a_killed_real_server";
    alone(TEST, || {
        if is_killed(start(&desired())) {
            return;
        }
        host();
        let before = picture();
        kill_one(TEST, |_| {});
        no_tun();
        run(async {
            let moved = DesiredRealServer { rule_priority: 18_000, table: 18_000, ..desired() };
            let mut session = start(&moved).await;
            assert_eq!(sh("ip rule show pref 17600"), "", "the old rule is gone");
            assert_eq!(sh("ip route show table all | grep -c 'table 17600' || true"), "0\n");
            assert!(sh("ip rule show pref 18000").contains("lookup 18000"));
            session.undo().await.unwrap();
        });
        no_tun();
        assert_same(&before, &picture());
    });
}
