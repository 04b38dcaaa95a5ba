#!/usr/bin/env bash
# nftables 1.0.6 with netbase 6.4 (Debian 12): `ip protocol ipip` is protocol 94, not the IP in IP of RFC 2003 (4), which nft calls
# `ipencap`. Names come from /etc/protocols, where `ipip` is an experiment of 1988 (94); `ip tunnel add mode ipip`, the kernel's module
# ipip and tcpdump's output of a packet ("ipip-proto-4") mean 4 by the same word. The rule is accepted, counts nothing and drops nothing.
# tcpdump's filter `ip proto ipip` has the same trap.
#
# Seen: the rule with `ipip` is listed with 94 by `nft -n`, and lets a packet of protocol 4 through; `ipencap` is 4 and drops it.
# Expected by an operator of IPIP tunnels: the name of the tunnel, or a warning.
# Needs user namespaces or root: works in a private network namespace.
set -euo pipefail
self=$(realpath "$0")
for tool in python3; do command -v $tool >/dev/null || { echo "needs $tool"; exit 77; }; done
if [[ -z ${FOLDER:-} ]]; then # packages first: the namespace has no network
    dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; chmod 755 "$dir"; cd "$dir"
    apt-get download 'nftables=1.0.6-*' 'libnftables1=1.0.6-*' libnftnl11 libmnl0 libxtables12 \
        libjansson4 libedit2 netbase=6.4 tcpdump=4.99.3-1 libpcap0.8=1.10.3-1 >/dev/null 2>&1 || { echo "the packages are gone"; exit 77; }
    for package in *.deb; do dpkg -x "$package" root; done
    FOLDER=$dir unshare -r -n -m bash "$self"
    exit
fi
cd "$FOLDER"
export LD_LIBRARY_PATH PATH=$FOLDER/root/usr/sbin:$FOLDER/root/usr/bin:$PATH
LD_LIBRARY_PATH=$(find "$FOLDER/root" -name '*.so.*' -printf '%h\n' | sort -u | paste -sd:)
[[ -e /etc/protocols ]] || { echo "needs an /etc/protocols to put another one over"; exit 77; }
mount --bind root/etc/protocols /etc/protocols
nft --version
ip link set lo up
arrives() { # NAME: does a packet of protocol 4 pass a rule that drops NAME?
    nft flush ruleset
    nft "add table ip t; add chain ip t in { type filter hook input priority 0; };
         add rule ip t in ip protocol $1 drop"
    echo "rule $1 is listed as $(nft -n list chain ip t in | grep -o 'protocol [^ ]*')"
    python3 - "$1" <<'PY'
import socket, sys
receiver = socket.socket(socket.AF_INET, socket.SOCK_RAW, 4)
receiver.settimeout(0.3)
socket.socket(socket.AF_INET, socket.SOCK_RAW, 4).sendto(bytes(20), ("127.0.0.1", 0))
try:
    receiver.recv(100); print("a packet of protocol 4 passes", sys.argv[1])
except TimeoutError:
    print("a packet of protocol 4 is dropped by", sys.argv[1])
PY
}
{ arrives ipip; arrives ipencap
  echo "tcpdump's filter: $(tcpdump -y RAW -d ip proto ipip 2>/dev/null | grep -o '#0x5e' | head -n 1)"; } >out
cat out
diff - out <<'X' || { echo changed; exit 1; }
rule ipip is listed as protocol 94
a packet of protocol 4 passes ipip
rule ipencap is listed as protocol 4
a packet of protocol 4 is dropped by ipencap
tcpdump's filter: #0x5e
X
