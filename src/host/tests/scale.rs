//! The work of an inspection of the host grows with the number of virtual IPs, not with its square.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::{Duration, SystemTime};

use super::*;
use crate::host::{capture, director};

/// Virtual IPs of the small host. The large one has [`FACTOR`] times as many.
const SMALL: u32 = 500;
const FACTOR: u32 = 8;
/// How much longer the large host may take. Work in proportion takes 8 times as long, quadratic
/// work 64 times.
const MOST: u32 = 24;
const ATTEMPTS: u32 = 5;
/// A host that gives this machine's CPU to others, which counts as this thread's time, gets more.
const MOST_ATTEMPTS: u32 = 40;

/// A running director with that many virtual IPs, and its facts.
fn large(count: u32) -> (DesiredDirector, Facts) {
    let vip = |number: u32| IpAddr::from((0x6440_0000 + number).to_be_bytes());
    let vips: Vec<IpAddr> = (0..count).map(vip).collect();
    let desired = DesiredDirector {
        vips: vips.clone(),
        // None of them has a route: the search for a source goes through all.
        reals: (0..count).map(|number| vip(number + 0x10_0000)).collect(),
        uplinks: Some(vec!["eth0".into()]),
        ..desired_director()
    };
    let mut facts = facts();
    facts.tun_is_ours = true;
    facts.links.push(link(9, "vstun0"));
    for vip in vips {
        facts.proxies.insert((2, vip), PROTOCOL);
        facts.routes.push(route(&format!("{vip}/32"), 9, None));
    }
    (desired, facts)
}

/// All decisions of an inspection, a start and a stop.
fn look(desired: &DesiredDirector, facts: &Facts) -> usize {
    let plan = director::plan_items(desired, facts).unwrap();
    let mut record: HostRecord = plan.steps.iter().cloned().collect();
    let missing: BTreeSet<String> =
        plan.steps.iter().filter(|step| !facts.holds(step)).map(HostStep::subject).collect();
    let known = plan.steps.iter().filter(|step| record.same_end(step).is_some()).count();
    let questions = capture::questions(&plan.captured, &plan.uplinks, facts).len();
    let mut ledger = CurrentProblems::default();
    for second in 0..2 {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        black_box(ledger.update(now, plan.problems.clone()));
    }
    let announcements = plan.announcements.clone();
    let steps = plan.steps.clone();
    let rest = plan.without(&announcements).steps.len();
    for step in steps.iter().rev() {
        record.forget(step);
    }
    assert!(record.is_empty());
    missing.len() + known + questions + rest
}

/// What this thread has used, so that other work of the machine does not count.
pub(super) fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

#[test]
fn the_work_grows_with_the_number_of_virtual_ips() {
    let hosts = [SMALL, SMALL * FACTOR].map(large);
    let mut fastest = [Duration::MAX; 2];
    for attempt in 1..=MOST_ATTEMPTS {
        for (fastest, (desired, facts)) in fastest.iter_mut().zip(&hosts) {
            let begun = cpu_time();
            black_box(look(desired, facts));
            *fastest = (*fastest).min(cpu_time() - begun);
        }
        if attempt >= ATTEMPTS && fastest[1] < fastest[0] * MOST {
            return;
        }
    }
    panic!("{SMALL} virtual IPs and {FACTOR} times as many take {fastest:?}");
}
