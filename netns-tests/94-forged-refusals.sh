# Forged ICMP errors against a running director: they quote packets that were never sent, datagrams
# of an open flow, and probes with guessed sequence numbers. They bring checks forward, once in a
# fast interval, and change nothing else: the real server stays up, its flows go on, and no other
# check runs. Errors about more hosts than the log remembers change nothing at all, and do not mute
# an error about a real server.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

took() { # the probe of real1 that is running is over
    [[ $(number director checks "[.checks[] | select(.address == \"${ADDRESS[real1]}\")
        | .next_milliseconds // empty] | length") == 1 ]]
}

FORGER=$here/traffic/forged_refusals.py
FAST=200
# Errors about real1 for a second: a probe for each fast interval of that time at most, beside one
# for each sort of doubt.
forge() { # WHAT DROPS MODE ARGUMENT...
    local what=$1 reason=$2 before runs_before sent began=${EPOCHREALTIME/./} passed
    shift 2
    before=$(dropped "$reason") runs_before=$(runs real1)
    sent=$(at vt-router python3 "$FORGER" "$DIRECTOR" "${ADDRESS[real1]}" 1 "$@")
    wait_for "the last probe" took
    passed=$(((${EPOCHREALTIME/./} - began) / 1000))
    say "$what: $sent errors sent, $passed ms"
    expect_between "drops of $reason" $(($(dropped "$reason") - before)) $((sent / 2)) "$sent"
    expect_between "probes of real1 by them" $(($(runs real1) - runs_before)) 1 \
        $((passed / FAST + 2))
    expect_eq "real1" "$(real_field real1 state)" up
    expect_eq "probes of real2, and of real3" "$(runs real2) $(runs real3)" "1 1"
}

make_topology
start_web "${REALS[@]}"
start_real "${REALS[@]}"
start_echo real1
SERVICE_KEYS="[[service.check]]
type = \"http\"
interval = \"10m\"
fast_interval = \"${FAST}ms\"
timeout = \"5s\""
start_director rr 1 0 0
wait_for "probes of all three" all_probed 3

forge "made up" tunnel_error_unverified made-up "$CLIENT" "$VIP"

# A probe that is under way while errors guess its sequence number.
at vt-router timeout 60 python3 "$FORGER" "${ADDRESS[real1]}" "$VIP" seen lan-dir >"$WORK/seen" &
watcher=$!
probe_is_seen() {
    ask director check "${ADDRESS[real1]}" >/dev/null && [[ -s $WORK/seen ]]
}
wait_for "a probe on the wire" probe_is_seen
wait "$watcher"
read -r source port <"$WORK/seen"
forge "guessed" tunnel_error_unverified guessed "$source" "$port" "$VIP"

# About hosts that are no real servers: more of them than the log remembers real servers.
runs_before="$(runs real1) $(runs real2) $(runs real3)" before=$(dropped tunnel_error_unverified)
sent=$(at vt-router python3 "$FORGER" "$DIRECTOR" "${ADDRESS[real1]}" 2.5 nobody "$CLIENT" "$VIP")
all_counted() { (($(dropped tunnel_error_unverified) >= before + sent)); }
wait_for "all $sent errors about nobody" all_counted
expect_between "hosts that are no real servers" "$sent" 1025 5000
expect_eq "probes after them" "$(runs real1) $(runs real2) $(runs real3)" "$runs_before"
expect_between "lines about errors that quote nothing" \
    "$(grep -c 'ICMP errors about packets that were not sent' "$WORK/director.log")" 1 3
no_word() { ! log_has director "real server ${ADDRESS[real1]}: protocol unreachable"; }
no_word || fail "an error about real1 is logged before there is one"

# The datagrams are of a flow that real1 serves, as a host on the path could quote them.
datagram() { # prints the answer
    at vt-client python3 -c "import socket, sys
family = socket.AF_INET6 if ':' in '$VIP' else socket.AF_INET
client = socket.socket(family, socket.SOCK_DGRAM)
client.settimeout(20)
client.bind(('$CLIENT', 5555))
client.sendto(b'ping', ('$VIP', 9000))
print(client.recv(100).decode())"
}
expect_eq "an answer" "$(datagram)" "real1 ping"
forge "of an open flow" tunnel_error open "$CLIENT" "$VIP" 5555
no_word && fail "the errors about nobody have muted one about real1"
expect_eq "an answer after that" "$(datagram)" "real1 ping"
expect_eq "requests to real1 of 10" "$(share "$(fetch 10)" real1)" 10
expect_eq "changes of health" "$(grep -c "health up → down" "$WORK/director.log" || true)" 0
stop director
expect_eq "the director's exit code" "$CODE" 0
