//! A director with IPv6, with and without IPv4, on the hosts of `director`:
//!
//! ```text
//!   this namespace: eth0 2001:db8:1::1/64 ─── 2001:db8:1::2/64 eth0 :client
//!                   eth1 2001:db8:2::1/64 ─── 2001:db8:2::2/64 eth0 :real
//! ```

mod neighbours;
mod sources;

use std::net::IpAddr;
use std::path::Path;

use super::director::{CONTROL, hosts, no_tun, outlived_by, tun};
use super::net::{
    alone, assert_same, cleanup, is_killed, kill_one, picture, run, sh, until, until_followed,
    wait_for, wait_for_addresses,
};
use vstun::app::host::{DesiredDirector, Session};
use vstun::host::OuterSources;
use vstun::sys::tun::Tun;

pub(crate) const VIP: &str = "2001:db8:1::10";
const REAL: &str = "2001:db8:2::2";

/// The setting that makes the host forward: `force_forwarding` if the kernel has it, else
/// `all/forwarding`.
const VARIANTS: [bool; 2] = [false, true];

pub(crate) fn hosts6() {
    hosts();
    sh("
        ip addr add 2001:db8:1::1/64 dev eth0 nodad
        ip -n client addr add 2001:db8:1::2/64 dev eth0 nodad
        ip addr add 2001:db8:2::1/64 dev eth1 nodad
        ip -n real addr add 2001:db8:2::2/64 dev eth0 nodad
    ");
    wait_for_addresses(&["2001:db8:1::1", "2001:db8:2::1"]);
}

/// Simulates a kernel older than Linux 6.17, without this setting.
pub(crate) fn without_force_forwarding() {
    sh("
        file=/proc/sys/net/ipv6/conf/eth0/force_forwarding
        test ! -e $file || mount --bind /dev/null $file
    ");
}

fn forces() -> bool {
    sh("cat /proc/sys/net/ipv6/conf/eth0/force_forwarding || true").trim() == "0"
}

pub(crate) fn dual() -> DesiredDirector {
    DesiredDirector {
        vips: vec!["10.1.0.10".parse().unwrap(), VIP.parse().unwrap()],
        reals: vec!["10.2.0.2".parse().unwrap(), REAL.parse().unwrap()],
        ..super::director::desired()
    }
}

fn only6() -> DesiredDirector {
    DesiredDirector {
        vips: vec![VIP.parse().unwrap()],
        reals: vec![REAL.parse().unwrap()],
        ..super::director::desired()
    }
}

pub(crate) async fn start(desired: &DesiredDirector) -> Session {
    let mut session = Session::open(Path::new(CONTROL)).unwrap();
    let prepared = session.plan_director(desired).await.unwrap();
    let widest = if desired.reals.iter().any(IpAddr::is_ipv4) { 1480 } else { 1460 };
    assert_eq!(prepared.tun_mtu(), widest);
    let source = "2001:db8:2::1".parse().unwrap();
    assert_eq!(prepared.tunnel_routes().sources.get(&REAL.parse().unwrap()), Some(&source));
    tun();
    session.install(prepared).await.unwrap();
    session
}

fn mac_of(link: &str) -> String {
    sh(&format!("ip {link} -br link show eth0 | awk '{{print $3}}'")).trim().to_owned()
}

#[test]
fn after_undo_the_host_is_as_before() {
    alone("director6::after_undo_the_host_is_as_before", || {
        hosts6();
        // One that is a router on its own account, and must be one again.
        sh("sysctl -qw net.ipv6.conf.eth1.forwarding=1");
        for masked in VARIANTS {
            if masked {
                without_force_forwarding();
            }
            let forces = forces();
            for desired in [dual(), only6()] {
                let before = picture();
                run(async {
                    let desired = DesiredDirector { announce_table: 77, ..desired };
                    let mut session = start(&desired).await;
                    check_installed(forces);
                    session.undo().await.unwrap();
                });
                no_tun();
                assert_same(&before, &picture());
            }
        }
    });
}

fn check_installed(forces: bool) {
    let route = sh(&format!("ip -6 route show {VIP} proto 176"));
    assert!(route.contains("dev vstun0") && route.contains("src 2001:db8:2::1"), "{route}");
    assert!(sh("ip -6 route show table 77 proto 176").contains(&format!("{VIP} dev vstun0")));
    let proxy = sh("ip -6 neigh show proxy");
    assert_eq!(proxy.trim(), format!("{VIP} dev eth0 proxy proto 176"));
    let setting = |path: &str| sh(&format!("cat /proc/sys/net/ipv6/{path}")).trim().to_owned();
    assert_eq!(setting("conf/eth0/proxy_ndp"), "1");
    assert_eq!(setting("neigh/eth0/proxy_delay"), "0");
    assert_eq!(setting("conf/eth0/forwarding"), "1");
    assert_eq!(setting("conf/eth0/accept_ra"), "2");
    assert_eq!(setting("conf/all/forwarding"), if forces { "0" } else { "1" });
    assert_eq!(setting("conf/lo/forwarding"), if forces { "0" } else { "1" });
    assert_eq!(setting("conf/eth1/accept_ra"), "1", "it learns nothing: it is a router");
    assert_eq!(setting("conf/vstun0/disable_ipv6"), "0");
    assert_eq!(setting("conf/vstun0/accept_ra"), "0");
    assert_eq!(sh("ip -6 addr show dev vstun0"), "", "no router solicitations");
}

#[test]
fn cleanup_removes_what_a_killed_director_left() {
    const TEST: &str = "director6::cleanup_removes_what_a_killed_director_left";
    alone(TEST, || {
        if is_killed(start(&dual())) {
            return;
        }
        hosts6();
        sh("sysctl -qw net.ipv6.conf.eth1.forwarding=1");
        for masked in VARIANTS {
            if masked {
                without_force_forwarding();
            }
            let before = picture();
            kill_one(TEST, |_| {});
            no_tun();
            assert!(sh("ip -6 neigh show proxy").contains(VIP), "it left something behind");
            cleanup(CONTROL).unwrap();
            assert_same(&before, &picture());
        }
    });
}

#[test]
fn the_next_start_takes_over_and_undoes_it_all() {
    const TEST: &str = "director6::the_next_start_takes_over_and_undoes_it_all";
    alone(TEST, || {
        if is_killed(start(&dual())) {
            return;
        }
        hosts6();
        sh("sysctl -qw net.ipv6.conf.eth1.forwarding=1");
        for masked in VARIANTS {
            if masked {
                without_force_forwarding();
            }
            let forces = forces();
            let before = picture();
            kill_one(TEST, |_| {});
            no_tun();
            run(async {
                let desired = DesiredDirector { announce_table: 77, ..dual() };
                let mut session = start(&desired).await;
                check_installed(forces);
                session.undo().await.unwrap();
            });
            no_tun();
            assert_same(&before, &picture());
        }
    });
}

#[test]
fn packets_come_out_of_the_tun() {
    alone("director6::packets_come_out_of_the_tun", || {
        hosts6();
        for masked in VARIANTS {
            if masked {
                without_force_forwarding();
            }
            run(async {
                let mut session = Session::open(Path::new(CONTROL)).unwrap();
                let prepared = session.plan_director(&dual()).await.unwrap();
                let tun = Tun::create("vstun0", prepared.tun_mtu(), false).unwrap();
                session.install(prepared).await.unwrap();
                sh(&format!("ip netns exec client ping -c1 -W1 {VIP} >/dev/null || true"));
                let heard = packets_for_the_vip(&tun);
                let types: Vec<[u8; 2]> =
                    heard.iter().map(|packet| [packet[6], packet[40]]).collect();
                assert_eq!(types, [[58, 128]], "one ICMPv6 echo request");
                assert_eq!(sh("ip -6 addr show dev vstun0"), "", "no router solicitations there");
                session.undo().await.unwrap();
            });
        }
    });
}

/// The packets received so far, without the kernel's own multicast reports.
fn packets_for_the_vip(tun: &Tun) -> Vec<Vec<u8>> {
    let vip = VIP.parse::<std::net::Ipv6Addr>().unwrap().octets();
    let mut frame = [0; 2000];
    let mut packets = Vec::new();
    while let Ok(read) = tun.read(&mut frame) {
        if frame[10] >> 4 == 6 && frame[10 + 24..10 + 40] == vip {
            packets.push(frame[10..read].to_vec());
        }
    }
    packets
}

#[test]
fn a_reload_adds_and_removes_ipv6() {
    alone("director6::a_reload_adds_and_removes_ipv6", || {
        hosts6();
        let before = picture();
        run(async {
            let only4 = super::director::desired();
            let mut session = super::director::start(&only4).await;
            let with4 = settings();
            let prepared = session.plan_director(&dual()).await.unwrap();
            session.install(prepared).await.unwrap();
            assert!(sh(&format!("ip -6 route show {VIP}")).contains("vstun0"));
            assert_eq!(sh("ip -6 addr show dev vstun0"), "");
            let prepared = session.plan_director(&only4).await.unwrap();
            session.install(prepared).await.unwrap();
            assert_same(&with4, &settings());
            session.undo().await.unwrap();
        });
        no_tun();
        assert_same(&before, &picture());
    });
}

/// The settings without those of the TUN, which is removed.
fn settings() -> String {
    sh("sysctl -a -r '^net' 2>/dev/null | grep -v vstun0; ip -6 route show table all")
}

#[test]
fn two_directors_share_forwarding_and_the_last_restores_it() {
    alone("director6::two_directors_share_forwarding_and_the_last_restores_it", || {
        hosts6();
        sh("sysctl -qw net.ipv6.conf.eth1.forwarding=1");
        without_force_forwarding();
        let before = picture();
        run(async {
            let first = start(&dual()).await;
            outlived_by(first, "2001:db8:1::20", dual(), || {
                assert_eq!(sh("sysctl -n net.ipv6.conf.all.forwarding"), "1\n", "still relied on");
                assert_eq!(sh("sysctl -n net.ipv6.conf.eth0.accept_ra"), "2\n", "still relied on");
            })
            .await;
        });
        no_tun();
        let after = picture();
        assert_same(&before.replace("/run/vstun\n", ""), &after.replace("/run/vstun\n", ""));
    });
}

#[test]
fn a_host_without_ipv6_serves_ipv4_and_refuses_the_rest() {
    alone("director6::a_host_without_ipv6_serves_ipv4_and_refuses_the_rest", || {
        hosts();
        let only4 = super::director::desired();
        let refused = || {
            run(async {
                let mut session = Session::open(Path::new(CONTROL)).unwrap();
                format!("{:#}", session.plan_director(&dual()).await.unwrap_err())
            })
        };
        let serves = || {
            let before = picture();
            run(async {
                let mut session = super::director::start(&only4).await;
                session.undo().await.unwrap();
            });
            no_tun();
            assert_same(&before, &picture());
        };
        sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=1");
        serves();
        let error = refused();
        assert!(error.contains("sysctl -w net.ipv6.conf.all.disable_ipv6=0"), "{error}");
        sh("mkdir /run/none; mount --bind /run/none /proc/sys/net/ipv6");
        serves();
        let error = refused();
        assert!(error.contains("no sysctl net.ipv6.conf.all.disable_ipv6"), "{error}");
    });
}
