//! The displayed state and the cursor. Pure: new data and keys change it, drawing reads it.

use std::collections::{HashMap, HashSet, VecDeque};

use super::feed::{News, Sample};
use super::rows::{self, Row, RowOrder};
use crate::control::{EventText, Rate, ServiceList};

/// The samples of a real server that its graphs show.
pub(super) const SAMPLES: usize = 60;

/// Events that are kept, the oldest go first.
pub(super) const MAX_EVENTS: usize = 1_000;

/// What fills the screen.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Pane {
    #[default]
    Services,
    Checks,
    Drops,
    Events,
}

impl Pane {
    pub(super) const ALL: [(Self, &'static str); 4] = [
        (Self::Services, "services"),
        (Self::Checks, "checks"),
        (Self::Drops, "drops"),
        (Self::Events, "events"),
    ];

    pub(super) fn next(self) -> Self {
        let at = Self::ALL.iter().position(|&(pane, _)| pane == self).unwrap_or(0);
        Self::ALL[(at + 1) % Self::ALL.len()].0
    }
}

/// A service, or one of its real servers.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct RowKey {
    pub(super) service: String,
    pub(super) real: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) sample: Sample,
    /// Drops of each reason per second.
    pub(super) drop_rates: HashMap<String, u64>,
    pub(super) events: VecDeque<EventText>,
    /// Events that did not arrive.
    pub(super) missed: u64,
    /// Why there is no newer sample.
    pub(super) fault: Option<String>,
    pub(super) pane: Pane,
    pub(super) order: RowOrder,
    pub(super) filter: String,
    /// Whether keys go into the filter.
    pub(super) typing: bool,
    pub(super) help: bool,
    /// The real server that fills the screen.
    pub(super) detail: Option<RowKey>,
    /// Rows on the screen, as last drawn.
    pub(super) height: usize,
    /// The first row on the screen.
    pub(super) offset: usize,
    folded: HashSet<String>,
    selected: RowKey,
    /// The cursor's row; in `Services` the last row of the selection.
    at: usize,
    history: HashMap<RowKey, VecDeque<Rate>>,
}

impl View {
    pub(super) fn take(&mut self, news: News) {
        match news {
            News::Sample(sample) => self.take_sample(*sample),
            News::Silent(why) => self.fault = Some(why),
            News::Missed(missed) => self.missed = self.missed.saturating_add(missed),
            News::Event(event) => {
                self.events.push_front(*event);
                self.events.truncate(MAX_EVENTS);
            }
        }
    }

    fn take_sample(&mut self, mut sample: Sample) {
        let before = &self.sample.list;
        if before.uptime_milliseconds > 0 {
            self.drop_rates = drop_rates(before, &sample.list);
            sample.list = sample.list.with_rates(before);
        }
        let mut history = HashMap::new();
        for service in &sample.list.services {
            for real in &service.reals {
                let key =
                    RowKey { service: service.name.clone(), real: Some(real.address.clone()) };
                let mut rates = self.history.remove(&key).unwrap_or_default();
                rates.extend(real.rate);
                while rates.len() > SAMPLES {
                    rates.pop_front();
                }
                history.insert(key, rates);
            }
        }
        self.history = history;
        self.sample = sample;
        self.fault = None;
    }

    /// The rates of a real server, oldest first.
    pub(super) fn history(&self, key: &RowKey) -> impl Iterator<Item = &Rate> {
        self.history.get(key).into_iter().flatten()
    }

    /// The rows of the services, without those of folded ones.
    pub(super) fn rows(&self) -> Vec<Row<'_>> {
        rows::rows(&self.sample.list, &self.folded, self.order, &self.filter.to_lowercase())
    }

    /// The row with the cursor. The cursor follows its row; if the row is gone, it keeps its
    /// position.
    pub(super) fn cursor(&self, rows: &[Row<'_>]) -> usize {
        let selected = rows.iter().position(|row| row.is(&self.selected));
        selected.unwrap_or_else(|| self.at.min(rows.len().saturating_sub(1)))
    }

    /// How many rows there are.
    pub(super) fn count(&self) -> usize {
        match self.pane {
            Pane::Services => self.rows().len(),
            Pane::Checks => self.checks().count(),
            Pane::Drops => self.drops().count(),
            Pane::Events => self.events().count(),
        }
    }

    pub(super) fn at(&self) -> usize {
        match self.pane {
            Pane::Services => self.cursor(&self.rows()),
            _ => self.at.min(self.count().saturating_sub(1)),
        }
    }

    /// Moves the cursor, as far as there are rows.
    pub(super) fn step(&mut self, by: isize) {
        let last = self.count().saturating_sub(1);
        self.at = self.at().saturating_add_signed(by).min(last);
        self.select();
    }

    fn select(&mut self) {
        if self.pane == Pane::Services {
            self.selected = self.rows().get(self.at).map(Row::key).unwrap_or_default();
        }
    }

    pub(super) fn show(&mut self, pane: Pane) {
        (self.pane, self.at, self.offset, self.detail) = (pane, 0, 0, None);
        if pane == Pane::Services {
            self.at = self.cursor(&self.rows());
        }
    }

    /// Folds or unfolds the service of the row with the cursor, which moves to the service.
    pub(super) fn fold(&mut self) {
        if self.pane != Pane::Services || self.detail.is_some() {
            return;
        }
        let rows = self.rows();
        let Some(RowKey { service, .. }) = rows.get(self.cursor(&rows)).map(Row::key) else {
            return;
        };
        if !self.folded.remove(&service) {
            self.folded.insert(service.clone());
        }
        self.selected = RowKey { service, real: None };
    }

    /// Folds all services, or unfolds them if all are folded.
    pub(super) fn fold_all(&mut self) {
        let names: HashSet<_> =
            self.sample.list.services.iter().map(|service| service.name.clone()).collect();
        let all = names.is_subset(&self.folded);
        self.folded = if all { HashSet::new() } else { names };
        self.selected.real = None;
    }

    /// Opens the real server with the cursor; a service unfolds.
    pub(super) fn open(&mut self) {
        if self.pane != Pane::Services {
            return;
        }
        let rows = self.rows();
        let Some(key) = rows.get(self.cursor(&rows)).map(Row::key) else { return };
        if key.real.is_some() {
            self.detail = Some(key.clone());
        } else {
            self.folded.remove(&key.service);
        }
        self.selected = key;
    }

    pub(super) fn back(&mut self) {
        if self.detail.take().is_none() {
            self.filter.clear();
        }
    }

    fn shows(&self, texts: &[&str]) -> bool {
        let filter = self.filter.to_lowercase();
        filter.is_empty() || texts.iter().any(|text| text.to_lowercase().contains(&filter))
    }

    pub(super) fn checks(&self) -> impl Iterator<Item = &crate::control::ListedCheck> {
        self.sample.checks.checks.iter().filter(|check| {
            self.shows(&[&check.address, &check.check, &check.state, &check.services.join(" ")])
        })
    }

    /// The reasons that occurred: dropped packets, how many of them per second, and answered
    /// packets. Most recent ones come first.
    pub(super) fn drops(&self) -> impl Iterator<Item = (&str, u64, u64, u64)> {
        let rate = |name: &str| self.drop_rates.get(name).copied().unwrap_or_default();
        let counts =
            self.sample.drops.rows().filter(|&(_, count, answered)| count > 0 || answered > 0);
        let mut drops: Vec<_> = counts
            .map(|(name, count, answered)| (name, count, rate(name), answered))
            .filter(|(name, ..)| self.shows(&[name]))
            .collect();
        drops.sort_by_key(|&(_, count, rate, answered)| std::cmp::Reverse((rate, count, answered)));
        drops.into_iter()
    }

    pub(super) fn events(&self) -> impl Iterator<Item = &EventText> {
        self.events.iter().filter(|event| self.shows(&[&event.to_string()]))
    }
}

/// Drops of each reason per second between two lists.
fn drop_rates(before: &ServiceList, now: &ServiceList) -> HashMap<String, u64> {
    let Some(milliseconds) = now.uptime_milliseconds.checked_sub(before.uptime_milliseconds) else {
        return HashMap::new();
    };
    let then: HashMap<_, _> = before.drops.0.iter().map(|(name, count)| (name, *count)).collect();
    let rate = |(name, count): &(String, u64)| {
        let come = count.saturating_sub(then.get(name).copied().unwrap_or_default());
        (name.clone(), come.saturating_mul(1_000).div_ceil(milliseconds.max(1)))
    };
    now.drops.0.iter().map(rate).collect()
}
