#!/usr/bin/env bash
# rtnetlink 0.24.0: `handle.rule().add()` makes a rule whose action is 0 (FR_ACT_UNSPEC). The kernel acknowledges it,
# `ip rule` shows it without an action, and every route look-up that matches it fails with EINVAL, connect() and sendto()
# of all local programs included. `.action(RuleAction::ToTable)` is needed although a table was given: iproute2 sets it
# by itself. And `.replace()` on the request does not replace: the second equal rule is added beside the first.
#
# Seen: `add().v4().source_prefix(..).table_id(..)` is Ok; `ip route get` from that source: "Invalid argument"; with the action it
# works; the same request with `.replace()` sent twice leaves two rules.
# Expected: a rule with a table looks that table up, as with `ip rule add from 192.0.2.0/24 table 1020`.
set -euo pipefail
[[ $(id -u) == 0 ]] || { echo "needs root"; exit 77; }
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"; mkdir src
cat >Cargo.toml <<'T'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"
[dependencies]
rtnetlink = "=0.24.0"
tokio = { version = "=1.47.1", features = ["rt", "net"] }
T
cat >src/main.rs <<'R'
use rtnetlink::packet_route::rule::RuleAction;
use std::net::Ipv4Addr;
async fn run(action: bool) -> Result<(), rtnetlink::Error> {
    let (connection, handle, _) = rtnetlink::new_connection().unwrap();
    tokio::spawn(connection);
    let request = handle.rule().add().v4().source_prefix(Ipv4Addr::new(192, 0, 2, 0), 24).table_id(1020).priority(99);
    if action { request.action(RuleAction::ToTable).replace().execute().await } else { request.execute().await }
}
fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!("{:?}", runtime.block_on(run(std::env::args().nth(1).as_deref() == Some("action"))));
}
R
cargo build -q 2>build.log || { echo "cannot build:"; tail -n 5 build.log; exit 77; }
cat >in-namespace <<'S'
set -eu
ip link set lo up
ip link add d0 type veth peer name d1; ip link set d0 up; ip link set d1 up
ip address add 192.0.2.1/24 dev d0
ip route add default dev d0 table 1020
lookup() { ip route get 203.0.113.1 from 192.0.2.1 2>&1 || true; }
fail() { echo "changed: $*"; exit 1; }
echo "add(), table 1020, no action: $(target/debug/finding plain)"
echo "ip rule: $(ip rule show priority 99)"
echo "look-up: $(lookup)"
lookup | grep -q 'Invalid argument' || fail "the look-up works"
ip rule del priority 99
echo "the same with RuleAction::ToTable and replace(), twice: $(target/debug/finding action) $(target/debug/finding action)"
echo "look-up: $(lookup)"
lookup | grep -q 'table 1020\|dev d0' || fail "the look-up fails"
echo "equal rules now: $(ip rule show priority 99 | wc -l)"
[ "$(ip rule show priority 99 | wc -l)" = 2 ] || fail "replace() replaces"
S
unshare -n bash in-namespace
