//! Default routes from router advertisements (RFC 4861), which the kernel drops when forwarding is
//! enabled.

use std::net::{Ipv6Addr, SocketAddrV6};

use socket2::{Domain, Protocol, Socket, Type};

use super::director::no_tun;
use super::director6::{dual, hosts6, start, without_force_forwarding};
use super::net::{
    alone, assert_same, errand, picture, run, send_into, sh, until, until_followed, wait_for,
};
use super::{realserver, realserver6};

/// Sends a router advertisement out of `eth0` of this namespace. The errand: source address,
/// lifetime in seconds, and preference (RFC 4191 2.2: 8 is high, 0 medium).
fn advertise(errand: &str) {
    let words: Vec<&str> = errand.split(' ').collect();
    let [from, life, preference] = words[..] else { panic!("{errand}") };
    let from: Ipv6Addr = from.parse().unwrap();
    let [high, low] = life.parse::<u16>().unwrap().to_be_bytes();
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)).unwrap();
    let link: u32 = sh("cat /sys/class/net/eth0/ifindex").trim().parse().unwrap();
    socket.set_multicast_hops_v6(255).unwrap();
    socket.bind(&SocketAddrV6::new(from, 0, 0, link).into()).unwrap();
    // Type 134, a checksum for the kernel to fill in, hop limit 64, flags, lifetime, no times.
    let flags = preference.parse().unwrap();
    let message = [134, 0, 0, 0, 64, flags, high, low, 0, 0, 0, 0, 0, 0, 0, 0];
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    socket.send_to(&message, &SocketAddrV6::new(all_nodes, 0, 0, link).into()).unwrap();
}

/// A router with a lifetime of half an hour.
const ROUTER: &str = "fe80::1 1800 0";
const LEARNT: &str = "ip -6 route show default | grep -q 'via fe80::.* dev eth0 proto ra'";

fn learn(test: &str) {
    sh("ip -n client addr add fe80::1/64 dev eth0 nodad");
    send_into("client", test, ROUTER);
    wait_for(LEARNT);
}

fn survives_start_and_stop(test: &str) {
    learn(test);
    let before = picture();
    run(async {
        let mut session = start(&dual()).await;
        sh(LEARNT);
        // If it is lost, it is learnt again.
        sh("ip -6 route del default");
        send_into("client", test, ROUTER);
        until(LEARNT).await;
        session.undo().await.unwrap();
    });
    no_tun();
    sh(LEARNT);
    assert_same(&before, &picture());
}

#[test]
fn a_learnt_default_route_survives() {
    const TEST: &str = "routers::a_learnt_default_route_survives";
    alone(TEST, || {
        if let Some(errand) = errand() {
            return advertise(&errand);
        }
        hosts6();
        survives_start_and_stop(TEST);
    });
}

#[test]
fn a_learnt_default_route_survives_forwarding_everywhere() {
    const TEST: &str = "routers::a_learnt_default_route_survives_forwarding_everywhere";
    alone(TEST, || {
        if let Some(errand) = errand() {
            return advertise(&errand);
        }
        hosts6();
        // The undo writes to it last, which would purge the route again.
        sh("sysctl -qw net.ipv6.conf.eth1.forwarding=1");
        without_force_forwarding();
        survives_start_and_stop(TEST);
    });
}

#[test]
fn an_interface_that_comes_later_learns_routes_too() {
    alone("routers::an_interface_that_comes_later_learns_routes_too", || {
        hosts6();
        without_force_forwarding();
        run(async {
            let mut session = start(&dual()).await;
            sh("ip link del eth1; ip link add eth1 type veth peer name eth0 netns real");
            let accepts = "test $(sysctl -n net.ipv6.conf.eth1.accept_ra) = 2";
            until_followed(&mut session, accepts).await;
            assert_eq!(sh("sysctl -n net.ipv6.conf.eth1.forwarding"), "1\n", "by `default`");
            session.undo().await.unwrap();
        });
        no_tun();
        assert_eq!(sh("sysctl -n net.ipv6.conf.eth1.accept_ra"), "1\n");
        assert_eq!(sh("sysctl -n net.ipv6.conf.eth1.forwarding"), "0\n");
    });
}

#[test]
fn learnt_default_routers_are_copied_in_their_order() {
    const TEST: &str = "routers::learnt_default_routers_are_copied_in_their_order";
    alone(TEST, || {
        if let Some(errand) = errand() {
            return advertise(&errand);
        }
        realserver::host();
        sh("for a in fe80::1 fe80::2; do ip -n router addr add $a/64 dev eth0 nodad; done");
        let before = picture();
        send_into("router", TEST, "fe80::1 1800 0");
        send_into("router", TEST, "fe80::2 1800 8");
        wait_for("test $(ip -6 route show default proto ra | wc -l) = 2");
        run(async {
            let mut session = realserver6::start(&realserver6::dual()).await;
            let copies = sh("ip -6 route show table 17600");
            let copy = |router: &str| copies.lines().find(|line| line.contains(router)).unwrap();
            let preferred = copy("via fe80::2 ");
            assert!(
                preferred.contains("metric 1024") && preferred.contains("pref high"),
                "{copies}"
            );
            assert!(copy("via fe80::1 ").contains("metric 1025"), "{copies}");
            assert_eq!(copies.matches("advmss 1420").count(), 2, "{copies}");
            // One stops being a router, then the other.
            for router in ["fe80::2", "fe80::1"] {
                send_into("router", TEST, &format!("{router} 0 0"));
                let gone =
                    format!("test $(ip -6 route show table 17600 | grep -c 'via {router} ') = 0");
                until_followed(&mut session, &gone).await;
            }
            session.undo().await.unwrap();
        });
        no_tun();
        assert_same(&before, &picture());
    });
}
