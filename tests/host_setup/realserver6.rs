//! A real server with IPv6, on the host of `realserver`:
//!
//! ```text
//!   this namespace: eth0 2001:db8:2::2/64 ─── 2001:db8:2::1/64 eth0 :router
//! ```

use std::path::Path;

use super::director::{no_tun, tun};
use super::net::{
    alone, assert_same, cleanup, is_killed, kill_one, picture, run, sh, until_followed,
    wait_for_addresses,
};
use super::realserver::{CONTROL, host, plain};
use vstun::app::host::{DesiredRealServer, Session};

const VIP: &str = "2001:db8:9::10";

fn host6() {
    host();
    sh("
        ip addr add 2001:db8:2::2/64 dev eth0 nodad
        ip -n router addr add 2001:db8:2::1/64 dev eth0 nodad
        ip -n router addr add fe80::1/64 dev eth0 nodad
        ip -6 route add default via fe80::1 dev eth0
    ");
    wait_for_addresses(&["2001:db8:2::2"]);
}

pub(crate) fn dual() -> DesiredRealServer {
    DesiredRealServer {
        vips: vec!["192.0.2.10".parse().unwrap(), VIP.parse().unwrap()],
        ..super::realserver::desired()
    }
}

pub(crate) async fn start(desired: &DesiredRealServer) -> Session {
    let mut session = Session::open(Path::new(CONTROL)).unwrap();
    let prepared = session.plan_realserver(desired).await.unwrap();
    tun();
    session.install(prepared).await.unwrap();
    session
}

#[test]
fn after_undo_the_host_is_as_before() {
    alone("realserver6::after_undo_the_host_is_as_before", || {
        host6();
        let before = picture();
        let only6 = DesiredRealServer { vips: vec![VIP.parse().unwrap()], ..dual() };
        for desired in [dual(), only6] {
            run(async {
                let mut session = start(&desired).await;
                let address = sh("ip -6 addr show dev vstun0");
                assert!(address.contains("2001:db8:9::10/128 scope global nodad"), "{address}");
                assert!(!address.contains("fe80"), "no router solicitations: {address}");
                let rule = sh("ip -6 rule show pref 17600");
                assert!(rule.contains("from 2001:db8:9::10 lookup 17600 proto 176"), "{rule}");
                let route = sh(&format!("ip -6 route get 2001:db8:7::1 from {VIP}"));
                assert!(route.contains("via fe80::1") && route.contains("table 17600"), "{route}");
                let table = sh("ip -6 route show table 17600");
                assert!(table.contains("2001:db8:2::/64 dev eth0 proto 176"), "{table}");
                assert!(!table.contains("fe80::/64") && !table.contains("ff00"), "{table}");
                session.undo().await.unwrap();
            });
            no_tun();
            assert_same(&before, &picture());
        }
    });
}

#[test]
fn the_mss_leaves_room_for_the_tunnels_of_the_directors() {
    alone("realserver6::the_mss_leaves_room_for_the_tunnels_of_the_directors", || {
        host6();
        // directors → MSS for IPv4, for IPv6
        let table: [(&[&str], u16, u16); 3] = [
            (&["10.0.0.1/32"], 1440, 1420),
            (&["2001:db8::1/128"], 1420, 1400),
            (&["10.0.0.1/32", "2001:db8::1/128"], 1420, 1400),
        ];
        for (directors, v4, v6) in table {
            let directors = directors.iter().map(|net| net.parse().unwrap()).collect();
            let desired = DesiredRealServer { directors, ..dual() };
            run(async {
                let mut session = Session::open(Path::new(CONTROL)).unwrap();
                let prepared = session.plan_realserver(&desired).await.unwrap();
                let mss = prepared.advertised_mss();
                assert_eq!((mss.v4, mss.v6), (v4, v6));
                tun();
                session.install(prepared).await.unwrap();
                let copies = sh("ip route show table 17600");
                assert_eq!(copies.matches(&format!("advmss {v4}")).count(), 2, "{copies}");
                let copies = sh("ip -6 route show table 17600 | grep -v ^::1");
                assert_eq!(copies.matches(&format!("advmss {v6}")).count(), 2, "{copies}");
                session.undo().await.unwrap();
            });
            no_tun();
        }
    });
}

#[test]
fn copies_are_exact_but_for_the_mss() {
    alone("realserver6::copies_are_exact_but_for_the_mss", || {
        host6();
        sh("
            ip -6 route add 2001:db8:a::/64 nexthop via fe80::1 dev eth0 nexthop via 2001:db8:2::7 \
            weight 3
            ip -6 route append 2001:db8:b::/64 via 2001:db8:2::6
            ip -6 route append 2001:db8:b::/64 via 2001:db8:2::7
            ip -6 route add 2001:db8:c::/64 via 2001:db8:66::1 dev eth0 onlink
            ip -6 route add 2001:db8:d::/64 via 2001:db8:2::1 mtu lock 1400 initcwnd 20 congctl \
            reno pref high
            ip -6 route add 2001:db8:e::/64 via 2001:db8:2::1 metric 50 advmss 1000
            ip -6 route add 2001:db8:e::/64 via 2001:db8:2::7 metric 60
            ip -6 route add blackhole 2001:db8:f:1::/64
            ip -6 route add unreachable 2001:db8:f:2::/64 metric 9
            ip -6 route add prohibit 2001:db8:f:3::/64
            ip -6 route add throw 2001:db8:f:4::/64
            ip nexthop add id 7 via 2001:db8:2::1 dev eth0
            ip -6 route add 2001:db8:f:5::/64 nhid 7
            ip -6 route add 2001:db8:f:6::/64 dev eth0
        ");
        let before = picture();
        let main = sh("ip -6 -d route show table main | grep -v '^[a-z ]*fe80::/64'");
        run(async {
            let mut session = start(&dual()).await;
            let copied = sh("ip -6 -d route show table 17600");
            assert_eq!(plain(&main), plain(&copied));
            let line = |to: &str| copied.lines().find(|line| line.contains(to)).unwrap().to_owned();
            assert!(line("2001:db8:d::/64").contains("advmss 1320"), "{copied}");
            assert!(line("metric 50").contains("advmss 1000"), "a smaller one is kept: {copied}");
            session.undo().await.unwrap();
        });
        no_tun();
        assert_same(&before, &picture());
    });
}

/// The kernel removes copies as well when their interface goes down, is replaced or loses its
/// address, and for IPv6 it reports each: no other program has undone them.
#[test]
fn copies_come_back_however_often_their_interface_is_down_or_replaced() {
    alone(
        "realserver6::copies_come_back_however_often_their_interface_is_down_or_replaced",
        || {
            host6();
            run(async {
                let mut session = start(&dual()).await;
                let status = session.status();
                let bounce = "ip link set eth0 down; ip link set eth0 up";
                let replace = "
                ip link del eth0
                ip link add eth0 type veth peer name eth0 netns router
                ip -n router addr add 10.2.0.1/24 dev eth0
                ip -n router addr add 2001:db8:2::1/64 dev eth0 nodad
                ip -n router addr add fe80::1/64 dev eth0 nodad
                ip -n router link set eth0 up
                ip link set eth0 up";
                let renumber = "ip addr flush dev eth0 scope global";
                for change in [bounce, replace, renumber].iter().flat_map(|change| [change; 6]) {
                    sh(&format!(
                        "{change}
                    ip addr replace 10.2.0.2/24 dev eth0
                    ip addr replace 2001:db8:2::2/64 dev eth0 nodad
                    ip route replace default via 10.2.0.1
                    ip -6 route replace default via fe80::1 dev eth0"
                    ));
                    until_followed(
                        &mut session,
                        "
                        ip route show table 17600 | grep -q 'default via .*advmss 1440'
                        ip -6 route show table 17600 | grep -q 'default via .*advmss 1420'
                    ",
                    )
                    .await;
                    assert_eq!(status.get().put_back, 0, "after {change}");
                }
                session.undo().await.unwrap();
            });
            no_tun();
        },
    );
}

#[test]
fn routes_for_other_sources_are_not_copied() {
    alone("realserver6::routes_for_other_sources_are_not_copied", || {
        host6();
        let subtrees = sh("
            ip -6 route add 2001:db8:a::/64 from 2001:db8:9::/64 via 2001:db8:2::1 2>&1 || true
            ip -6 route add 2001:db8:b::/64 from 2001:db8:8::/64 via 2001:db8:2::1 2>&1 || true
        ");
        run(async {
            let mut session = start(&dual()).await;
            let copied = sh("ip -6 route show table 17600");
            // A kernel may lack CONFIG_IPV6_SUBTREES.
            let specific =
                copied.contains("2001:db8:a::/64 from 2001:db8:9::/64 via 2001:db8:2::1");
            assert_eq!(specific, subtrees.is_empty(), "{copied}");
            assert!(!copied.contains("2001:db8:b::/64"), "{copied}");
            session.undo().await.unwrap();
        });
        no_tun();
    });
}

#[test]
fn copies_follow_route_changes() {
    alone("realserver6::copies_follow_route_changes", || {
        host6();
        let before = picture();
        run(async {
            let mut session = start(&dual()).await;
            // From one next hop to two, then to another single one; to an unreachable route; and
            // back.
            let changes = [
                ("ip -6 route append default via 2001:db8:2::7", "nexthop via 2001:db8:2::7.*", 2),
                (
                    "ip -6 route del default; ip -6 route add default via 2001:db8:2::8",
                    "default via 2001:db8:2::8 .*advmss 1420",
                    1,
                ),
                (
                    "ip -6 route del default; ip -6 route add unreachable default",
                    "unreachable default",
                    1,
                ),
                (
                    "ip -6 route del default; ip -6 route add default via fe80::1 dev eth0",
                    "default via fe80::1 .*advmss 1420",
                    1,
                ),
            ];
            for (change, expected, ways) in changes {
                sh(change);
                let copied = format!(
                    "table=$(ip -6 route show table 17600 | grep -A2 default)
                    echo \"$table\" | grep -q '{expected}'
                    test $(echo \"$table\" | grep -c 'via\\|unreachable') = {ways}"
                );
                until_followed(&mut session, &copied).await;
            }
            session.undo().await.unwrap();
        });
        no_tun();
        assert_same(&before, &picture());
    });
}

#[test]
fn the_server_does_not_answer_neighbour_discovery_for_the_vip() {
    alone("realserver6::the_server_does_not_answer_neighbour_discovery_for_the_vip", || {
        host6();
        let asked = || {
            sh(&format!(
                "ip -n router route replace {VIP} dev eth0
                ip -n router neigh flush all
                ip netns exec router ping -c1 -W1 {VIP} >/dev/null 2>&1 || true
                ip -n router -6 neigh show {VIP}"
            ))
        };
        run(async {
            let mut session = start(&dual()).await;
            let seen = asked();
            assert!(!seen.contains("lladdr"), "{seen}");
            session.undo().await.unwrap();
        });
        no_tun();
        // For an address on the interface itself the kernel would answer.
        sh(&format!("ip addr add {VIP}/128 dev eth0 nodad"));
        let seen = asked();
        assert!(seen.contains("lladdr"), "{seen}");
        run(async {
            let mut session = Session::open(Path::new(CONTROL)).unwrap();
            let error = format!("{:#}", session.plan_realserver(&dual()).await.unwrap_err());
            assert!(error.contains("answer neighbour discovery for it"), "{error}");
            assert!(error.contains(&format!("ip addr del {VIP}/128 dev eth0")), "{error}");
        });
    });
}

#[test]
fn cleanup_removes_what_a_killed_real_server_left() {
    const TEST: &str = "realserver6::cleanup_removes_what_a_killed_real_server_left";
    alone(TEST, || {
        if is_killed(start(&dual())) {
            return;
        }
        host6();
        let before = picture();
        kill_one(TEST, |_| {});
        no_tun();
        assert!(sh("ip -6 rule").contains(VIP), "it left something behind");
        assert!(sh("ip -6 route show table 17600").contains("default"));
        cleanup(CONTROL).unwrap();
        assert_same(&before, &picture());
    });
}
