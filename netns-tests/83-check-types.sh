# Checks of all kinds through the tunnel, against servers that people run: TLS by OpenSSL with a self-signed certificate, HTTPS, a
# datagram that is echoed, dnsmasq, ICMP, and a program. Each finds that its own server is gone, says so, and finds it back.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

state() { real_field "$1" state; }                              # NAME
is_because() { [[ $(state "$1") == "$2" && $(real_field "$1" why) == *"$3"* ]]; } # NAME STATE WHY
becomes() { # NAME STATE WHY
    wait_for "$1 to be $2 because: $3" is_because "$@"
    say "$1 is $2: $(real_field "$1" why)"
}
serve() { # NAME PORT OPENSSL-FLAG...
    local name=$1 port=$2
    shift 2
    spawn "vt-$name" "$name-tls$port" openssl s_server -accept "$port" "-$INNER" -cert "$WORK/cert.pem" -key "$WORK/key.pem" -quiet "$@"
}
listens() { at "vt-$1" ss -Hltn "sport = :$2" | grep -q .; }    # NAME PORT
one_check() { printf '[[service.check]]\ninterval = "200ms"\nfast_interval = "50ms"\ntimeout = "500ms"\n%s\n' "$1"; } # KEYS

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=www.example \
    -addext subjectAltName=DNS:www.example -keyout "$WORK/key.pem" -out "$WORK/cert.pem" 2>/dev/null
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
cat >"$WORK/program" <<'PROGRAM'
#!/bin/sh
test ! -e "${0%/*}/sick-$VSTUN_REAL" || { echo "out of order"; exit 1; }
PROGRAM
chmod +x "$WORK/program"

make_topology
start_real "${REALS[@]}"
for name in "${REALS[@]}"; do
    serve "$name" 8443
    serve "$name" 443 -www
    spawn "vt-$name" "$name-echo" python3 "$WORK/echo.py" "$VIP"
done
for name in "${REALS[@]}"; do
    wait_for "$name's TLS" listens "$name" 8443
    wait_for "$name's HTTPS" listens "$name" 443
done
tls="sni = \"www.example\"
ca = \"$WORK/cert.pem\""
SERVICE_KEYS=$(
    one_check "type = \"tls\"
port = 8443
$tls"
    one_check "type = \"https\"
port = 443
$tls"
    one_check 'type = "udp"
port = 9001
send = "ping"
expect = "^pong ping$"'
    one_check 'type = "icmp"'
    one_check "type = \"exec\"
command = [\"$WORK/program\"]"
)
dns=
if command -v dnsmasq >/dev/null; then
    dns=yes
    start_dns() {
        spawn "vt-$1" "$1-dns" dnsmasq --no-daemon --conf-file=/dev/null --port=53 --no-resolv --no-hosts --user=root --group=root \
            --pid-file="$WORK/$1.dns.pid" --address=/www.example/192.0.2.80
        wait_for "$1's name server" listens "$1" 53
    }
    for name in "${REALS[@]}"; do start_dns "$name"; done
    SERVICE_KEYS+=$'\n'$(one_check 'type = "dns"
port = 53
query = "www.example"
expect_answer = "192.0.2.80"')
fi
start_director rr 1 1 1
for name in "${REALS[@]}"; do becomes "$name" up "all checks pass"; done
expect_eq "packets of probes in the service's counts" "$(packets_given)" 0

stop real2-tls8443 KILL
becomes real2 down "tls check failed: connection refused"
serve real2 8443
becomes real2 up "all checks pass"

# A server that lets in only those who show a certificate: it refuses after the handshake.
last_result() { number director checks ".checks[] | select(.address == \"${ADDRESS[$1]}\" and .type == \"tls\") | .results[0].detail"; } # NAME
is_refused() { [[ $(last_result real2) == "TLS: "* ]]; }
stop real2-tls8443 KILL
serve real2 8443 -Verify 1 -verify_return_error
wait_for "a refusal by real2" is_refused
becomes real2 down "tls check failed"
stop real2-tls8443 KILL
serve real2 8443
becomes real2 up "all checks pass"

stop real2-tls443 KILL
becomes real2 down "https check failed: connection refused"
serve real2 443 -www
becomes real2 up "all checks pass"

stop real2-echo KILL
# The kernel limits the rate of port unreachables (icmp_ratelimit), so there may be silence.
becomes real2 down "udp check failed: "
spawn vt-real2 real2-echo python3 "$WORK/echo.py" "$VIP"
becomes real2 up "all checks pass"

if [[ -n $dns ]]; then
    stop real2-dns KILL
    becomes real2 down "dns check failed: "
    start_dns real2
    becomes real2 up "all checks pass"
fi

touch "$WORK/sick-${ADDRESS[real2]}"
becomes real2 down "exec check failed: exit code 1: out of order"
rm "$WORK/sick-${ADDRESS[real2]}"
becomes real2 up "all checks pass"

# Without the virtual IP no echo comes back: nothing but the path is asked by icmp.
stop real3
becomes real3 down "check failed"
start_real real3
becomes real3 up "all checks pass"
