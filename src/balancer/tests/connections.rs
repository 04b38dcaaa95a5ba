//! Listings of selected connections.

use super::*;

fn listed(director: &Director, which: &Selection) -> Vec<snapshot::ConnectionSnapshot> {
    director.balancer.selected(director.now, 0, usize::MAX, which).0
}

#[test]
fn a_selection_matches_all_its_fields() {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1), (B, 1)]);
    let mut other = web(SchedulerKind::RoundRobin, &[(A, 1)]);
    (other.name, other.listens) = ("other".to_owned(), listens(&["192.0.2.10:81/tcp"]));
    director.apply(&Change::AddService(other));
    for number in 0..8 {
        director.connect(flow(number));
    }
    for client in 8..11 {
        director.syn(Flow { client, port: 81 });
    }
    let all = listed(&director, &Selection::default());
    assert_eq!(all.len(), 11);
    for which in [
        Selection { real: Some(B), ..Selection::default() },
        Selection { state: Some("SYN_RECV"), ..Selection::default() },
        Selection { client: Some("198.18.0.0/29".parse().unwrap()), ..Selection::default() },
        Selection { client: Some("2001:db8:c::3/128".parse().unwrap()), ..Selection::default() },
        Selection { service: Some("web".to_owned()), real: Some(A), ..Selection::default() },
        Selection { state: Some("ESTABLISHED"), real: Some(B), ..Selection::default() },
    ] {
        let Selection { client, real, state, service } = &which;
        let expected: Vec<_> = all
            .iter()
            .filter(|one| client.is_none_or(|network| network.contains(&one.client.ip())))
            .filter(|one| real.is_none_or(|real| real == one.real))
            .filter(|one| state.is_none_or(|state| state == one.state))
            .filter(|one| service.is_none() || one.virtual_address.port() == 80)
            .cloned()
            .collect();
        assert!(!expected.is_empty() && expected.len() < all.len(), "{which:?}");
        assert_eq!(listed(&director, &which), expected, "{which:?}");
    }
}

#[test]
fn pages_of_a_selection_are_bounded_like_all_pages() {
    let entries = u32::try_from(ENTRIES_A_PAGE).unwrap();
    let mut director = Director::new(entries + 1);
    director.apply(&Change::AddService(web(SchedulerKind::RoundRobin, &[(A, 1), (C, 1)])));
    for number in 0..=entries {
        director.syn(flow(number));
    }
    let which = Selection { real: Some(C), ..Selection::default() };
    let page = |from, most| {
        let (listed, next) = director.balancer.selected(director.now, from, most, &which);
        (listed.len(), next)
    };
    assert_eq!(page(0, usize::MAX), (ENTRIES_A_PAGE / 2, Some(ENTRIES_A_PAGE)));
    assert_eq!(page(ENTRIES_A_PAGE, usize::MAX), (0, None));
    // The second of them is at the fourth position.
    assert_eq!(page(0, 2), (2, Some(4)));
    assert_eq!(page(4, 0), (0, Some(4)));
}

#[test]
fn every_listed_state_can_be_selected() {
    for name in tcp::ConnState::NAMES {
        assert_eq!(tcp::ConnState::known_name(&name.to_lowercase()), Some(name));
    }
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1)]);
    director.syn(flow(0));
    director.connect(flow(1));
    director.connect(flow(2));
    director.forward(&flow(2).tcp(Flags::FIN));
    director.connect(flow(3));
    director.forward(&flow(3).tcp(Flags::RST));
    director.syn(flow(4));
    director.forward(&flow(4).tcp(Flags::FIN));
    director.forward(&flow(5).udp());
    let states = director.states();
    assert_eq!(states.len(), 6, "{states:?}");
    for state in states {
        assert!(tcp::ConnState::NAMES.contains(&state), "{state}");
    }
    assert_eq!(tcp::ConnState::known_name("OPEN"), None);
}
