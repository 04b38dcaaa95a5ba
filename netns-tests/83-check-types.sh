# Checks of all kinds through the tunnel, against common servers: TLS and HTTPS by OpenSSL with a
# self-signed certificate, HTTP/2 by nginx, gRPC's own health service, a datagram that is echoed,
# dnsmasq and unbound, ICMP, and a program. Each detects that its own server is down, reports that,
# and detects its return. A server that never finishes its part of TLS costs a timeout.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

state_and_why() { # NAME
    number director list ".services[0].reals[] | select(.address == \"${ADDRESS[$1]}\")
        | \"\(.state): \(.why)\""
}
is_because() { # NAME STATE WHY
    became=$(state_and_why "$1")
    [[ $became == "$2: "*"$3"* ]]
}
becomes() { # NAME STATE WHY
    wait_for "$1 to be $2 because: $3" is_because "$@"
    say "$1 is $became"
}
serve() { # NAME PORT OPENSSL-FLAG...
    local name=$1 port=$2
    shift 2
    spawn "vt-$name" "$name-tls$port" openssl s_server -accept "$port" "-$INNER" \
        -cert "$WORK/cert.pem" -key "$WORK/key.pem" -quiet "$@"
}
listens() { at "vt-$1" ss -Hltn "sport = :$2" | grep -q .; }    # NAME PORT
one_check() { # KEYS
    printf '[[service.check]]\ninterval = "500ms"\nfast_interval = "200ms"\n'
    printf 'timeout = "2s"\n%s\n' "$1"
}

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
    -subj /CN=www.example \
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
cat >"$WORK/mute.py" <<'PY'
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
server = socket.create_server((sys.argv[1], 8443), family=family)
clients = []
while True:
    clients.append(server.accept()[0])
PY
# grpc.health.v1 by Google's library: its messages are two bytes, so they need no generated code.
cat >"$WORK/health.py" <<'PY'
import concurrent.futures, os, sys, grpc
address, sick = sys.argv[1:]
check = lambda request, context: b"\x08\x02" if os.path.exists(sick) else b"\x08\x01"
server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
method = grpc.unary_unary_rpc_method_handler(check)
handler = grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": method})
server.add_generic_rpc_handlers((handler,))
assert server.add_insecure_port(f"{address}:50051")
server.start()
server.wait_for_termination()
PY
for name in "${REALS[@]}"; do
    serve "$name" 8443
    serve "$name" 443 -www
    spawn "vt-$name" "$name-echo" python3 "$WORK/echo.py" "$VIP"
done
for name in "${REALS[@]}"; do
    wait_for "$name's TLS" listens "$name" 8443
    wait_for "$name's HTTPS" listens "$name" 443
done
start_http2() { # NAME
    mkdir -p "$WORK/$1-http2/temp"
    cat >"$WORK/$1-http2/nginx.conf" <<-CONF
		daemon off; master_process off; user root root; error_log stderr error;
		pid $WORK/$1-http2/nginx.pid;
		events { worker_connections 64; }
		http {
		    access_log off; ssl_protocols TLSv1.3;
		    ssl_certificate $WORK/cert.pem; ssl_certificate_key $WORK/key.pem;
		$(for kind in client_body proxy fastcgi uwsgi scgi; do echo "${kind}_temp_path temp/$kind;"; done)
		    server {
		        listen $(in_url "$VIP"):9443 ssl http2;
		        location / { return 200 "\$server_protocol \$ssl_protocol"; }
		    }
		}
	CONF
    spawn "vt-$1" "$1-http2" nginx -e stderr -p "$WORK/$1-http2" -c nginx.conf
    wait_for "$1's HTTP/2" listens "$1" 9443
}
start_grpc() { # NAME
    spawn "vt-$1" "$1-grpc" /usr/bin/python3 "$WORK/health.py" "$(in_url "$VIP")" \
        "$WORK/not-serving-$1"
    wait_for "$1's gRPC" listens "$1" 50051
}
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
        # The third has another program.
        if [[ $1 == real3 ]] && command -v unbound >/dev/null; then
            cat >"$WORK/unbound.conf" <<-CONF
				server:
				  interface: $VIP
				  ip-freebind: yes
				  access-control: $([[ $VIP == *:* ]] && echo ::/0 || echo 0.0.0.0/0) allow
				  do-daemonize: no
				  use-syslog: no
				  chroot: ""
				  username: ""
				  directory: "$WORK"
				  pidfile: "$WORK/unbound.pid"
				  module-config: "iterator"
				  num-threads: 1
				  local-zone: "example." static
				  local-data: "www.example. A 192.0.2.80"
				remote-control:
				  control-enable: no
			CONF
            spawn vt-real3 real3-dns unbound -d -c "$WORK/unbound.conf"
            wait_for "real3's name server" listens real3 53
            return
        fi
        spawn "vt-$1" "$1-dns" dnsmasq --no-daemon --conf-file=/dev/null --port=53 \
            --no-resolv --no-hosts --user=root --group=root \
            --pid-file="$WORK/$1.dns.pid" --address=/www.example/192.0.2.80
        wait_for "$1's name server" listens "$1" 53
    }
    for name in "${REALS[@]}"; do start_dns "$name"; done
    SERVICE_KEYS+=$'\n'$(one_check 'type = "dns"
port = 53
query = "www.example"
expect_answer = "192.0.2.80"')
fi
http2=
if command -v nginx >/dev/null; then
    http2=yes
    for name in "${REALS[@]}"; do start_http2 "$name"; done
    SERVICE_KEYS+=$'\n'$(one_check "type = \"https\"
port = 9443
http_version = \"2\"
host = \"www.example\"
expect_body = \"^HTTP/2.0 TLSv1.3\$\"
$tls")
fi
grpc=
if /usr/bin/python3 -c 'import grpc' 2>/dev/null; then
    grpc=yes
    for name in "${REALS[@]}"; do start_grpc "$name"; done
    SERVICE_KEYS+=$'\n'$(one_check 'type = "grpc"
port = 50051')
fi
start_director rr 1 1 1
for name in "${REALS[@]}"; do becomes "$name" up "all checks pass"; done
expect_eq "packets of probes in the service's counts" "$(packets_given)" 0

stop real2-tls8443 KILL
becomes real2 down "tls check failed: connection refused"
serve real2 8443
becomes real2 up "all checks pass"

# A server that accepts only clients with a certificate: it refuses after the handshake.
tls_checks() { # NAME
    echo ".checks[] | select(.address == \"${ADDRESS[$1]}\" and .type == \"tls\")"
}
last_result() { # NAME
    number director checks "$(tls_checks "$1") | .results[0].detail"
}
is_refused() { [[ $(last_result real2) == "TLS: "* ]]; }
stop real2-tls8443 KILL
serve real2 8443 -Verify 1 -verify_return_error
wait_for "a refusal by real2" is_refused
becomes real2 down "tls check failed"
# With a certificate the check passes, also at servers that require none.
stop real2-tls8443 KILL
serve real2 8443 -Verify 1 -verify_return_error -CAfile "$WORK/cert.pem"
sed -i "/^port = 8443/a client_certificate = '$WORK/cert.pem'\nclient_key = '$WORK/key.pem'" \
    "$WORK/director.toml"
ask director reload >/dev/null
for name in "${REALS[@]}"; do becomes "$name" up "all checks pass"; done

# A server that accepts connections and never answers the first message of TLS.
stop real2-tls8443 KILL
spawn vt-real2 mute python3 "$WORK/mute.py" "$VIP"
becomes real2 down "tls check failed: connected, then nothing within 2s"
longest=$(number director checks "[$(tls_checks real2) | .results[].microseconds] | max")
expect_between "microseconds of the longest probe" "$longest" 2000000 3000000
stop mute KILL
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

if [[ -n $http2 ]]; then
    stop real2-http2 KILL
    becomes real2 down "https check failed: connection refused"
    start_http2 real2
    becomes real2 up "all checks pass"
fi
if [[ -n $grpc ]]; then
    touch "$WORK/not-serving-real2"
    becomes real2 down "grpc check failed: NOT_SERVING"
    rm "$WORK/not-serving-real2"
    becomes real2 up "all checks pass"
    stop real2-grpc KILL
    becomes real2 down "grpc check failed: connection refused"
    start_grpc real2
    becomes real2 up "all checks pass"
fi

touch "$WORK/sick-${ADDRESS[real2]}"
becomes real2 down "exec check failed: exit code 1: out of order"
rm "$WORK/sick-${ADDRESS[real2]}"
becomes real2 up "all checks pass"

# Without the virtual IP no echo comes back: a check of type icmp tests only the path.
stop real3
becomes real3 down "check failed"
# s_server serves one connection at a time, and waits for ever for the rest of one that was cut off
# with the tunnel.
stop real3-tls8443 KILL
stop real3-tls443 KILL
start_real real3
serve real3 8443
serve real3 443 -www
becomes real3 up "all checks pass"
