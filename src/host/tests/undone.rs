//! What another program has undone although the host looks whole: copies of routes, the TUN's MTU.

use std::collections::{BTreeSet, HashSet};

use super::*;
use crate::host::copies::{RouteChange, changes};
use crate::host::undone::CopiesSince;
use crate::host::{director, undone};

#[test]
fn copies_count_as_undone_where_another_program_has_touched_them() {
    let desired = desired_server();
    // As after a start, without and with the copies.
    let empty = facts();
    let missing = changes(&desired, &empty);
    let mut whole = empty.clone();
    whole.routes.extend(missing.iter().map(|change| match change {
        RouteChange::Replace(route) | RouteChange::Remove(route) => route.clone(),
    }));
    assert!(missing.len() > 1 && changes(&desired, &whole).is_empty());
    let one_gone = |facts: &Facts| {
        let mut facts = facts.clone();
        let mut left = 1;
        remake(&mut facts, |route| {
            let goes = route.table == desired.table && left > 0;
            left -= usize::from(goes);
            (!goes).then_some(route)
        });
        facts
    };
    let keys = |changes: &[RouteChange]| -> HashSet<_> {
        let (RouteChange::Replace(route) | RouteChange::Remove(route)) = &changes[0];
        [route.key()].into()
    };
    let partly = one_gone(&whole);
    let lost = changes(&desired, &partly);
    let none = HashSet::new();
    let (both, v6) = (Family::BOTH.as_slice(), &[Family::V6][..]);
    let (calm, bounced) = (BTreeSet::new(), BTreeSet::from([2]));
    let whole_table = "the whole table, of which nothing was heard";
    let rows = [
        ("in force", &whole, &none, both, &calm, false),
        ("the first copies", &empty, &none, &[], &calm, false),
        ("the first of a family", &empty, &none, v6, &calm, false),
        (whole_table, &empty, &none, both, &calm, true),
        ("all, while their interface was down", &empty, &keys(&lost), both, &bounced, false),
        ("one, heard of", &partly, &keys(&lost), both, &calm, true),
        ("one, while another interface was down", &partly, &keys(&lost), both, &[7].into(), true),
        ("one, while its interface was down", &partly, &keys(&lost), both, &bounced, false),
        ("one, whose own route has changed", &partly, &none, both, &calm, false),
    ];
    for (what, facts, touched, had, disturbed, expected) in rows {
        let changes = changes(&desired, facts);
        let since = CopiesSince { touched, had, disturbed };
        let found = undone::copies(&desired, facts, &changes, since);
        assert_eq!(found, expected, "{what}");
    }
    let families = undone::families_with_copies;
    assert_eq!(families(&desired, &whole, &[]), [Family::V4]);
    assert_eq!(families(&desired, &empty, &missing), [Family::V4]);
    assert_eq!(families(&desired, &empty, &[]), []);
}

#[test]
fn another_mtu_of_the_tun_counts_as_undone_unless_the_plan_has_another_one_too() {
    let tun = Link { mtu: 1480, ..link(9, "vstun0") };
    let mut facts = Facts { tun_is_ours: true, ..facts() };
    facts.links.push(tun);
    let plan = director::plan_items(&desired_director(), &facts).unwrap();
    assert_eq!(plan.tun_mtu, 1480);
    assert_eq!(undone::tun_mtu(&plan, &facts, Some(1480)), None);
    facts.links.last_mut().unwrap().mtu = 1300;
    assert_eq!(undone::tun_mtu(&plan, &facts, Some(1480)), Some(1480));
    assert_eq!(undone::tun_mtu(&plan, &facts, Some(1300)), None, "the path has changed");
    assert_eq!(undone::tun_mtu(&plan, &facts, None), None, "it was never set");
}
