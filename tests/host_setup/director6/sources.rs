//! The director's own addresses towards its real servers.

use super::*;

/// The next sources that the session reports; fails after a time limit.
async fn next_sources(session: &mut Session) -> OuterSources {
    let patience = std::time::Duration::from_secs(20);
    let changed = tokio::time::timeout(patience, session.follow()).await;
    let changed = changed.expect("a report of the sources").unwrap();
    changed.sources.into_iter().filter(|(real, _)| real.is_ipv6()).collect()
}

#[test]
fn a_changed_source_address_is_reported() {
    alone("director6::sources::a_changed_source_address_is_reported", || {
        hosts6();
        let real = REAL.parse().unwrap();
        run(async {
            let mut session = start(&dual()).await;
            sh("ip addr del 2001:db8:2::1/64 dev eth1; ip addr add 2001:db8:2::3/64 dev eth1 \
                nodad");
            let changed = next_sources(&mut session).await;
            assert_eq!(changed, [(real, "2001:db8:2::3".parse().unwrap())].into());
            let route = format!("ip -6 route show {VIP} proto 176 | grep -q 'src 2001:db8:2::3'");
            until(&route).await;

            // If the future is dropped and called again, it has missed nothing.
            sh("ip addr del 2001:db8:2::3/64 dev eth1");
            drop(tokio::time::timeout(std::time::Duration::ZERO, session.follow()).await);
            assert_eq!(next_sources(&mut session).await, [].into(), "no route");
            sh("ip addr add 2001:db8:2::1/64 dev eth1 nodad");
            let changed = next_sources(&mut session).await;
            assert_eq!(changed, [(real, "2001:db8:2::1".parse().unwrap())].into());
            session.undo().await.unwrap();
        });
        no_tun();
    });
}

#[test]
fn a_director_starts_while_its_only_usable_address_is_link_local() {
    alone(
        "director6::sources::a_director_starts_while_its_only_usable_address_is_link_local",
        || {
            hosts6();
            sh("
            ip addr del 2001:db8:1::1/64 dev eth0
            ip addr del 2001:db8:2::1/64 dev eth1
            ip route add 2001:db8:2::/64 dev eth1
        ");
            wait_for(&format!("ip -6 route get {REAL} | grep -q 'src fe80:'"));
            run(async {
                let mut session = Session::open(Path::new(CONTROL)).unwrap();
                let desired = DesiredDirector { uplinks: Some(vec!["eth0".into()]), ..only6() };
                let prepared = session.plan_director(&desired).await.unwrap();
                assert_eq!(prepared.tunnel_routes().sources, [].into());
                tun();
                session.install(prepared).await.unwrap();
                sh("ip addr add 2001:db8:2::1/64 dev eth1 nodad");
                let changed = next_sources(&mut session).await;
                let source = "2001:db8:2::1".parse().unwrap();
                assert_eq!(changed, [(REAL.parse().unwrap(), source)].into());
                until(&format!("ip -6 route show {VIP} proto 176 | grep -q 'src 2001:db8:2::1'"))
                    .await;
                session.undo().await.unwrap();
            });
            no_tun();
        },
    );
}

#[test]
fn a_source_is_restored_in_the_route() {
    alone("director6::sources::a_source_is_restored_in_the_route", || {
        hosts6();
        run(async {
            let mut session = start(&dual()).await;
            sh("ip addr del 2001:db8:2::1/64 dev eth1; ip addr add 2001:db8:2::1/64 dev eth1 \
                nodad");
            let route = sh(&format!("ip -6 route show {VIP} proto 176"));
            assert!(!route.contains("src"), "the kernel keeps the route without it: {route}");
            let again = format!("ip -6 route show {VIP} proto 176 | grep -q 'src 2001:db8:2::1'");
            until_followed(&mut session, &again).await;
            session.undo().await.unwrap();
        });
        no_tun();
    });
}
