//! Default routes learnt from router advertisements (RFC 4861), which forwarding puts in danger.

use std::net::{Ipv6Addr, SocketAddrV6};

use socket2::{Domain, Protocol, Socket, Type};

use super::director::no_tun;
use super::director6::{dual, hosts6, start, without_force_forwarding};
use super::net::{alone, assert_same, on_errand, picture, run, send_into, sh, until, wait_for};

/// Sends a router advertisement out of `eth0` of this namespace: a router for half an hour, and no more.
fn advertise() {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)).unwrap();
    let link: u32 = sh("cat /sys/class/net/eth0/ifindex").trim().parse().unwrap();
    socket.set_multicast_hops_v6(255).unwrap();
    let [high, low] = 1800_u16.to_be_bytes();
    // Type 134, its checksum to be filled in by the kernel, hop limit 64, no flags, lifetime, no times.
    let message = [134, 0, 0, 0, 64, 0, high, low, 0, 0, 0, 0, 0, 0, 0, 0];
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    socket.send_to(&message, &SocketAddrV6::new(all_nodes, 0, 0, link).into()).unwrap();
}

const LEARNT: &str = "ip -6 route show default | grep -q 'via fe80::.* dev eth0 proto ra'";

fn learn(test: &str) {
    send_into("client", test);
    wait_for(LEARNT);
}

fn survives_start_and_stop(test: &str) {
    learn(test);
    let before = picture();
    run(async {
        let mut session = start(&dual()).await;
        sh(LEARNT);
        // And where it is lost, it is learnt again.
        sh("ip -6 route del default");
        send_into("client", test);
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
        if on_errand() {
            return advertise();
        }
        hosts6();
        survives_start_and_stop(TEST);
    });
}

#[test]
fn a_learnt_default_route_survives_forwarding_everywhere() {
    const TEST: &str = "routers::a_learnt_default_route_survives_forwarding_everywhere";
    alone(TEST, || {
        if on_errand() {
            return advertise();
        }
        hosts6();
        // Undoing writes to it last, which would purge the route anew.
        sh("sysctl -qw net.ipv6.conf.eth1.forwarding=1");
        without_force_forwarding();
        survives_start_and_stop(TEST);
    });
}

#[test]
fn an_interface_that_comes_later_learns_routes_too() {
    const TEST: &str = "routers::an_interface_that_comes_later_learns_routes_too";
    alone(TEST, || {
        if on_errand() {
            return advertise();
        }
        hosts6();
        without_force_forwarding();
        run(async {
            let mut session = start(&dual()).await;
            sh("ip link del eth1; ip link add eth1 type veth peer name eth0 netns real");
            let accepts = "test $(sysctl -n net.ipv6.conf.eth1.accept_ra) = 2";
            tokio::select! {
                told = async {
                    loop {
                        if let Err(error) = session.follow().await {
                            break error;
                        }
                    }
                } => panic!("{told:?}"),
                () = until(accepts) => {}
            }
            assert_eq!(sh("sysctl -n net.ipv6.conf.eth1.forwarding"), "1\n", "by `default`");
            session.undo().await.unwrap();
        });
        no_tun();
        assert_eq!(sh("sysctl -n net.ipv6.conf.eth1.accept_ra"), "1\n");
        assert_eq!(sh("sysctl -n net.ipv6.conf.eth1.forwarding"), "0\n");
    });
}
