//! The leftovers of a killed daemon on the host, and their removal.

use std::path::Path;

use super::director::{CONTROL, desired, hosts, no_tun, outlived_by, start};
use super::net::{
    alone, assert_same, await_the_kill, cleanup, kill_one, picture, run, sh, there, victim,
};
use vstun::app::host::{DesiredDirector, Session};

/// A director that starts and is killed.
fn killed(test: &str, meanwhile: impl FnOnce(u32)) {
    kill_one(test, meanwhile);
    no_tun();
    assert!(sh("ip neigh show proxy").contains("10.1.0.10"), "it left something behind");
}

fn be_killed() {
    run(async {
        let _session = start(&desired()).await;
        let _socket = std::os::unix::net::UnixListener::bind(CONTROL).unwrap();
        await_the_kill().await;
    });
}

#[test]
fn cleanup_removes_what_a_killed_director_left() {
    const TEST: &str = "leftovers::cleanup_removes_what_a_killed_director_left";
    alone(TEST, || {
        if victim() {
            return be_killed();
        }
        hosts();
        let before = picture();
        killed(TEST, |pid| {
            let with_daemon = picture();
            let error = cleanup(CONTROL).unwrap_err();
            assert!(error.contains(&format!("process {pid}")), "{error}");
            assert!(error.contains(CONTROL), "{error}");
            let error = run(async { Session::open(Path::new(CONTROL)).unwrap_err() });
            assert!(format!("{error:#}").contains(CONTROL), "{error:#}");
            assert_same(&with_daemon, &picture());
        });
        let said = cleanup(CONTROL).unwrap();
        assert!(said.contains("proxy neighbour entry 10.1.0.10 dev eth0: undone"), "{said}");
        assert!(!said.contains("vstun0"), "what hung on the TUN is gone: {said}");
        assert_same(&before, &picture());
        let said = cleanup(CONTROL).unwrap();
        assert!(said.contains("nothing to clean up"), "{said}");
        assert_same(&before, &picture());
    });
}

#[test]
fn the_next_start_takes_over_and_undoes_it_all() {
    const TEST: &str = "leftovers::the_next_start_takes_over_and_undoes_it_all";
    alone(TEST, || {
        if victim() {
            return be_killed();
        }
        hosts();
        let before = picture();
        killed(TEST, |_| {});
        assert!(there(CONTROL), "a killed daemon's socket stays");
        run(async {
            let vips = vec!["10.1.0.11".parse().unwrap()];
            let mut session = start(&DesiredDirector { vips, ..desired() }).await;
            assert!(!there(CONTROL), "or it could not be bound again");
            let proxy = sh("ip neigh show proxy");
            assert!(!proxy.contains("10.1.0.10") && proxy.contains("10.1.0.11"), "{proxy}");
            session.undo().await.unwrap();
        });
        no_tun();
        assert_same(&before, &picture());
    });
}

#[test]
fn a_setting_changed_by_others_stays() {
    const TEST: &str = "leftovers::a_setting_changed_by_others_stays";
    alone(TEST, || {
        if victim() {
            return be_killed();
        }
        hosts();
        sh("sysctl -qw net.ipv4.neigh.eth0.proxy_delay=60");
        killed(TEST, |_| {});
        sh("sysctl -qw net.ipv4.neigh.eth0.proxy_delay=40");
        cleanup(CONTROL).unwrap();
        assert_eq!(sh("sysctl -n net.ipv4.neigh.eth0.proxy_delay"), "40\n");
        assert_eq!(sh("sysctl -n net.ipv4.conf.eth0.forwarding"), "0\n");
    });
}

#[test]
fn a_state_file_of_another_namespace_is_ignored() {
    const TEST: &str = "leftovers::a_state_file_of_another_namespace_is_ignored";
    alone(TEST, || {
        if victim() {
            return be_killed();
        }
        hosts();
        killed(TEST, |_| {});
        let state = format!("{CONTROL}.state");
        let text = std::fs::read_to_string(&state).unwrap();
        std::fs::write(&state, text.replace("\"namespace\": \"", "\"namespace\": \"not ")).unwrap();
        let error = cleanup(CONTROL).unwrap_err();
        assert!(error.contains("another network namespace"), "{error}");
        assert_eq!(sh("sysctl -n net.ipv4.conf.eth0.forwarding"), "1\n");
        assert!(there(&state));
    });
}

#[test]
fn two_daemons_share_a_setting_and_the_last_restores_it() {
    alone("leftovers::two_daemons_share_a_setting_and_the_last_restores_it", || {
        hosts();
        let before = picture();
        run(async {
            let first = start(&desired()).await;
            outlived_by(first, "10.1.0.20", desired(), || {
                assert_eq!(sh("sysctl -n net.ipv4.conf.eth0.forwarding"), "1\n", "still relied on");
                assert!(sh("ip neigh show proxy").contains("10.1.0.20"));
            })
            .await;
        });
        no_tun();
        let after = picture();
        assert_same(&before.replace("/run/vstun\n", ""), &after.replace("/run/vstun\n", ""));
    });
}

#[test]
fn a_state_file_cut_short_is_named_and_nothing_is_touched() {
    alone("leftovers::a_state_file_cut_short_is_named_and_nothing_is_touched", || {
        sh("mkdir /run/vstun");
        let state = format!("{CONTROL}.state");
        std::fs::write(&state, "{\"version\": 1, \"namesp").unwrap();
        let error = run(async { Session::open(Path::new(CONTROL)).unwrap_err() });
        assert!(format!("{error:#}").contains(&state), "{error:#}");
        assert!(there(&state));
    });
}
