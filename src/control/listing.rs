//! The text output of `list`.

use std::fmt::Write as _;

use super::Layout;
use super::list::{ListedReal, ListedService, ServiceList, Use};
use super::table::{self, Columns};

/// The indent of the columns, so that the services' lines stand out.
const INDENT: usize = 2;

impl ServiceList {
    /// The text output: the columns are the same for all services, with each service's line above
    /// its real servers.
    #[must_use]
    pub fn human(&self, layout: Layout) -> String {
        let reals = || self.services.iter().flat_map(|service| &service.reals);
        // This column is shown only if a real server has templates.
        let templates = reals().any(|real| real.templates > 0);
        let header =
            ["REAL SERVER", "WEIGHT", "STATE", "ACTIVE", "INACTIVE", "CONNS", "PACKETS", "BYTES"];
        // Only problems have an explanation.
        let why = reals().any(|real| real.down().is_some());
        let reported = reals().any(|real| real.reported.is_some());
        let latency = reals().any(|real| real.latency().is_some());
        let shown = Shown { templates, reported, latency, why };
        let header = header.into_iter().chain(reported.then_some("REPORTED"));
        let header = header.chain(templates.then_some("TEMPLATES"));
        let header = header.chain(latency.then_some("LATENCY"));
        let header = header.chain(why.then_some("WHY")).collect();
        let rows = reals().map(|real| real.cells(shown, layout)).collect();
        let columns = Columns { header, numbers: &[1, 3, 4, 5, 6, 7, 8, 9, 10], prose: why };
        let records = columns.records(rows, Self::beside(layout));
        self.heading(layout) + &self.by_service(records, layout, |_| false)
    }

    /// The width left for records beside their indent.
    pub(super) fn beside(layout: Layout) -> usize {
        layout.width.saturating_sub(INDENT)
    }

    /// The lines about the director as a whole.
    fn heading(&self, layout: Layout) -> String {
        let Use { current, capacity } = self.connections;
        let mut text = format!("{current} of {capacity} connections");
        let Use { current, capacity } = self.templates;
        // Writing to a String does not fail.
        if current > 0 {
            let _ = write!(text, ", {current} of {capacity} templates");
        }
        text.push('\n');
        for vip in self.vips.iter().filter(|vip| !vip.announced) {
            let _ = writeln!(text, "{} is withdrawn", vip.address);
        }
        text.push_str(&self.host.human(layout));
        text.push('\n');
        text
    }

    /// The records below the lines of their services, the header first. `more`: whether a service
    /// has one record more than it has real servers.
    pub(super) fn by_service(
        &self,
        records: Vec<String>,
        layout: Layout,
        more: impl Fn(&ListedService) -> bool,
    ) -> String {
        let mut records = records.into_iter();
        let mut text = String::new();
        let mut put = |text: &mut String, many: usize| {
            for record in records.by_ref().take(many) {
                for line in record.lines() {
                    // Writing to a String does not fail.
                    let _ = writeln!(text, "{:INDENT$}{line}", "");
                }
            }
        };
        put(&mut text, 1);
        for service in &self.services {
            text += &table::wrap(&service.heading(), layout.width, 2 * INDENT);
            if service.reals.is_empty() {
                text.push_str("  no real server\n");
            }
            put(&mut text, service.reals.len() + usize::from(more(service)));
        }
        text
    }
}

/// The columns that are shown only if they have content.
#[derive(Clone, Copy, Debug)]
struct Shown {
    templates: bool,
    reported: bool,
    latency: bool,
    why: bool,
}

impl ListedService {
    fn heading(&self) -> String {
        let Self { name, listen, scheduler, maglev, outage, flood, quorum, panic, .. } = self;
        let table = maglev.as_ref().map(|maglev| format!(", table {}", maglev.checksum));
        let table = table.unwrap_or_default();
        let outage = outage.as_ref().map(|why| format!(", no real server serves: {why}"));
        let mut mode = if flood.active { ", in flood mode" } else { "" }.to_owned();
        if *quorum == Some(false) {
            mode.push_str(", without quorum");
        }
        if *panic {
            mode.push_str(", checks ignored");
        }
        mode.push_str(&outage.unwrap_or_default());
        format!("{name} ({scheduler}{table}{mode}) {}", listen.join(" "))
    }
}

impl ListedReal {
    fn cells(&self, shown: Shown, layout: Layout) -> Vec<String> {
        let Shown { templates, reported, latency, why } = shown;
        let reported = reported.then(|| match self.reported {
            Some(reported) => layout.number(reported),
            None => "-".to_owned(),
        });
        let numbers = [self.active, self.inactive, self.connections, self.packets, self.bytes];
        [self.address.clone(), self.weight.to_string(), self.state_text()]
            .into_iter()
            .chain(numbers.map(|number| layout.number(number)))
            .chain(reported)
            .chain(templates.then(|| layout.number(self.templates)))
            .chain(latency.then(|| self.latency().unwrap_or_else(|| "-".to_owned())))
            .chain(why.then(|| self.down().unwrap_or_default()))
            .collect()
    }

    /// The median of its recent responses.
    fn latency(&self) -> Option<String> {
        let micros = self.latency.as_ref()?.response.p50_microseconds?;
        Some(match micros {
            0..10_000 => format!("{:.1}ms", f64::from(micros) / 1e3),
            10_000..1_000_000 => format!("{}ms", micros / 1_000),
            _ => format!("{:.1}s", f64::from(micros) / 1e6),
        })
    }

    /// Why it is down, and since when.
    fn down(&self) -> Option<String> {
        if self.state != "down" {
            return None;
        }
        let (why, since) = match self.wanted.as_str() {
            // Its checks may all pass.
            "down" => ("set by the file or a verb", &self.wanted_since),
            _ => (self.why.as_deref()?, &self.since),
        };
        Some(match since.as_ref().and_then(|since| since.split_once('.')) {
            Some((since, _)) => format!("{why}; since {since}Z"),
            None => why.to_owned(),
        })
    }

    /// Its state with its limits.
    pub(super) fn state_text(&self) -> String {
        let mut state = match (self.deadline_seconds, self.effective_weight) {
            (Some(left), _) => format!("{} {left}s", self.state),
            (None, Some(weight)) => format!("{} {}", self.state, f64::from(weight)),
            (None, None) => self.state.clone(),
        };
        if self.full {
            state.push_str(", full");
        }
        if self.last_resort {
            state.push_str(", last resort");
        }
        state
    }
}
