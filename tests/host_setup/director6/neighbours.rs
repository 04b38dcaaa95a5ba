//! Neighbour discovery on the uplinks, and routes to real servers without a router.

use super::*;

#[test]
fn the_uplink_answers_neighbour_discovery_until_undone() {
    alone("director6::neighbours::the_uplink_answers_neighbour_discovery_until_undone", || {
        hosts6();
        let asked = || {
            sh(&format!(
                "ip -n client neigh flush all
                ip netns exec client ping -c1 -W1 {VIP} >/dev/null 2>&1 || true
                ip -n client -6 neigh show {VIP}"
            ))
        };
        run(async {
            let mut session = start(&only6()).await;
            let (mac, seen) = (mac_of(""), asked());
            assert!(seen.contains(&mac), "{mac}: {seen}");
            session.undo().await.unwrap();
        });
        no_tun();
        let seen = asked();
        assert!(!seen.contains("lladdr"), "{seen}");
    });
}

#[test]
fn neighbours_with_another_cached_address_are_updated() {
    alone("director6::neighbours::neighbours_with_another_cached_address_are_updated", || {
        hosts6();
        let forget =
            format!("ip -n client neigh replace {VIP} lladdr 02:00:00:00:00:99 dev eth0 nud stale");
        let updated = format!("ip -n client neigh show {VIP} | grep -q {}", mac_of(""));
        sh(&forget);
        run(async {
            let mut session = start(&dual()).await;
            until(&updated).await;
            // And again after the link was down.
            sh("ip link set eth0 down; ip link set eth0 up");
            sh("ip addr add 2001:db8:1::1/64 dev eth0 nodad");
            sh(&forget);
            until_followed(&mut session, &updated).await;
            session.undo().await.unwrap();
        });
        no_tun();
    });
}

#[test]
fn another_host_with_the_address_is_named_and_refused() {
    alone("director6::neighbours::another_host_with_the_address_is_named_and_refused", || {
        hosts6();
        let has = "addr add 2001:db8:1::10/64 dev eth0 nodad";
        let had = "addr del 2001:db8:1::10/64 dev eth0";
        // Another director answers as a proxy.
        let proxy = "neigh add proxy 2001:db8:1::10 dev eth0";
        let no_proxy = "neigh del proxy 2001:db8:1::10 dev eth0";
        sh("ip netns exec client sysctl -qw \
            net.ipv6.conf.eth0.forwarding=1 net.ipv6.conf.eth0.proxy_ndp=1 \
            net.ipv6.neigh.eth0.proxy_delay=0");
        for (there, gone) in [(has, had), (proxy, no_proxy)] {
            sh(&format!("ip -n client -6 {there}"));
            let before = picture();
            run(async {
                let mut session = Session::open(Path::new(CONTROL)).unwrap();
                let prepared = session.plan_director(&dual()).await.unwrap();
                tun();
                let error = format!("{:#}", session.install(prepared).await.unwrap_err());
                let said = format!(
                    "another host answers neighbour discovery for virtual IP {VIP} on eth0"
                );
                assert!(error.contains(&said) && error.contains(&mac_of("-n client")), "{error}");
                assert!(error.contains("--force"), "{error}");
            });
            no_tun();
            assert_same(&before, &picture());
            run(async {
                let mut session = start(&DesiredDirector { force: true, ..dual() }).await;
                assert!(sh("ip -6 neigh show proxy").contains(VIP));
                session.undo().await.unwrap();
            });
            no_tun();
            sh(&format!("ip -n client -6 {gone}"));
        }
    });
}

/// Real servers that the director reaches without a router.
fn with_neighbour_routes() -> DesiredDirector {
    DesiredDirector { neighbour_routes: true, ..dual() }
}

#[test]
fn neighbour_routes_are_installed_and_undone() {
    alone("director6::neighbours::neighbour_routes_are_installed_and_undone", || {
        hosts6();
        let before = picture();
        run(async {
            let mut session = start(&with_neighbour_routes()).await;
            let way = sh("ip route get 10.2.0.2");
            assert!(way.contains("via 10.2.0.2 dev eth1 src 10.2.0.1"), "{way}");
            let way = sh("ip -6 route get 2001:db8:2::2");
            assert!(way.contains("via 2001:db8:2::2 dev eth1"), "{way}");
            sh("ping -c 1 -W 5 10.2.0.2; ping -c 1 -W 5 2001:db8:2::2");
            let fewer = DesiredDirector { reals: dual().reals[1..].to_vec(), ..dual() };
            let prepared = session.plan_director(&fewer).await.unwrap();
            session.install(prepared).await.unwrap();
            assert_eq!(sh("ip route show 10.2.0.2; ip -6 route show 2001:db8:2::2"), "");
            session.undo().await.unwrap();
        });
        no_tun();
        // Neighbour entries that pings created are the kernel's own.
        sh("ip neigh flush all");
        assert_same(&before, &picture());
    });
}

/// A route to a single address hides every route to its network.
#[test]
fn a_real_server_that_moves_behind_a_router_is_found_there() {
    alone("director6::neighbours::a_real_server_that_moves_behind_a_router_is_found_there", || {
        hosts6();
        run(async {
            let mut session = start(&with_neighbour_routes()).await;
            sh("
                ip addr add 10.9.0.1/24 dev eth1; ip addr del 10.2.0.1/24 dev eth1
                ip route add 10.2.0.0/24 via 10.9.0.2 dev eth1
            ");
            until_followed(&mut session, "ip route get 10.2.0.2 | grep -q 'via 10.9.0.2 dev eth1'")
                .await;
            sh("ip route del 10.2.0.0/24; ip addr add 10.2.0.1/24 dev eth1");
            until_followed(&mut session, "ip route get 10.2.0.2 | grep -q 'via 10.2.0.2 dev eth1'")
                .await;
            // A second address on the network changes nothing; only a router in between does.
            sh("ip route add 10.2.0.0/25 via 10.9.0.2 dev eth1");
            until_followed(&mut session, "ip route get 10.2.0.2 | grep -q 'via 10.9.0.2 dev eth1'")
                .await;
            session.undo().await.unwrap();
        });
        no_tun();
    });
}
