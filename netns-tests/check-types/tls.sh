# TLS by OpenSSL, with a self-signed certificate. A server that asks for a certificate refuses
# checks without one, and a server that never finishes its part costs a timeout.
# shellcheck shell=bash

serve() { # NAME PORT OPENSSL-FLAG...
    local name=$1 port=$2
    shift 2
    spawn "vt-$name" "$name-tls$port" openssl s_server -accept "$port" "-$INNER" \
        -cert "$WORK/cert.pem" -key "$WORK/key.pem" -quiet "$@"
}
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
    -subj /CN=www.example \
    -addext subjectAltName=DNS:www.example -keyout "$WORK/key.pem" -out "$WORK/cert.pem" 2>/dev/null
TLS_KEYS="sni = \"www.example\"
ca = \"$WORK/cert.pem\""
cat >"$WORK/mute.py" <<'PY'
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
server = socket.create_server((sys.argv[1], 8443), family=family)
clients = []
while True:
    clients.append(server.accept()[0])
PY

start_tls() { serve "$1" 8443; } # NAME
check_tls() { printf 'type = "tls"\nport = 8443\n%s\n' "$TLS_KEYS"; }

tls_checks() { # NAME
    echo ".checks[] | select(.address == \"${ADDRESS[$1]}\" and .type == \"tls\")"
}
last_result() { # NAME
    number director checks "$(tls_checks "$1") | .results[0].detail"
}
is_refused() { [[ $(last_result real2) == "TLS: "* ]]; }

try_tls() {
    local name longest
    stop real2-tls8443 KILL
    becomes real2 down "tls check failed: connection refused"
    serve real2 8443
    becomes real2 up "all checks pass"

    # A server that accepts only clients with a certificate: it refuses after the handshake.
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
    becomes real2 down "tls check failed: connected, then no end of the handshake within 2s"
    # Of several, since a busy machine may end one of them late.
    shortest=$(number director checks "[$(tls_checks real2) | .results[]
        | select(.detail | endswith(\"within 2s\")) | .microseconds] | min")
    expect_between "microseconds of a probe that gets no answer" "$shortest" 2000000 3000000
    stop mute KILL
    serve real2 8443
    becomes real2 up "all checks pass"
}
