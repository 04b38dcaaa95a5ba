//! Rates: the difference between two lists.

use super::*;

/// A list at a time, with connection counts of its two real servers.
fn list(uptime_milliseconds: u64, near: u64, far: u64) -> ServiceList {
    let mut snapshot = state();
    for (real, connections) in snapshot.services[0].reals.iter_mut().zip([near, far]) {
        real.connections = connections;
        real.packets = connections * 10;
        real.bytes = connections * 1_000;
    }
    ServiceList { uptime_milliseconds, ..ServiceList::from(&snapshot) }
}

fn rate(connections: u64) -> Rate {
    Rate { connections, packets: connections * 10, bytes: connections * 1_000 }
}

fn rates(list: &ServiceList) -> [Rate; 3] {
    let service = &list.services[0];
    [service.rate, service.reals[0].rate, service.reals[1].rate].map(Option::unwrap)
}

#[test]
fn a_rate_is_the_difference_over_the_time() {
    let after = list(4_000, 120, 30).with_rates(&list(2_000, 20, 10));
    assert_eq!(rates(&after), [rate(60), rate(50), rate(10)]);
    assert_eq!(after.rate_milliseconds, Some(2_000));
    let value = parse(&encode(&after));
    let expected = json!({"connections": 50, "packets": 500, "bytes": 50_000});
    assert_eq!(value["services"][0]["reals"][0]["rate"], expected);
    assert_eq!(value["services"][0]["rate"]["connections"], 60);
    assert_eq!(decode::<ServiceList>(encode(&after).as_bytes()).unwrap(), after);
    // Rounded: 1 in 3 s is 0, 2 are 1.
    let after = list(5_000, 21, 12).with_rates(&list(2_000, 20, 10));
    assert_eq!(
        after.services[0]
            .reals
            .iter()
            .map(|real| real.rate.unwrap().connections)
            .collect::<Vec<_>>(),
        [0, 1]
    );
}

#[test]
fn a_restarted_counter_counts_from_zero() {
    // The far one was removed and added again.
    let after = list(2_000, 30, 5).with_rates(&list(1_000, 20, 90));
    assert_eq!(rates(&after), [rate(15), rate(10), rate(5)]);
    // Or was missing.
    let mut before = list(1_000, 20, 90);
    before.services[0].reals.truncate(1);
    let after = list(2_000, 30, 5).with_rates(&before);
    assert_eq!(rates(&after), [rate(15), rate(10), rate(5)]);
    // The daemon was restarted.
    let after = list(500, 30, 5).with_rates(&list(9_000, 20, 4));
    assert_eq!(rates(&after), [rate(70), rate(60), rate(10)]);
    // Two lists at the same moment.
    let after = list(1_000, 30, 5).with_rates(&list(1_000, 30, 5));
    assert_eq!(rates(&after), [rate(0), rate(0), rate(0)]);
}

#[test]
fn rates_have_ipvsadms_columns() {
    let after = list(2_000, 30, 15_000_000).with_rates(&list(1_000, 20, 0));
    let expected = "\
per second, over the last 1.0 s

  REAL SERVER  STATE        CPS    INPPS   INBPS
web (wlc) 192.0.2.10:80/tcp
  10.0.0.11    up            10      100   10000
  10.1.0.11    draining  15000K  150000K  15000M
  all                    15000K  150000K  15000M
dns (wlc, in flood mode) 192.0.2.10:53/udp 192.0.2.10:53/tcp
  no real server
";
    assert_eq!(after.human_rates(Layout::UNBOUNDED), expected);
    let exact = after.human_rates(Layout { exact: true, ..Layout::UNBOUNDED });
    assert!(exact.contains(" 15000010  150000100  15000010000\n"), "{exact}");
}
