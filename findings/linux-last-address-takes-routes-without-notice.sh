#!/usr/bin/env bash
# Linux rtnetlink, IPv4: when the last address of a device goes, the kernel removes every IPv4 route over that device, in all
# tables, routes of other protocols too, and sends RTM_DELADDR but not one RTM_DELROUTE. A program that keeps its picture of the
# routing tables by listening to route notifications, as they are for, believes in routes that are gone. IPv6 keeps its routes.
#
# Seen (6.18; iproute2's `ip monitor address route`): a static route in table main and one in table 100 are gone after
# `ip addr del`, the monitor shows the deleted address alone; a plain `ip route del` is shown as "Deleted".
# Expected: one RTM_DELROUTE for each route, as when a route is deleted by hand.
# Needs root or user namespaces: works in a private network namespace.
set -euo pipefail
self=$(realpath "$0")
command -v ip >/dev/null || { echo "needs iproute2"; exit 77; }
if [[ -z ${INSIDE:-} ]]; then
    INSIDE=1 exec unshare -r -m -n -p -f --kill-child --mount-proc bash "$self"
fi
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
echo "Linux $(uname -r), $(ip -V)"
ip link set lo up
ip link add d0 type veth peer name d1
ip link set d1 up
ip link set d0 up
ip addr add 10.9.0.1/24 dev d0
ip -6 addr add fd00:9::1/64 dev d0 nodad
ip monitor address route >events 2>&1 &
monitor=$!
# The monitor listens when it has shown a first change.
until grep -q 10.9.9.0/24 events; do
    ip route replace 10.9.9.0/24 via 10.9.0.2
    sleep 0.05
done
ip route add 198.51.100.0/24 via 10.9.0.2 proto 200
ip route add 203.0.113.0/24 via 10.9.0.2 proto 200 table 100
ip -6 route add 2001:db8:9::/48 via fd00:9::2 proto 200
ip route add 192.0.2.0/24 via 10.9.0.2
ip route del 192.0.2.0/24
until grep -q 'Deleted 192.0.2.0/24' events; do sleep 0.05; done
: >events
ip addr del 10.9.0.1/24 dev d0
until grep -q 'Deleted.*10.9.0.1/24' events; do sleep 0.05; done
# Whatever came later than the address is there before the answer to this one.
ip -6 route add 2001:db8:ffff::/48 via fd00:9::2
until grep -q 2001:db8:ffff events; do sleep 0.05; done
kill $monitor
{
    echo "IPv4 routes left in main and 100: $( (ip route show; ip route show table 100 2>/dev/null) | wc -l)"
    echo "IPv6 routes of protocol 200 left: $(ip -6 route show proto 200 | wc -l)"
    echo "deleted addresses told: $(grep -c 'Deleted.*10.9.0.1/24' events)"
    echo "deleted routes told, of those in main and 100: $(grep -cE 'Deleted (198.51.100.0|203.0.113.0|10.9.9.0)/24' events || true)"
} | tee out
diff - out <<'X' || { echo changed; cat events; exit 1; }
IPv4 routes left in main and 100: 0
IPv6 routes of protocol 200 left: 1
deleted addresses told: 1
deleted routes told, of those in main and 100: 0
X
