# Checks of servers that are broken or lie: each fails for its own reason and within its timeout,
# and takes no more memory than its bounds. A slow server passes; one that flaps changes nothing,
# since neither enough failures nor enough passes follow each other. `verify = false` accepts
# a certificate of an unknown issuer. A client certificate is shown to those that require one.
# usual: 6in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

TIMEOUT=900 # milliseconds, of the checks of servers that hang or send without end
HANGING="9105|9106|9107|9108|9114|9120|9121"
# Of all others: an answer may be late on a busy machine.
PATIENT=10000
# The check of real1 at PORT.
check() { # PORT JQ-FILTER [ADDRESS]
    number director checks \
        ".checks[] | select(.destination == \"$(in_url "${3:-$VIP}"):$1\") | $2"
}
is_so() { # PORT STATE DETAIL
    check "$1" '"\(.state): \(.results[0].detail)"' >"$WORK/state.log"
    [[ $(<"$WORK/state.log") == "$2: "*"$3"* ]]
}
becomes() { # PORT STATE DETAIL
    wait_for "the check of port $1 to be $2 with '$3'" is_so "$@"
    say "$1 is $(<"$WORK/state.log")"
}
memory() { awk '/^VmRSS/ { print $2 }' "/proc/${PID[director]}/status"; } # KB
# Probes of those that went on: they took longer than the timeout and any pause of the machine.
late() {
    number director checks "[.checks[] | select(.destination | test(\":($HANGING)\$\"))
        | .results[] | select(.microseconds > 10000000)] | length"
}

one_check() { # TYPE PORT [KEYS]
    local timeout=$PATIENT
    [[ ! $2 =~ ^($HANGING)$ ]] || timeout=$TIMEOUT
    printf '[[service.check]]\ntype = "%s"\nport = %d\n' "$1" "$2"
    printf 'interval = "1s"\nfast_interval = "300ms"\ntimeout = "%dms"\n' "$timeout"
    printf 'rise = 2\nfall = 2\n%s\n' "${3:-}"
}
SERVICE_KEYS=
add() { SERVICE_KEYS+=$(one_check "$@")$'\n'; }
for port in {9101..9104} 9107; do add http "$port" 'expect_body = "well"'; done
for port in 9105 9106 {9108..9112}; do add http "$port"; done
add https 9443 'verify = false'
add https 9444 "ca = \"$WORK/other.pem\""
add tls 9445 'verify = false'
add tls 9448 "verify = false
client_certificate = \"$WORK/cert.pem\"
client_key = \"$WORK/cert.key\""

make_topology
start_real real1
for name in cert other; do
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
        -subj "/CN=$name.example" -addext "subjectAltName=DNS:$name.example" \
        -keyout "$WORK/$name.key" -out "$WORK/$name.pem" 2>/dev/null
done
for port in {9443..9447}; do
    spawn vt-real1 "tls$port" openssl s_server -accept "$port" "-$INNER" -www \
        -cert "$WORK/cert.pem" -key "$WORK/cert.key" -quiet
done
for port in 9448 9449; do # These require a client certificate.
    spawn vt-real1 "tls$port" openssl s_server -accept "$port" "-$INNER" -www -Verify 1 \
        -verify_return_error -CAfile "$WORK/cert.pem" \
        -cert "$WORK/cert.pem" -key "$WORK/cert.key" -quiet
done
spawn vt-real1 liars python3 "$here/traffic/liars.py" "$VIP" "${ADDRESS[real1]}"
wait_for "the servers" log_has liars '^ready'
start_director rr 1
# Another service of the same real server: a service has at most 16 checks.
SERVICE_KEYS=
for port in 9113 9114; do add http "$port" 'expect_body = "well"'; done
add grpc 9115
for port in 9120 9121; do
    add dns "$port" 'query = "www.example"
expect_answer = "192.0.2.80"'
done
add tls 9446 "ca = \"$WORK/cert.pem\"
sni = \"other.example\""
add tls 9447 "ca = \"$WORK/cert.pem\"
sni = \"cert.example\""
add tls 9449 'verify = false'
SERVICE_KEYS+="[[service.check]]
type = \"agent\"
port = 9181
interval = \"500ms\"
timeout = \"${TIMEOUT}ms\""
cat >>"$WORK/director.toml" <<TOML
[[service]]
name = "more"
listen = ["$(in_url "$VIP"):8888/tcp"]
$SERVICE_KEYS
[[service.real]]
address = "${ADDRESS[real1]}"
TOML
ask director reload

becomes 9101 down "the body does not match (7 bytes read)"
becomes 9102 down "the body does not match (0 bytes read)"
becomes 9103 down "the body does not match (6 bytes read)"
becomes 9104 down "the body does not match (3 bytes read)"
becomes 9105 down "connected, then no whole answer within ${TIMEOUT}ms"
becomes 9106 down "connected, then no whole answer within ${TIMEOUT}ms"
becomes 9107 down "the body does not match (65536 bytes read)"
becomes 9108 down "no answer of HTTP"
becomes 9109 down "connection closed before the answer"
becomes 9110 down "no answer of HTTP"
becomes 9113 down "the body does not match (4 bytes read)"
becomes 9114 down "the answer has not ended after 524288 bytes"
becomes 9115 down "NOT_SERVING"
becomes 9120 down "an answer to another question, then nothing within ${TIMEOUT}ms"
becomes 9121 down "an answer to another question, then nothing within ${TIMEOUT}ms"
becomes 9446 down "certificate not valid for name \"other.example\""
becomes 9447 up ""
becomes 9444 down "TLS: invalid peer certificate"
becomes 9443 up "status 200"
becomes 9445 up ""
becomes 9448 up "handshake"
becomes 9449 down "TLS: "
becomes 9111 up "status 200"
(($(check 9111 '.results[0].microseconds') >= 300000)) || fail "the slow server was quick"

# A load agent's nonsense takes nobody out.
agent_failed() { [[ $(check 9181 '.results[0].detail' "${ADDRESS[real1]}") == "no report: "* ]]; }
wait_for "the agent's nonsense" agent_failed
expect_eq "the agent's check" "$(check 9181 .state "${ADDRESS[real1]}")" up

flapped() { (($(check 9112 .runs) >= 8)); }
wait_for "eight probes of the server that flaps" flapped
expect_eq "its results" "$(check 9112 '[.results[].detail] | unique | join(", ")')" \
    "status 200, status 503"
case $(check 9112 .state) in
    up | falling) say "it is up" ;;
    *) fail "it is $(check 9112 .state): $(check 9112 '[.results[].detail] | join(", ")')" ;;
esac

# Bounded time, and bounded memory while two servers send without end.
before=$(memory) runs=$(check 9107 .runs)
sent_more() { (($(check 9107 .runs) >= runs + 5)); }
wait_for "more probes of endless bodies" sent_more
expect_between "kilobytes more after five of them" $(($(memory) - before)) -100000 8192
expect_eq "probes that went on after their timeout" "$(late)" 0
for port in 9105 9106 9120 9121; do
    expect_between "milliseconds of the shortest probe of $port" \
        $(($(check $port '[.results[].microseconds] | min') / 1000)) $TIMEOUT 2000
done
expect_eq "real1" "$(real_field real1 state)" down
stop director
expect_eq "the director's exit code" "$CODE" 0
