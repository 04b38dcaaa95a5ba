//! What a director runs, beside what its file says now.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::config;
use crate::control::ServiceList;
use crate::model::Listen;

/// The ports and real servers that run.
pub(super) struct RunningServices {
    pub(super) listens: BTreeSet<Listen>,
    pub(super) reals: BTreeSet<IpAddr>,
}

impl RunningServices {
    pub(super) fn of(list: &ServiceList) -> Self {
        let listens = list.services.iter().flat_map(|service| &service.listen);
        let reals = list.services.iter().flat_map(|service| &service.reals);
        Self {
            listens: listens.filter_map(|listen| listen.parse().ok()).collect(),
            reals: reals
                .filter(|real| !real.removed)
                .filter_map(|real| real.address.parse().ok())
                .collect(),
        }
    }

    /// What the file has and the director does not, and the other way round.
    pub(super) fn differs(&self, config: &config::Director) -> Option<String> {
        let listens: BTreeSet<Listen> =
            config.specs().flat_map(|service| service.listens.iter().copied()).collect();
        let reals: BTreeSet<IpAddr> = config.reals().into_iter().collect();
        let texts = |one: Option<String>, what: &str| one.map(|one| format!("{what} {one}"));
        let all = [
            texts(beyond(&listens, &self.listens), "the file alone has"),
            texts(beyond(&reals, &self.reals), "the file alone has real server"),
            texts(beyond(&self.listens, &listens), "the director alone has"),
            texts(beyond(&self.reals, &reals), "the director alone has real server"),
        ];
        let all: Vec<String> = all.into_iter().flatten().collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

/// The members of the one set that the other one lacks.
fn beyond<T: Ord + ToString>(one: &BTreeSet<T>, other: &BTreeSet<T>) -> Option<String> {
    const MOST: usize = 5;
    let all: Vec<String> = one.difference(other).map(ToString::to_string).collect();
    let more = all.len().saturating_sub(MOST);
    let shown = all.iter().take(MOST).map(String::as_str).collect::<Vec<_>>().join(", ");
    match (all.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(shown),
        (false, more) => Some(format!("{shown} and {more} more")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_one_side_has_is_named() {
        let set = |all: &[u16]| all.iter().copied().collect::<BTreeSet<u16>>();
        assert_eq!(beyond(&set(&[1, 2]), &set(&[1, 2, 3])), None);
        assert_eq!(beyond(&set(&[1, 2, 9]), &set(&[2])).as_deref(), Some("1, 9"));
        let most = set(&[1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(beyond(&most, &set(&[])).as_deref(), Some("1, 2, 3, 4, 5 and 2 more"));
    }
}
