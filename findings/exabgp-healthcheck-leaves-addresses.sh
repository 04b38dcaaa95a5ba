#!/usr/bin/env bash
# ExaBGP 4.2.25 (PyPI), `exabgp healthcheck`: it adds the addresses of `--ip` to lo, and logs at its end that it deletes
# them. It looks for what to delete among labelled addresses only, so without `--label` every VIP stays on lo; with one,
# the IPv6 VIPs stay, because IPv6 addresses have no labels in Linux. The host goes on answering for a VIP whose route
# it has withdrawn, and whoever shares that host (another director, a real server) finds the VIP taken.
#
# Seen: after SIGTERM, without a label both VIPs are left; with a label the IPv6 one.
# Expected: an address that the program added is gone after it ended, as its log says.
set -euo pipefail
unshare -n true 2>/dev/null || { echo "no right to make a network namespace"; exit 77; }
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv && venv/bin/pip -q install exabgp==4.2.25 2>/dev/null || { echo "the package is gone"; exit 77; }
cat >run.sh <<'X'
set -euo pipefail
ip link set lo up
mkfifo said
venv/bin/python -u -m exabgp healthcheck --no-syslog --no-ack --rise 1 --command true \
    --ip 192.0.2.10/32 --ip 2001:db8::10/128 "$@" >said 2>log &
exec 3<said
read -r first <&3; read -r second <&3        # both VIPs are announced, so it is up
echo "up: $first"; echo "up: $second"
kill -TERM $!; wait $! || true
sed 's/^/end: /' <&3 | grep withdraw
ip -o address show dev lo | awk '$4 ~ /^(192.0.2.10|2001:db8::10)/ {print "left on lo: " $4}'
X
{ echo "no label"; unshare -n bash run.sh; rm said; echo "label vip"; unshare -n bash run.sh --label vip; } >out 2>err || { cat out err log; exit 77; }
cat out
diff - out <<'X' || { echo changed; exit 1; }
no label
up: neighbor * announce route 192.0.2.10/32 next-hop self med 100
up: neighbor * announce route 2001:db8::10/128 next-hop self med 101
end: neighbor * withdraw route 192.0.2.10/32 next-hop self
end: neighbor * withdraw route 2001:db8::10/128 next-hop self
left on lo: 192.0.2.10/32
left on lo: 2001:db8::10/128
label vip
up: neighbor * announce route 192.0.2.10/32 next-hop self med 100
up: neighbor * announce route 2001:db8::10/128 next-hop self med 101
end: neighbor * withdraw route 192.0.2.10/32 next-hop self
end: neighbor * withdraw route 2001:db8::10/128 next-hop self
left on lo: 2001:db8::10/128
X
