//! Listings in pieces.

use crate::balancer::listing::{ListCursor, ListFilter};

use super::*;

/// Three services: of three real servers, of one, of none.
fn director() -> Director {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1), (B, 1), (C, 1)]);
    for (name, listen, reals) in
        [("mail", "192.0.2.10:25/tcp", &[(A, 1)][..]), ("empty", "192.0.2.10:26/tcp", &[])]
    {
        let spec = ServiceSpec {
            name: name.to_owned(),
            listens: listens(&[listen]),
            ..web(SchedulerKind::RoundRobin, reals)
        };
        director.apply(&Change::AddService(spec));
    }
    director
}

/// Joins the pieces, and returns their number.
fn collect(balancer: &Balancer, most: usize, listed: ListFilter) -> (Snapshot, usize) {
    let mut all = balancer.figures();
    let (mut next, mut pieces) = (Some(ListCursor::default()), 0);
    while let Some(from) = next {
        let (piece, then) = balancer.list(from, most, listed);
        let looked_at: usize = piece.iter().map(|service| service.reals.len()).sum();
        assert!(looked_at <= most.max(1), "{looked_at} of {most}");
        assert!(pieces < 20, "it does not end");
        all.append(from, piece);
        (next, pieces) = (then, pieces + 1);
    }
    (all, pieces)
}

#[test]
fn pieces_of_any_size_make_the_whole_list() {
    let mut director = director();
    director.apply(&Change::RemoveService { service: "mail".to_owned() });
    let whole = director.balancer.snapshot();
    assert_eq!(whole.services.len(), 2);
    assert_eq!(whole.services[0].reals.len(), 3);
    for most in 0..10 {
        let (collected, pieces) = collect(&director.balancer, most, ListFilter::All);
        assert_eq!(collected, whole, "{most}");
        assert!(most > 5 || pieces > 1, "{pieces} pieces of {most}");
    }
}

#[test]
fn those_whose_tunnels_have_signalled_are_listed_alone() {
    let mut director = director();
    let error = TunnelError { real: B, kind: TunnelErrorKind::Unreachable };
    director.balancer.believe(director.now, error);
    for most in 1..10 {
        let (collected, _) = collect(&director.balancer, most, ListFilter::Signalled);
        assert_eq!(collected.services.len(), 1, "{most}");
        assert_eq!(*collected.services[0].name, *"web");
        let [real] = &collected.services[0].reals[..] else { panic!("{most}: {collected:?}") };
        assert_eq!((real.address, real.unreachable), (B, 1));
    }
}
