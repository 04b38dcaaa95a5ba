//! ```text
//!   this namespace: eth0 10.1.0.1/24 ─── 10.1.0.2/24 eth0 :client
//!                   eth1 10.2.0.1/24 ─── 10.2.0.2/24 eth0 :real
//! ```

use std::path::Path;
use std::sync::Mutex;

use super::net::{
    alone, assert_same, connect, picture, run, sh, there, until, until_followed, wait_for,
};
use vstun::app::host::{DesiredDirector, Session};

pub(crate) const CONTROL: &str = "/run/vstun/director.sock";

/// A netlink socket of this namespace is in a multicast group.
const SUBSCRIBED: &str = r#"awk '$4 ~ /[1-9a-f]/ { n++ } END { exit n < 2 }' /proc/net/netlink"#;

pub(crate) fn hosts() {
    connect("eth0", "10.1.0.1/24", "client", "10.1.0.2/24");
    connect("eth1", "10.2.0.1/24", "real", "10.2.0.2/24");
    // Link-local addresses leave the tentative state by themselves.
    wait_for("test $(ip -6 addr show scope link -tentative | grep -c inet6) = 2");
}

pub(crate) fn desired() -> DesiredDirector {
    DesiredDirector {
        tun: "vstun0".into(),
        vips: vec!["10.1.0.10".parse().unwrap(), "10.1.0.11".parse().unwrap()],
        reals: vec!["10.2.0.2".parse().unwrap()],
        arp: true,
        ..DesiredDirector::default()
    }
}

/// Replaces the packet loop's device, which the daemon creates between planning and installing.
pub(crate) fn tun() {
    sh("ip tuntap add vstun0 mode tun");
}

pub(crate) fn no_tun() {
    sh("ip tuntap del vstun0 mode tun");
}

pub(crate) async fn start(desired: &DesiredDirector) -> Session {
    let mut session = Session::open(Path::new(CONTROL)).unwrap();
    let prepared = session.plan_director(desired).await.unwrap();
    assert_eq!(prepared.tun_mtu(), 1480);
    tun();
    session.install(prepared).await.unwrap();
    session
}

/// The reason why it does not start.
/// Starts a second director with a virtual IP of its own, ends the first one, checks the host, and
/// ends the second one.
pub(crate) async fn outlived_by(
    mut first: Session,
    vip: &str,
    desired: DesiredDirector,
    check: impl FnOnce(),
) {
    let mut second = Session::open(Path::new("/run/vstun/second.sock")).unwrap();
    let vips = vec![vip.parse().unwrap()];
    let desired = DesiredDirector { tun: "vstun1".into(), vips, ..desired };
    let prepared = second.plan_director(&desired).await.unwrap();
    sh("ip tuntap add vstun1 mode tun");
    second.install(prepared).await.unwrap();
    first.undo().await.unwrap();
    drop(first);
    check();
    second.undo().await.unwrap();
    sh("ip tuntap del vstun1 mode tun");
}

async fn refused(desired: &DesiredDirector) -> String {
    let mut session = Session::open(Path::new(CONTROL)).unwrap();
    format!("{:#}", session.plan_director(desired).await.unwrap_err())
}

#[test]
fn after_undo_the_host_is_as_before() {
    alone("director::after_undo_the_host_is_as_before", || {
        hosts();
        sh("sysctl -qw net.ipv4.conf.all.rp_filter=1");
        let before = picture();
        run(async {
            let desired = DesiredDirector { announce_table: 77, ..desired() };
            let mut session = start(&desired).await;
            assert_eq!(sh("sysctl -n net.ipv4.conf.eth0.forwarding"), "1\n");
            assert_eq!(sh("sysctl -n net.ipv4.conf.eth1.forwarding"), "0\n", "no uplink");
            assert_eq!(sh("sysctl -n net.ipv4.ip_forward"), "0\n");
            assert_eq!(sh("sysctl -n net.ipv4.conf.eth0.rp_filter"), "2\n");
            assert_eq!(sh("sysctl -n net.ipv4.conf.eth1.rp_filter"), "2\n", "probes' replies");
            let route = sh("ip route show 10.1.0.10 proto 176");
            assert!(route.contains("dev vstun0") && route.contains("src 10.2.0.1"), "{route}");
            assert!(sh("ip route show table 77 proto 176").contains("10.1.0.11 dev vstun0"));
            let proxy = sh("ip neigh show proxy");
            assert!(proxy.contains("10.1.0.10 dev eth0 proxy"), "{proxy}");
            assert!(proxy.contains("proto 176"), "{proxy}");
            assert!(!proxy.contains("eth1"), "{proxy}");
            assert!(sh("ip link show vstun0").contains("mtu 1480"));
            assert_eq!(sh("ip -6 addr show dev vstun0"), "");
            session.undo().await.unwrap();
        });
        no_tun();
        assert_same(&before, &picture());
    });
}

#[test]
fn a_device_removed_before_the_undo_is_no_failure() {
    alone("director::a_device_removed_before_the_undo_is_no_failure", || {
        hosts();
        let before = picture();
        run(async {
            let mut session = start(&desired()).await;
            no_tun();
            sh("ip link del eth1");
            session.undo().await.unwrap();
        });
        let after = picture();
        assert_eq!(
            before.lines().filter(|line| line.contains("eth0")).collect::<Vec<_>>(),
            after.lines().filter(|line| line.contains("eth0")).collect::<Vec<_>>()
        );
        assert!(!there("/run/vstun"));
    });
}

#[test]
fn the_uplink_answers_arp_until_undone() {
    alone("director::the_uplink_answers_arp_until_undone", || {
        hosts();
        let asked = || {
            sh("ip -n client neigh flush all
                ip netns exec client ping -c1 -W1 10.1.0.10 >/dev/null 2>&1 || true
                ip -n client neigh show 10.1.0.10")
        };
        run(async {
            let mut session = start(&desired()).await;
            let link = sh("ip -br link show eth0");
            let mac = link.split_whitespace().nth(2).unwrap();
            let seen = asked();
            assert!(seen.contains(mac), "{mac}: {seen}");
            session.undo().await.unwrap();
        });
        no_tun();
        let seen = asked();
        assert!(!seen.contains("lladdr"), "{seen}");
    });
}

#[test]
fn neighbours_with_another_cached_address_are_updated() {
    alone("director::neighbours_with_another_cached_address_are_updated", || {
        hosts();
        sh("ip -n client neigh add 10.1.0.10 lladdr 02:00:00:00:00:99 dev eth0 nud stale");
        run(async {
            let mut session = start(&desired()).await;
            let link = sh("ip -br link show eth0");
            let mac = link.split_whitespace().nth(2).unwrap();
            until(&format!("ip -n client neigh show 10.1.0.10 | grep -q {mac}")).await;
            session.undo().await.unwrap();
        });
        no_tun();
    });
}

#[test]
fn another_host_with_the_address_is_named_and_refused() {
    alone("director::another_host_with_the_address_is_named_and_refused", || {
        hosts();
        sh("ip -n client addr add 10.1.0.11/24 dev eth0");
        let link = sh("ip -n client -br link show eth0");
        let mac = link.split_whitespace().nth(2).unwrap().to_owned();
        let before = picture();
        run(async {
            let mut session = Session::open(Path::new(CONTROL)).unwrap();
            let prepared = session.plan_director(&desired()).await.unwrap();
            tun();
            let error = format!("{:#}", session.install(prepared).await.unwrap_err());
            assert!(error.contains(&mac) && error.contains("10.1.0.11"), "{error}");
            assert!(error.contains("eth0") && error.contains("--force"), "{error}");
        });
        no_tun();
        assert_same(&before, &picture());
        run(async {
            let mut session = start(&DesiredDirector { force: true, ..desired() }).await;
            assert!(sh("ip neigh show proxy").contains("10.1.0.11 dev eth0"));
            session.undo().await.unwrap();
        });
        no_tun();
    });
}

#[test]
fn refusals_change_nothing() {
    alone("director::refusals_change_nothing", || {
        hosts();
        sh("ip addr add 10.1.0.12/32 dev lo; ip tuntap add tun9 mode tun");
        sh("ip route add 10.1.0.13/32 dev eth1");
        let before = picture();
        run(async {
            let vip = |vip: &str| DesiredDirector { vips: vec![vip.parse().unwrap()], ..desired() };
            let error = refused(&vip("10.1.0.12")).await;
            assert!(error.contains("ip addr del 10.1.0.12/32 dev lo"), "{error}");
            let error = refused(&vip("10.1.0.13")).await;
            assert!(error.contains("ip route del 10.1.0.13 table 254"), "{error}");
            let error = refused(&DesiredDirector { tun: "tun9".into(), ..desired() }).await;
            assert!(error.contains("\"tun9\" exists already"), "{error}");
            let uplinks = Some(vec!["eth9".to_owned()]);
            let error = refused(&DesiredDirector { uplinks, ..desired() }).await;
            assert!(error.contains("no interface \"eth9\""), "{error}");
        });
        assert_same(&before, &picture());
    });
}

#[test]
fn a_failed_step_undoes_those_before_it() {
    alone("director::a_failed_step_undoes_those_before_it", || {
        hosts();
        let before = picture();
        log::set_logger(&SAID).unwrap();
        log::set_max_level(log::LevelFilter::Info);
        run(async {
            let mut session = Session::open(Path::new(CONTROL)).unwrap();
            let prepared = session.plan_director(&desired()).await.unwrap();
            tun();
            // Read-only, as in many containers.
            sh("mount --bind /proc/sys/net/ipv4/conf/eth0 /proc/sys/net/ipv4/conf/eth0");
            sh("mount -o remount,bind,ro /proc/sys/net/ipv4/conf/eth0");
            let error = format!("{:#}", session.install(prepared).await.unwrap_err());
            assert!(error.contains("sysctl net/ipv4/conf/eth0/forwarding to 1"), "{error}");
            assert!(error.contains("sysctl -w"), "{error}");
            sh("umount /proc/sys/net/ipv4/conf/eth0; rm -rf /run/mount");
        });
        no_tun();
        assert_same(&before, &picture());
        let said = SAID.0.lock().unwrap().join("\n");
        assert!(!said.contains("net/ipv4/conf/eth0"), "it was never changed: {said}");
    });
}

static SAID: Said = Said(Mutex::new(Vec::new()));

/// A logger that keeps its lines.
struct Said(Mutex<Vec<String>>);

impl log::Log for Said {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.0.lock().unwrap().push(record.args().to_string());
    }

    fn flush(&self) {}
}

#[test]
fn a_link_that_flaps_is_announced_again() {
    alone("director::a_link_that_flaps_is_announced_again", || {
        hosts();
        run(async {
            let mut session = start(&desired()).await;
            sh("ip link set eth0 down");
            assert_eq!(sh("ip neigh show proxy"), "", "the kernel takes the entries away");
            sh("ip link set eth0 up");
            until_followed(&mut session, "ip neigh show proxy | grep -q '10.1.0.10 dev eth0'")
                .await;
            session.undo().await.unwrap();
        });
        no_tun();
    });
}

/// With an interface's last address the kernel removes the routes that prefer it and the proxy
/// entries there: no other program has undone them.
#[test]
fn what_goes_with_an_address_comes_back_with_it_however_often() {
    alone("director::what_goes_with_an_address_comes_back_with_it_however_often", || {
        hosts();
        run(async {
            let mut session = start(&desired()).await;
            let status = session.status();
            until_followed(&mut session, SUBSCRIBED).await;
            let mut removals = 0;
            // A look at the host between a removal and its message counts it: on a busy machine
            // several of them, but not half.
            while removals < 14 || status.get().put_back * 2 >= removals && removals < 100 {
                removals += 2;
                sh("
                    ip addr flush dev eth0 scope global; ip addr add 10.1.0.1/24 dev eth0
                    ip addr flush dev eth1 scope global; ip addr add 10.2.0.1/24 dev eth1
                ");
                until_followed(
                    &mut session,
                    "
                        ip neigh show proxy | grep -q '10.1.0.10 dev eth0'
                        ip route show 10.1.0.10 | grep -q 'dev vstun0'
                        ip route show 10.1.0.11 | grep -q 'dev vstun0'
                    ",
                )
                .await;
            }
            let counted = status.get().put_back;
            assert!(counted * 2 < removals, "{counted} of {removals}");
            session.undo().await.unwrap();
        });
        no_tun();
    });
}

#[test]
fn a_reload_installs_the_difference() {
    alone("director::a_reload_installs_the_difference", || {
        hosts();
        let before = picture();
        run(async {
            let mut session = start(&desired()).await;
            let vips = vec!["10.1.0.11".parse().unwrap(), "10.1.0.12".parse().unwrap()];
            let desired = DesiredDirector { vips, ..desired() };
            let prepared = session.plan_director(&desired).await.unwrap();
            session.install(prepared).await.unwrap();
            let proxy = sh("ip neigh show proxy");
            assert!(proxy.contains("10.1.0.12") && proxy.contains("10.1.0.11"), "{proxy}");
            assert!(!proxy.contains("10.1.0.10"), "{proxy}");
            assert_eq!(sh("ip route show 10.1.0.10 proto 176"), "");
            session.undo().await.unwrap();
        });
        no_tun();
        assert_same(&before, &picture());
    });
}

#[test]
fn an_uplink_that_is_plugged_in_again_is_set_up_again() {
    alone("director::an_uplink_that_is_plugged_in_again_is_set_up_again", || {
        hosts();
        sh("sysctl -qw net.ipv4.neigh.eth0.proxy_delay=60");
        run(async {
            let mut session = start(&desired()).await;
            sh("ip link del eth0");
            sh("
                ip link add eth0 type veth peer name eth0 netns client
                ip addr add 10.1.0.1/24 dev eth0; ip link set eth0 up; ip -n client link set eth0 up
            ");
            // The uplink has a new index, which is reported for the fast path.
            until_followed(
                &mut session,
                "
                    ip neigh show proxy | grep -q '10.1.0.10 dev eth0'
                    test $(sysctl -n net.ipv4.conf.eth0.forwarding) = 1
                    test $(sysctl -n net.ipv4.neigh.eth0.proxy_delay) = 0
                ",
            )
            .await;
            session.undo().await.unwrap();
        });
        no_tun();
        assert_eq!(sh("sysctl -n net.ipv4.conf.eth0.forwarding"), "0\n");
        assert_eq!(sh("sysctl -n net.ipv4.neigh.eth0.proxy_delay"), "80\n", "the new one's own");
    });
}

#[test]
fn the_capture_outlives_its_source_address() {
    alone("director::the_capture_outlives_its_source_address", || {
        hosts();
        run(async {
            let mut session = start(&desired()).await;
            sh("ip addr del 10.2.0.1/24 dev eth1");
            assert_eq!(sh("ip route show 10.1.0.10 proto 176"), "", "the kernel takes it away");
            sh("ip addr add 10.2.0.3/24 dev eth1");
            let changed = session.follow().await.unwrap();
            let real = "10.2.0.2".parse().unwrap();
            let new = [(real, "10.2.0.3".parse().unwrap())];
            assert_eq!(changed.sources, new.into(), "the old one is gone");
            let route = sh("ip route show 10.1.0.10 proto 176");
            assert!(route.contains("src 10.2.0.3"), "{route}");
            session.undo().await.unwrap();
        });
        no_tun();
    });
}

#[test]
fn a_changed_link_or_route_is_reported_and_the_tun_keeps_the_largest_size() {
    alone(
        "director::a_changed_link_or_route_is_reported_and_the_tun_keeps_the_largest_size",
        || {
            hosts();
            let reals = ["10.2.0.2", "10.2.0.3"].map(|real| real.parse().unwrap());
            let desired = DesiredDirector { reals: reals.to_vec(), ..desired() };
            run(async {
                let mut session = start(&desired).await;
                let mut mtus = async |change: &str| {
                    sh(change);
                    let changed = session.follow().await.unwrap();
                    let tun = sh("ip link show vstun0 | grep -o 'mtu [0-9]*'");
                    (reals.map(|real| changed.mtus[&real]), tun)
                };
                let route = mtus("ip route add 10.2.0.3 dev eth1 mtu 1400").await;
                assert_eq!(route, ([1_500, 1_400], "mtu 1480\n".to_owned()));
                let link = mtus("ip link set eth1 mtu 1300").await;
                assert_eq!(link, ([1_300, 1_300], "mtu 1280\n".to_owned()));
                session.undo().await.unwrap();
            });
            no_tun();
        },
    );
}
