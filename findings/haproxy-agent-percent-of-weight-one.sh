#!/usr/bin/env bash
# HAProxy 2.6.12 (Debian 12), agent-check: an agent's percentage is applied to the configured weight and cut off below, so with
# the default weight of 1 every answer below 100 % takes the server out of rotation: its weight is 0. It stays UP, and nothing is
# logged. An agent that was tried with weight 100 empties a farm of default weights as soon as all of it is a little busy.
#
# Seen: "99%" gives weight 0 of 1, 1 of 2, 2 of 3, 99 of 100; the state is UP (code 2) in all four.
# Expected: a server that says 99 % keeps at least weight 1, as only 0 % and `drain` ask for none.
set -euo pipefail
dir=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$dir"' EXIT; chmod 755 "$dir"; cd "$dir"
apt-get download 'haproxy=2.6.12-*' liblua5.3-0 libopentracing-c-wrapper0 libopentracing1 >/dev/null 2>&1 ||
    { echo "the packages are gone"; exit 77; }
for package in *.deb; do dpkg -x "$package" root; done
export LD_LIBRARY_PATH; LD_LIBRARY_PATH=$(find "$dir/root" -name '*.so.*' -printf '%h\n' | sort -u | paste -sd:)
version=$(root/usr/sbin/haproxy -v 2>&1) || { echo "it does not run here: $version"; exit 77; }
echo "${version%%$'\n'*}"
python3 - <<'PY' >port &
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    client, _ = listener.accept()
    client.sendall(b"99%\n")
    client.close()
PY
until [[ -s port ]]; do sleep 0.05; done
{
    printf 'global\n stats socket %s/ctl level admin\ndefaults\n timeout connect 1s\n timeout client 1s\n timeout server 1s\nbackend farm\n' "$dir"
    for weight in 1 2 3 100; do
        printf ' server w%s 127.0.0.1:1 weight %s agent-check agent-port %s agent-inter 100ms\n' "$weight" "$weight" "$(<port)"
    done
} >haproxy.cfg
root/usr/sbin/haproxy -db -f haproxy.cfg >haproxy.log 2>&1 &
ask() { python3 -c "import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect('ctl'); s.sendall(sys.argv[1].encode() + b'\n'); print(s.makefile().read())" "$1"; }
# Fields of `show servers state`: name 4, operational state 6, weight by agent 8, configured weight 9.
states() { ask 'show servers state farm' | awk '$4 ~ /^w/ { print $4, "state", $6, "weight", $8, "of", $9 }'; }
for _ in $(seq 100); do
    states >out 2>/dev/null || true
    grep -q 'w100 .* weight 99 ' out && break
    sleep 0.1
done
cat out
diff - out <<'X' || { echo changed; exit 1; }
w1 state 2 weight 0 of 1
w2 state 2 weight 1 of 2
w3 state 2 weight 2 of 3
w100 state 2 weight 99 of 100
X
