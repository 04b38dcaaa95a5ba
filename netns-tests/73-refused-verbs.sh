# A refused verb changes nothing and prints the reason; a verb that is carried out prints the
# warnings that it causes.
# usual: 6in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

make_topology
start_director wrr 1 1
listen_to_events

state() {
    ask director list --json |
        jq -c '[.services[].reals[] | {address, weight, state}] + .vips'
}
refused() { # PATTERN VERB...
    local pattern=$1 before
    shift
    before=$(state)
    if ask director "$@" >"$WORK/refused.out" 2>&1; then fail "vstun $* was not refused"; fi
    grep -qE -- "$pattern" "$WORK/refused.out" ||
        fail "vstun $*: answered '$(cat "$WORK/refused.out")', expected '$pattern'"
    expect_eq "after the refused $1" "$(state)" "$before"
}
refused "address: ${ADDRESS[real3]} is not a real server" set-weight "${ADDRESS[real3]}" --weight 1
refused 'service: "wob" is not a service; did you mean web' drain "${ADDRESS[real1]}" --service wob
refused 'address: .* is in service web already' add-real "${ADDRESS[real1]}"
refused "address: $VIP is a virtual IP" add-real "$VIP"
refused "real server $DIRECTOR is an address of this director's host" add-real "$DIRECTOR"
refused 'address: .* has a port' enable "$(in_url "${ADDRESS[real1]}"):80"
refused 'deadline: "soon" is not a duration' drain "${ADDRESS[real1]}" --deadline soon
refused 'deadline: 32d is out of range' drain "${ADDRESS[real1]}" --deadline 32d
refused '65536 is not in 0..=65535' set-weight "${ADDRESS[real1]}" --weight 65536
refused "address: no service listens on $CLIENT" withdraw "$CLIENT"
refused 'flow: "80" is not an address with a port' explain tcp 80 81

# Past the range, by a client that does not check it.
answer=$(
    at vt-director python3 - "$CONTROL/director.sock" "${ADDRESS[real1]}" <<'PYTHON' | jq -r .error
import json, socket, sys
control = socket.socket(socket.AF_UNIX)
control.connect(sys.argv[1])
request = {"version": 1, "verb": "set-weight", "address": sys.argv[2], "weight": 65536}
control.sendall(json.dumps(request).encode() + b"\n")
print(control.makefile().readline().strip())
PYTHON
)
expect_eq "the answer to a weight past the range" "$answer" \
    "weight: 65536 is out of range; write a number from 0 to 65535"

# Warnings about the host that a command causes are printed by that command, each time.
nowhere=203.0.113.77
[[ $DIRECTOR != *:* ]] || nowhere=2001:db8:ffff::77
at vt-director ip route add unreachable "$nowhere"
for time in first second; do
    ask director add-real "$nowhere" --json >"$WORK/own.json" 2>"$WORK/own.log"
    changed add-real add_real - "weight 1"
    expect_eq "warnings of the $time one out of reach" \
        "$(jq '.warnings | length' "$WORK/own.json")" 1
    expect_eq "warnings printed" "$(grep -c "^vstun: warning: .*$nowhere" "$WORK/own.log")" 1
    ask director remove-real "$nowhere"
    changed remove-real remove_real "weight 1" -
done
