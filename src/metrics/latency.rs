//! The latencies of real servers, estimated from their clients' packets.
//!
//! Their histograms are most of a large page: sixteen lines for each real server. The library
//! renders the labels and the bound of each line anew. Here the labels are rendered once for a real
//! server, and what surrounds them once for all.

use crate::control::{LATENCY_BOUNDS_MICROS, ListedLatency, ListedTimes};

use super::PREFIX;

/// Microseconds in a second.
const MICROS: u64 = 1_000_000;

/// Upper bounds of the handshakes' buckets, some of the listed ones. A handshake is the network's
/// time, which is near, far, or has lost a packet; a page of many real servers has room for that.
const HANDSHAKE_BOUNDS: [u32; 3] = [3_000, 32_000, 320_000];

/// A family of histograms.
struct LatencyFamily {
    name: &'static str,
    help: &'static str,
    /// Some of the listed bounds, in ascending order.
    bounds: &'static [u32],
    times: fn(&ListedLatency) -> &ListedTimes,
}

const FAMILIES: [LatencyFamily; 2] = [
    LatencyFamily {
        name: "real_handshake_seconds",
        help: "From a client's SYN to the end of the handshake, sampled",
        bounds: &HANDSHAKE_BOUNDS,
        times: |latency| &latency.handshake,
    },
    LatencyFamily {
        name: "real_response_seconds",
        help: "From a client's request to its first acknowledgement of the response, sampled",
        bounds: &LATENCY_BOUNDS_MICROS,
        times: |latency| &latency.response,
    },
];

/// Appends a histogram of each kind for each real server that has samples: service, real server and
/// latencies. Both formats have the same text.
pub(super) fn append<'a, I>(page: &mut String, each: impl Fn() -> I)
where
    I: Iterator<Item = (&'a str, &'a str, &'a ListedLatency)>,
{
    for family in &FAMILIES {
        let measured =
            each().map(|(service, real, latency)| (service, real, (family.times)(latency)));
        let mut measured = measured.filter(|(.., times)| times.samples > 0).peekable();
        if measured.peek().is_none() {
            continue;
        }
        let LatencyFamily { name, help, .. } = family;
        page.push_str(&format!("# HELP {PREFIX}_{name} {help}\n"));
        page.push_str(&format!("# TYPE {PREFIX}_{name} histogram\n"));
        let lines = HistogramLines::new(family);
        let mut labels = String::new();
        for (service, real, times) in measured {
            labels.clear();
            push_label(&mut labels, "service", service);
            labels.push(',');
            push_label(&mut labels, "real", real);
            lines.push(page, &labels, times);
        }
    }
}

/// What surrounds the labels in the lines of a family's histograms.
struct HistogramLines {
    /// Before the labels of a bucket, the sum and the count.
    bucket: String,
    sum: String,
    count: String,
    /// Each bucket's bound, and what is between its labels and its value.
    buckets: Vec<(u32, String)>,
}

impl HistogramLines {
    fn new(LatencyFamily { name, bounds, .. }: &LatencyFamily) -> Self {
        let begin = |suffix: &str| format!("{PREFIX}_{name}_{suffix}{{");
        let bucket = |&bound: &u32| {
            let mut end = ",le=\"".to_owned();
            push_seconds(&mut end, bound.into());
            (bound, end + "\"} ")
        };
        Self {
            bucket: begin("bucket"),
            sum: begin("sum"),
            count: begin("count"),
            buckets: bounds.iter().map(bucket).collect(),
        }
    }

    /// Appends one histogram. A bucket of the page has all listed ones up to its bound.
    fn push(&self, page: &mut String, labels: &str, times: &ListedTimes) {
        let mut listed = LATENCY_BOUNDS_MICROS.into_iter().zip(times.buckets).peekable();
        let mut within = 0;
        for (bound, end) in &self.buckets {
            while let Some((_, count)) = listed.next_if(|(upper, _)| upper <= bound) {
                within += count;
            }
            for part in [&self.bucket, labels, end] {
                page.push_str(part);
            }
            push_count(page, within);
        }
        // No bucket has more than the last one.
        let all = times.samples.max(within);
        for part in [&self.bucket, labels, ",le=\"+Inf\"} "] {
            page.push_str(part);
        }
        push_count(page, all);
        for part in [&self.sum, labels, "} "] {
            page.push_str(part);
        }
        push_seconds(page, times.sum_microseconds);
        page.push('\n');
        for part in [&self.count, labels, "} "] {
            page.push_str(part);
        }
        push_count(page, all);
    }
}

/// A value and the end of its line.
fn push_count(page: &mut String, count: u64) {
    page.push_str(itoa::Buffer::new().format(count));
    page.push('\n');
}

/// Microseconds as seconds, with at least one decimal and no more than needed.
fn push_seconds(page: &mut String, micros: u64) {
    page.push_str(itoa::Buffer::new().format(micros / MICROS));
    // The leading digit keeps the zeros behind it.
    let mut buffer = itoa::Buffer::new();
    let decimals = buffer.format(MICROS + micros % MICROS);
    let shown = decimals.trim_end_matches('0').len().max(2);
    page.push('.');
    page.push_str(&decimals[1..shown]);
}

/// A label; its value escaped as both formats want it.
fn push_label(labels: &mut String, name: &str, value: &str) {
    labels.push_str(name);
    labels.push_str("=\"");
    for part in value.split_inclusive(['\\', '"', '\n']) {
        let (plain, escaped) = match part.as_bytes().last() {
            Some(b'\\') => (&part[..part.len() - 1], "\\\\"),
            Some(b'"') => (&part[..part.len() - 1], "\\\""),
            Some(b'\n') => (&part[..part.len() - 1], "\\n"),
            _ => (part, ""),
        };
        labels.push_str(plain);
        labels.push_str(escaped);
    }
    labels.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_handshakes_are_listed_ones() {
        assert!(HANDSHAKE_BOUNDS.iter().all(|bound| LATENCY_BOUNDS_MICROS.contains(bound)));
    }

    #[test]
    fn a_bucket_has_all_counts_up_to_its_bound() {
        let buckets = [1, 2, 4, 8, 16, 32, 64];
        let times = ListedTimes { samples: 255, buckets, ..ListedTimes::default() };
        let counts = |family: &LatencyFamily| {
            let mut page = String::new();
            HistogramLines::new(family).push(&mut page, "", &times);
            let lines = page.lines().filter(|line| line.contains("_bucket"));
            lines.map(|line| line.rsplit(' ').next().unwrap_or("").to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(counts(&FAMILIES[0]), ["3", "15", "63", "255"]);
        assert_eq!(counts(&FAMILIES[1]), ["1", "3", "7", "15", "31", "63", "127", "255"]);
    }

    #[test]
    fn seconds_have_as_many_decimals_as_needed() {
        for (micros, expected) in [
            (0, "0.0"),
            (1, "0.000001"),
            (90_000, "0.09"),
            (1_024_000, "1.024"),
            (3_000_000, "3.0"),
            (u64::MAX, "18446744073709.551615"),
        ] {
            let mut text = String::new();
            push_seconds(&mut text, micros);
            assert_eq!(text, expected);
        }
    }
}
