#!/usr/bin/env bash
# HAProxy 2.6.12 (Debian 12), its Prometheus exporter: a server without `check` has its check counters exported all the same, with the
# value NaN. NaN spreads in sums: `sum(rate(haproxy_server_check_failures_total[5m])) > 0` over a backend with one such server is NaN and
# never true, so one server without a check silences the alert for all others.
#
# Seen: check_failures_total and check_up_down_total are 0 or more for the checked server and NaN for the other; both lines are under
# TYPE counter.
# Expected: no line for a server that is not checked, as state="…" lines and other optional values are left out, or 0.
set -euo pipefail
dir=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$dir"' EXIT; chmod 755 "$dir"; cd "$dir"
apt-get download 'haproxy=2.6.12-*' liblua5.3-0 libopentracing-c-wrapper0 libopentracing1 >/dev/null 2>&1 ||
    { echo "the packages are gone"; exit 77; }
for package in *.deb; do dpkg -x "$package" root; done
export LD_LIBRARY_PATH; LD_LIBRARY_PATH=$(find "$dir/root" -name '*.so.*' -printf '%h\n' | sort -u | paste -sd:)
version=$(root/usr/sbin/haproxy -v 2>&1) || { echo "it does not run here: $version"; exit 77; }
echo "${version%%$'\n'*}"
cat >haproxy.cfg <<'C'
defaults
    mode http
    timeout client 2s
    timeout server 2s
    timeout connect 2s
frontend metrics
    bind unix@exporter
    http-request use-service prometheus-exporter
frontend web
    bind unix@web
backend servers
    server checked unix@web check
    server plain unix@web
C
root/usr/sbin/haproxy -f haproxy.cfg >log 2>&1 &
python3 - <<'PY' >out
import re, socket, time
def page():
    client = socket.socket(socket.AF_UNIX)
    client.connect("exporter")
    client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
    return b"".join(iter(lambda: client.recv(65536), b"")).decode()
for _ in range(100):
    try:
        text = page()
        break
    except OSError:
        time.sleep(0.05)
for name in "haproxy_server_check_failures_total", "haproxy_server_check_up_down_total":
    print(re.search(f"# TYPE {name} .*", text).group())
    for server in "checked", "plain":
        value = re.search(f'{name}{{proxy="servers",server="{server}"}} (.*)', text).group(1)
        print(f"{server}: {'a number' if value.isdigit() else value}")
PY
cat out
diff - out <<'X' || { echo changed; exit 1; }
# TYPE haproxy_server_check_failures_total counter
checked: a number
plain: NaN
# TYPE haproxy_server_check_up_down_total counter
checked: a number
plain: NaN
X
