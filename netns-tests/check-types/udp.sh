# A datagram that is echoed.
# shellcheck shell=bash

cat >"$WORK/echo.py" <<'PY'
import socket, sys
server = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], 9001))
while True:
    data, client = server.recvfrom(2048)
    try:
        server.sendto(b"pong " + data, client)
    except OSError:  # the virtual IP has gone meanwhile
        pass
PY

start_udp() { spawn "vt-$1" "$1-echo" python3 "$WORK/echo.py" "$VIP"; } # NAME
check_udp() { printf 'type = "udp"\nport = 9001\nsend = "ping"\nexpect = "^pong ping$"\n'; }

try_udp() {
    stop real2-echo KILL
    # The kernel limits the rate of port unreachables (icmp_ratelimit), so there may be silence.
    becomes real2 down "udp check failed: "
    start_udp real2
    becomes real2 up "all checks pass"
}
