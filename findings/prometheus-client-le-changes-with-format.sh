#!/usr/bin/env bash
# prometheus-client 0.26.0: the same histogram has other `le` label values in its two text formats: OpenMetrics writes
# le="1.0", the Prometheus text format le="1". A label value is part of a series' identity, so a target whose content type
# changes (a scraper that negotiates, a proxy that drops Accept) gets a second set of bucket series, and histogram_quantile over the
# change sees both.
#
# Seen: le="1.0" and le="1" for bucket 1, le="0.5" in both.
# Expected: one spelling of bounds in both encoders of one library; OpenMetrics 1.0 asks for le="1.0".
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"; mkdir src
cat >Cargo.toml <<'T'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"
[dependencies]
prometheus-client = "=0.26.0"
T
cat >src/main.rs <<'R'
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
fn main() {
    let mut registry = Registry::default();
    let histogram = Histogram::new([0.5, 1.0]);
    histogram.observe(0.7);
    registry.register("wait_seconds", "How long", histogram);
    let (mut open, mut old) = (String::new(), String::new());
    text::encode(&mut open, &registry).unwrap();
    prometheus_text::encode(&mut old, &registry).unwrap();
    for (name, page) in [("OpenMetrics", open), ("Prometheus text", old)] {
        let bounds: Vec<&str> = page.split("le=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        println!("{name}: le = {bounds:?}");
    }
}
R
cargo run -q >out 2>build.log || { echo "cannot build:"; tail -n 5 build.log; exit 77; }
cat out
diff - out <<'X' || { echo changed; exit 1; }
OpenMetrics: le = ["0.5", "1.0", "+Inf"]
Prometheus text: le = ["0.5", "1", "+Inf"]
X
