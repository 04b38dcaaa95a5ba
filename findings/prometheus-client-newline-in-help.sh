#!/usr/bin/env bash
# prometheus-client 0.26.0: a line break in a help text is written as it is by the OpenMetrics encoder, so that the rest of the
# help becomes a line of its own and the whole page is malformed; the Prometheus text encoder of the same crate escapes it as \n.
# Which metrics a target loses depends on nothing of its own: on the format that the scraper asked for.
#
# Seen: OpenMetrics: a line "second line." without `#`; Prometheus text: `first line\nsecond line.` in one line.
# Expected: OpenMetrics 1.0 (escaped-string) asks for \n in HELP, as the other encoder does.
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
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
fn main() {
    let mut registry = Registry::default();
    let gauge: Gauge = Gauge::default();
    registry.register("open_files", "first line\nsecond line", gauge);
    let (mut open, mut old) = (String::new(), String::new());
    text::encode(&mut open, &registry).unwrap();
    prometheus_text::encode(&mut old, &registry).unwrap();
    for (name, page) in [("OpenMetrics", open), ("Prometheus text", old)] {
        let odd: Vec<&str> =
            page.lines().filter(|line| !line.starts_with('#') && !line.starts_with("open_files ")).collect();
        println!("{name}: lines that are neither comment nor sample: {odd:?}");
    }
}
R
cargo run -q >out 2>build.log || { echo "cannot build:"; tail -n 5 build.log; exit 77; }
cat out
diff - out <<'X' || { echo changed; exit 1; }
OpenMetrics: lines that are neither comment nor sample: ["second line."]
Prometheus text: lines that are neither comment nor sample: []
X
