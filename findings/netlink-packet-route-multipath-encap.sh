#!/usr/bin/env bash
# netlink-packet-route 0.34.0 (rtnetlink 0.24.0): the encapsulation of a route is decoded where the route has one next hop, and left as
# raw bytes where it has several. The kernel sends RTA_ENCAP before RTA_ENCAP_TYPE; for a route the parser looks the type up first, for
# each next hop of RTA_MULTIPATH it does not, so every attribute in there becomes `Other` and the type follows as if there were none.
# A program that lists tunnels by matching `RouteLwTunnelEncap::Ip` finds them in one kind of route only.
#
# Seen: `encap ip id 5 dst 192.0.2.9`: single: Ip(Id(5)), Ip(Destination(192.0.2.9)); the same as one of two next hops: Other, Other.
# Expected: the same values in both.
# Needs root or user namespaces: works in a private network namespace.
set -euo pipefail
self=$(realpath "$0")
command -v ip >/dev/null || { echo "needs iproute2"; exit 77; }
if [[ -z ${FOLDER:-} ]]; then # build first: the namespace has no network
    dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"; mkdir src
    cat >Cargo.toml <<'T'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"
[dependencies]
rtnetlink = "=0.24.0"
tokio = { version = "1", features = ["rt", "net"] }
futures-util = "0.3"
T
    cat >src/main.rs <<'R'
use futures_util::TryStreamExt;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::route::{RouteAttribute, RouteLwTunnelEncap};
use std::net::Ipv4Addr;

fn show(name: &str, attributes: &[RouteAttribute]) {
    for attribute in attributes {
        match attribute {
            RouteAttribute::Encap(values) => {
                let one = |value: &RouteLwTunnelEncap| match value {
                    RouteLwTunnelEncap::Ip(ip) => format!("Ip({ip:?})"),
                    RouteLwTunnelEncap::Other(_) => "Other".to_owned(),
                    value => format!("{value:?}"),
                };
                println!("{name}: {}", values.iter().take(2).map(one).collect::<Vec<_>>().join(", "));
            }
            RouteAttribute::EncapType(kind) => println!("{name}: type {kind:?}"),
            RouteAttribute::MultiPath(hops) => {
                hops.iter().for_each(|hop| show("one of two next hops", &hop.attributes));
            }
            _ => {}
        }
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().unwrap();
        tokio::spawn(connection);
        let all = handle.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute();
        let all: Vec<_> = all.try_collect().await.unwrap();
        all.iter().for_each(|route| show("one next hop", &route.attributes));
    });
}
R
    cargo build -q 2>build.log || { echo "cannot build:"; tail -n 5 build.log; exit 77; }
    FOLDER=$dir unshare -r -n bash "$self"
    exit
fi
cd "$FOLDER"
ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up
ip address add 192.0.2.1/24 dev v0
ip route add 198.51.100.1/32 encap ip id 5 dst 192.0.2.9 dev v0
ip route add 198.51.100.2/32 nexthop encap ip id 5 dst 192.0.2.9 via 192.0.2.7 dev v0 nexthop via 192.0.2.8 dev v0
echo "Linux $(uname -r)"
target/debug/finding >out
cat out
diff - out <<'X' || { echo changed; exit 1; }
one next hop: Ip(Id(5)), Ip(Destination(192.0.2.9))
one next hop: type Ip
one of two next hops: Other, Other
one of two next hops: type Ip
X
