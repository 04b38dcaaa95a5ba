//! The rows of services and real servers: filtered, sorted, folded.

use std::cmp::Reverse;
use std::collections::HashSet;

use super::view::RowKey;
use crate::control::{ListedReal, ListedService, Rate, ServiceList, total};

/// The order of rows: services by the sums of their real servers, and real servers within their
/// service.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum RowOrder {
    /// As configured.
    #[default]
    Configured,
    /// Those that are not up first.
    State,
    Active,
    Connections,
    Packets,
    Bytes,
}

impl RowOrder {
    /// In the order of the key `s`, with the name of the column.
    pub(super) const ALL: [(Self, &'static str); 6] = [
        (Self::Configured, ""),
        (Self::State, "STATE"),
        (Self::Active, "ACTIVE"),
        (Self::Connections, "CPS"),
        (Self::Packets, "INPPS"),
        (Self::Bytes, "INBPS"),
    ];

    pub(super) fn next(self) -> Self {
        let at = Self::ALL.iter().position(|&(order, _)| order == self).unwrap_or(0);
        Self::ALL[(at + 1) % Self::ALL.len()].0
    }

    /// Larger comes first.
    fn of_real(self, real: &ListedReal) -> u64 {
        self.of(u64::from(real.state != "up"), real.active, real.rate)
    }

    fn of_service(self, service: &ListedService) -> u64 {
        let not_up = service.reals.iter().filter(|real| real.state != "up").count();
        self.of(not_up as u64, active(service), service.rate)
    }

    fn of(self, not_up: u64, active: u64, rate: Option<Rate>) -> u64 {
        let rate = rate.unwrap_or_default();
        match self {
            Self::Configured => 0,
            Self::State => not_up,
            Self::Active => active,
            Self::Connections => rate.connections,
            Self::Packets => rate.packets,
            Self::Bytes => rate.bytes,
        }
    }
}

/// A row.
#[derive(Clone, Copy, Debug)]
pub(super) enum Row<'a> {
    /// A service, and whether its real servers are not shown.
    Service(&'a ListedService, bool),
    Real(&'a ListedService, &'a ListedReal),
}

impl Row<'_> {
    pub(super) fn key(&self) -> RowKey {
        match self {
            Self::Service(service, _) => RowKey { service: service.name.clone(), real: None },
            Self::Real(service, real) => {
                RowKey { service: service.name.clone(), real: Some(real.address.clone()) }
            }
        }
    }

    pub(super) fn is(&self, key: &RowKey) -> bool {
        let (service, real) = match self {
            Self::Service(service, _) => (service, None),
            Self::Real(service, real) => (service, Some(&real.address)),
        };
        service.name == key.service && real == key.real.as_ref()
    }
}

/// Active connections of a service.
pub(super) fn active(service: &ListedService) -> u64 {
    total(service.reals.iter().map(|real| real.active))
}

/// The rows. If the filter matches a service, all its real servers are shown, otherwise only
/// matching ones. `filter` is in lower case.
pub(super) fn rows<'a>(
    list: &'a ServiceList,
    folded: &HashSet<String>,
    order: RowOrder,
    filter: &str,
) -> Vec<Row<'a>> {
    let mut services: Vec<_> = list.services.iter().collect();
    services.sort_by_cached_key(|service| Reverse(order.of_service(service)));
    let mut rows = Vec::new();
    for service in services {
        let whole = service_matches(service, filter);
        let reals = service.reals.iter().filter(|real| whole || real_matches(real, filter));
        let mut reals: Vec<_> = reals.collect();
        if !whole && reals.is_empty() {
            continue;
        }
        let folded = folded.contains(&service.name);
        rows.push(Row::Service(service, folded));
        if !folded {
            reals.sort_by_key(|real| Reverse(order.of_real(real)));
            rows.extend(reals.into_iter().map(|real| Row::Real(service, real)));
        }
    }
    rows
}

fn service_matches(service: &ListedService, filter: &str) -> bool {
    let has = |text: &str| text.to_lowercase().contains(filter);
    has(&service.name) || service.listen.iter().any(|listen| has(listen))
}

fn real_matches(real: &ListedReal, filter: &str) -> bool {
    let has = |text: &str| text.to_lowercase().contains(filter);
    has(&real.address) || has(&real.state)
}
