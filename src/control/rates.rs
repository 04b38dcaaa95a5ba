//! Rates as in `ipvsadm -L --rate`: the difference between two lists.

use std::collections::HashMap;
use std::iter::Sum;

use super::Layout;
use super::list::{ListedReal, ListedService, Rate, ServiceList};
use super::table::Columns;

/// The counters of a real server.
#[derive(Clone, Copy, Debug, Default)]
struct RateCounters {
    connections: u64,
    packets: u64,
    bytes: u64,
}

impl RateCounters {
    fn of(real: &ListedReal) -> Self {
        let &ListedReal { connections, packets, bytes, .. } = real;
        Self { connections, packets, bytes }
    }

    /// The increase since an earlier list. A real server that was removed and added again counts
    /// from zero.
    fn since(self, before: Self) -> Self {
        let less = |now: u64, then: u64| now < then;
        let anew = less(self.connections, before.connections)
            || less(self.packets, before.packets)
            || less(self.bytes, before.bytes);
        let before = if anew { Self::default() } else { before };
        Self {
            connections: self.connections - before.connections,
            packets: self.packets - before.packets,
            bytes: self.bytes - before.bytes,
        }
    }

    fn per_second(self, milliseconds: u64) -> Rate {
        let rate = |count: u64| {
            let milliseconds = u128::from(milliseconds.max(1));
            let rounded = (u128::from(count) * 1_000 + milliseconds / 2) / milliseconds;
            u64::try_from(rounded).unwrap_or(u64::MAX)
        };
        Rate {
            connections: rate(self.connections),
            packets: rate(self.packets),
            bytes: rate(self.bytes),
        }
    }
}

impl Sum for RateCounters {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, one| Self {
            connections: sum.connections.saturating_add(one.connections),
            packets: sum.packets.saturating_add(one.packets),
            bytes: sum.bytes.saturating_add(one.bytes),
        })
    }
}

impl ServiceList {
    /// The list with its rates since an earlier one. If the daemon has restarted since, they are
    /// measured from its start.
    #[must_use]
    pub fn with_rates(mut self, before: &Self) -> Self {
        let restarted = self.uptime_milliseconds < before.uptime_milliseconds;
        let then = if restarted { 0 } else { before.uptime_milliseconds };
        let milliseconds = self.uptime_milliseconds - then;
        let mut counted = HashMap::new();
        for ListedService { name, reals, .. } in before.services.iter().filter(|_| !restarted) {
            let reals = reals.iter();
            counted.extend(reals.map(|real| ((&**name, &*real.address), RateCounters::of(real))));
        }
        for ListedService { name, reals, rate, .. } in &mut self.services {
            let come = reals.iter_mut().map(|real| {
                let before = counted.get(&(&**name, &*real.address)).copied();
                let come = RateCounters::of(real).since(before.unwrap_or_default());
                real.rate = Some(come.per_second(milliseconds));
                come
            });
            *rate = Some(come.sum::<RateCounters>().per_second(milliseconds));
        }
        self.rate_milliseconds = Some(milliseconds);
        self
    }

    /// The text output: the rates of each real server, and of each service that has several.
    #[must_use]
    pub fn human_rates(&self, layout: Layout) -> String {
        let cells = |name: &str, state: String, rate: Option<Rate>| {
            let Rate { connections, packets, bytes } = rate.unwrap_or_default();
            let numbers = [connections, packets, bytes].map(|number| layout.number(number));
            [name.to_owned(), state].into_iter().chain(numbers).collect()
        };
        let mut rows = Vec::new();
        for service in &self.services {
            let reals = service.reals.iter();
            rows.extend(reals.map(|real| cells(&real.address, real.state_text(), real.rate)));
            if has_total(service) {
                rows.push(cells("all", String::new(), service.rate));
            }
        }
        let header = vec!["REAL SERVER", "STATE", "CPS", "INPPS", "INBPS"];
        let columns = Columns { header, numbers: &[2, 3, 4], prose: false };
        let milliseconds = self.rate_milliseconds.unwrap_or_default();
        let (seconds, tenth) = (milliseconds / 1_000, milliseconds % 1_000 / 100);
        let heading = format!("per second, over the last {seconds}.{tenth} s\n\n");
        let records = columns.records(rows, Self::beside(layout));
        heading + &self.by_service(records, layout, has_total)
    }
}

fn has_total(service: &ListedService) -> bool {
    service.reals.len() > 1
}
