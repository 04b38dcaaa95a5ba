#!/usr/bin/env bash
# iproute2 6.1.0 (Debian 12), `ip -j`: some flags that are set are members with the value null: "not" of a rule, "proxy" of a
# neighbour. null is false in jq, JavaScript and Python, so `jq '.[] | select(.not)'` finds no negated rule, and a program that reads
# the rule by its values takes "not from 192.0.2.1" for "from 192.0.2.1". Other flags of the same program are true.
#
# Seen: "not":null in `ip -j rule`, "proxy":null in `ip -j neigh show proxy`, but "noprefixroute":true in `ip -j address`.
# Expected: true everywhere.
# Needs user namespaces or root: works in a private network namespace.
set -euo pipefail
self=$(realpath "$0")
if [[ -z ${FOLDER:-} ]]; then # packages first: the namespace has no network
    dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; chmod 755 "$dir"; cd "$dir"
    apt-get download 'iproute2=6.1.0-*' libbpf1 libelf1 libcap2 libdb5.3 libtirpc3 libmnl0 libxtables12 >/dev/null 2>&1 ||
        { echo "the packages are gone"; exit 77; }
    for package in *.deb; do dpkg -x "$package" root; done
    FOLDER=$dir unshare -r -n bash "$self"
    exit
fi
cd "$FOLDER"
export LD_LIBRARY_PATH PATH=$FOLDER/root/bin:$FOLDER/root/sbin:$PATH
LD_LIBRARY_PATH=$(find "$FOLDER/root" -name '*.so.*' -printf '%h\n' | sort -u | paste -sd:)
ip -V
ip link set lo up
ip rule add not from 192.0.2.1 lookup 7
ip neighbour add proxy 192.0.2.10 dev lo
ip address add 192.0.2.9/32 dev lo noprefixroute
{ ip -j rule | grep -o '"not":[a-z]*'
  ip -j neighbour show proxy | grep -o '"proxy":[a-z]*'
  ip -j address show lo | grep -o '"noprefixroute":[a-z]*'
  ip -j rule | python3 -c 'import json, sys; print("negated rules found:", sum(1 for r in json.load(sys.stdin) if r.get("not")))'
} >out
cat out
diff - out <<'X' || { echo changed; exit 1; }
"not":null
"proxy":null
"noprefixroute":true
negated rules found: 0
X
