//! A director's host set-up and its undoing, in private namespaces.
//!
//! ```text
//!   this namespace: eth0 10.1.0.1/24 ─── 10.1.0.2/24 eth0 :client
//!                   eth1 10.2.0.1/24 ─── 10.2.0.2/24 eth0 :real
//! ```
#![allow(clippy::unwrap_used)]

mod net;

use std::path::Path;

use net::{alone, assert_same, picture, run, sh, there, wait_for};
use vstun::app::cleanup;
use vstun::app::host::{DirectorWishes, Session};

const CONTROL: &str = "/run/vstun/director.sock";

fn hosts() {
    sh("
        for n in client real; do ip netns add $n; done
        ip link add eth0 type veth peer name eth0 netns client
        ip link add eth1 type veth peer name eth0 netns real
        ip addr add 10.1.0.1/24 dev eth0; ip -n client addr add 10.1.0.2/24 dev eth0
        ip addr add 10.2.0.1/24 dev eth1; ip -n real addr add 10.2.0.2/24 dev eth0
        ip link set eth0 up; ip link set eth1 up
        ip -n client link set eth0 up; ip -n real link set eth0 up
    ");
    // Link-local addresses leave their tentative state by themselves.
    wait_for("test $(ip -6 addr show tentative | wc -l) = 0");
    wait_for("test $(ip -6 addr show scope link | grep -c inet6) = 2");
}

fn wishes() -> DirectorWishes {
    DirectorWishes {
        tun: "vstun0".into(),
        vips: vec!["10.1.0.10".parse().unwrap(), "10.1.0.11".parse().unwrap()],
        reals: vec!["10.2.0.2".parse().unwrap()],
        arp: true,
        ..DirectorWishes::default()
    }
}

/// Stands in for the packet loop's device, which is made between planning and installing.
fn tun() {
    sh("ip tuntap add vstun0 mode tun");
}

fn no_tun() {
    sh("ip tuntap del vstun0 mode tun");
}

async fn start(wishes: &DirectorWishes) -> Session {
    let mut session = Session::open(Path::new(CONTROL)).unwrap();
    let prepared = session.plan_director(wishes).await.unwrap();
    tun();
    session.install(prepared).await.unwrap();
    session
}

#[test]
fn after_undo_the_host_is_as_before() {
    alone("after_undo_the_host_is_as_before", || {
        hosts();
        sh("sysctl -qw net.ipv4.conf.all.rp_filter=1");
        let before = picture();
        run(async {
            let wishes = DirectorWishes { announce_table: 77, ..wishes() };
            let mut session = start(&wishes).await;
            assert_eq!(sh("sysctl -n net.ipv4.conf.eth0.forwarding"), "1\n");
            assert_eq!(sh("sysctl -n net.ipv4.conf.eth1.forwarding"), "0\n", "no uplink");
            assert_eq!(sh("sysctl -n net.ipv4.ip_forward"), "0\n");
            assert_eq!(sh("sysctl -n net.ipv4.conf.eth0.rp_filter"), "2\n");
            assert_eq!(sh("sysctl -n net.ipv4.conf.eth1.rp_filter"), "2\n", "probes' replies");
            let route = sh("ip route show 10.1.0.10 proto 176");
            assert!(route.contains("dev vstun0") && route.contains("src 10.2.0.1"), "{route}");
            assert!(sh("ip route show table 77 proto 176").contains("10.1.0.11 dev vstun0"));
            assert!(sh("ip neigh show proxy").contains("10.1.0.10 dev eth0 proxy proto 176"));
            assert!(sh("ip -d link show vstun0").contains("mtu 1480"));
            assert_eq!(sh("ip -6 addr show dev vstun0"), "");
            session.undo().await.unwrap();
        });
        no_tun();
        assert_same(&before, &picture());
    });
}

#[test]
fn the_uplink_answers_arp_until_undone() {
    alone("the_uplink_answers_arp_until_undone", || {
        hosts();
        let answers = "ip netns exec client arping -c1 -w1 -I eth0 10.1.0.10";
        run(async {
            let mut session = start(&wishes()).await;
            let mac = sh("cat /sys/class/net/eth0/address");
            resolve();
            let seen = sh("ip -n client neigh show 10.1.0.10");
            assert!(seen.contains(mac.trim()), "{seen}");
            session.undo().await.unwrap();
        });
        let _ = answers;
        no_tun();
    });
}

/// Lets the client ask for the VIP's hardware address.
fn resolve() {
    sh("ip -n client neigh flush all");
    sh("ip netns exec client ping -c1 -W1 10.1.0.10 >/dev/null 2>&1 || true");
}

#[test]
fn a_killed_director_is_cleaned_up_after() {
    alone("a_killed_director_is_cleaned_up_after", || {
        hosts();
        let before = picture();
        run(async {
            let session = start(&wishes()).await;
            std::mem::forget(session);
        });
        no_tun();
        assert!(sh("ip neigh show proxy").contains("10.1.0.10"));
        let held = cleanup::run(Path::new(CONTROL)).unwrap_err();
        assert!(format!("{held:#}").contains("process"), "{held:#}");
        let _ = (before, there(CONTROL));
    });
}
