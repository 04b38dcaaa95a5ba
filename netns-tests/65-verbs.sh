# The operator's verbs: weights change shares, a drained, disabled or removed server keeps its connections and gets no new
# ones, a server that is added gets its share, a flush forgets. What is refused changes nothing and says why. Every change is
# one line in `vstun events`, with who asked for what; `explain` names the server that then gets the connection.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
source "$here/host_state.sh"

make_topology
start_web "${REALS[@]}"
start_real "${REALS[@]}"
start_director wrr 1 1

spawn vt-director events sh -c "exec '$VSTUN_BIN/vstun' --socket '$CONTROL/director.sock' events 2>'$WORK/listening'"
wait_for "the listener to be heard out" grep -qs listening "$WORK/listening"
changes=0
# One change: it is made, and heard of once. Seconds that pass meanwhile do not count.
changed() { # VERB WHAT BEFORE AFTER
    changes=$((changes + 1))
    has_event() { (($(wc -l <"$WORK/events.log") >= changes)); }
    wait_for "event $changes" has_event
    expect_eq "event $changes" "$(tail -n +"$changes" "$WORK/events.log" | jq -rs '.[0] | "\(.who) \(.uid) \(.verb) \(.what) \(.before // "-") \(.after // "-")" | gsub("9m5[0-9]s"; "9m5_s")')" \
        "operator 0 $1 $2 $3 $4"
}

# --- weights -----------------------------------------------------------------------------------------------

ask director set-weight "${ADDRESS[real2]}" --weight 3
changed set-weight weight 1 3
served=$(fetch 40)
expect_eq "requests to real1 of weight 1" "$(share "$served" real1)" 10
expect_eq "requests to real2 of weight 3" "$(share "$served" real2)" 30

# --- a server more, and one less ---------------------------------------------------------------------------

# The way to the added server takes less: so does the TUN, at once.
at vt-director ip route add "${ADDRESS[real3]}" dev eth1 mtu lock 1400
ask director add-real "${ADDRESS[real3]}" --weight 4
changed add-real add_real - "weight 4"
expect_eq "the TUN's MTU with the added server" "$(at vt-director ip -j link show vstun0 | jq '.[0].mtu')" $((TUN_MTU - 100))
served=$(fetch 40)
expect_eq "requests to real3, added with weight 4" "$(share "$served" real3)" 20

mkfifo "$WORK/release"
spawn vt-client hold sh -c "exec python3 '$here/traffic/hold.py' $VIP 80 16 <'$WORK/release'"
exec {release}>"$WORK/release"
wait_for "16 open connections" log_has hold '^held'
held() { share "$(cat "$WORK/hold.log")" "$1"; }
expect_eq "open connections to real3" "$(held real3)" 8

ask director remove-real "${ADDRESS[real3]}"
changed remove-real remove_real "weight 4" -
expect_eq "state of the removed server" "$(real_field real3 state)" draining
expect_eq "open connections of the removed server" "$(real_field real3 active)" 8
expect_eq "requests to the removed server" "$(share "$(fetch 40)" real3)" 0

# The removed server can be told to end its connections, but comes back by `add-real` alone.
ask director drain "${ADDRESS[real3]}" --deadline 10m
changed drain state draining "draining, for 10m at most"
expect_fails "enabling the removed server" ask director enable "${ADDRESS[real3]}" 2>"$WORK/enable.log"
grep -q 'was removed from service web .*add-real' "$WORK/enable.log" || fail "enabling the removed server: $(cat "$WORK/enable.log")"
ask director disable "${ADDRESS[real3]}"
changed disable state "draining, for 9m5_s at most" disabled
expect_eq "state of the removed server, disabled" "$(real_field real3 state)" disabled
expect_eq "its open connections, which are kept" "$(real_field real3 active)" 8

# --- states ------------------------------------------------------------------------------------------------

ask director drain "${ADDRESS[real2]}" --deadline 10m
changed drain state up "draining, for 10m at most"
expect_eq "state of the drained server" "$(real_field real2 state)" draining
expect_eq "requests to the drained server" "$(share "$(fetch 20)" real2)" 0
# Another deadline is a change like any other: here that of the service, which has none.
ask director drain "${ADDRESS[real2]}"
changed drain state "draining, for 9m5_s at most" draining
expect_eq "deadline of the drained server" "$(real_field real2 deadline_seconds)" null
ask director drain "${ADDRESS[real2]}" --deadline 10m
changed drain state draining "draining, for 10m at most"
ask director enable "${ADDRESS[real2]}"
changed enable state "draining, for 9m5_s at most" up
ask director disable "${ADDRESS[real1]}"
changed disable state up disabled
expect_eq "requests to the disabled server" "$(share "$(fetch 20)" real1)" 0
# A reload of the same file brings nothing back that the file does not name.
ask director reload
changed reload weight 3 1
expect_eq "state of the disabled server after a reload" "$(real_field real1 state)" disabled
ask director enable "${ADDRESS[real1]}" --service web --json >"$WORK/enable.json"
changed enable state disabled up
expect_eq "the answer as JSON" "$(jq -r '.changes[0] | "\(.service) \(.what) \(.before) \(.after)"' "$WORK/enable.json")" "web state disabled up"
exec {release}>&-
exit_code hold
log_has hold '^alive 16' || fail "not all open connections lived on: $(tail -n 1 "$WORK/hold.log")"

# --- explain -----------------------------------------------------------------------------------------------

explained() { ask director explain tcp "$(in_url "$CLIENT"):$1" "$(in_url "$VIP"):80" --json; } # PORT
for port in 40001 40002 40003 40004; do
    said=$(explained $port | jq -r .real)
    got=$(at vt-client curl -sS --local-port $port "$(url /)")
    expect_eq "the server of the connection from port $port, as explained" "${ADDRESS[$got]}" "$said"
    expect_eq "and again, by its entry" "$(explained $port | jq -r '"\(.service) \(.real) \(.why)"')" "web $said entry"
done
expect_eq "why a port without a service" "$(ask director explain tcp "$(in_url "$CLIENT"):1" "$(in_url "$VIP"):81" --json | jq -r .why)" no_service

# --- what is refused changes nothing -----------------------------------------------------------------------

state() { ask director list --json | jq -c '[.services[].reals[] | {address, weight, state}] + .vips'; }
refused() { # PATTERN VERB...
    local pattern=$1 before
    shift
    before=$(state)
    if ask director "$@" >"$WORK/refused.out" 2>&1; then fail "vstun $* was not refused"; fi
    grep -qE -- "$pattern" "$WORK/refused.out" || fail "vstun $*: said '$(cat "$WORK/refused.out")', expected '$pattern'"
    expect_eq "after the refused $1" "$(state)" "$before"
}
refused "address: ${ADDRESS[real3]} is no real server" set-weight "${ADDRESS[real3]}" --weight 1
refused 'service: "wob" is no service; did you mean web' drain "${ADDRESS[real1]}" --service wob
refused 'address: .* is in service web already' add-real "${ADDRESS[real1]}"
refused "address: $VIP is a virtual IP" add-real "$VIP"
refused 'address: .* has a port' enable "$(in_url "${ADDRESS[real1]}"):80"
refused 'deadline: "soon" is no duration' drain "${ADDRESS[real1]}" --deadline soon
refused 'deadline: 32d is out of range' drain "${ADDRESS[real1]}" --deadline 32d
refused '65536 is not in 0..=65535' set-weight "${ADDRESS[real1]}" --weight 65536
refused "address: no service listens on $CLIENT" withdraw "$CLIENT"
refused 'flow: "80" is no address with a port' explain tcp 80 81
expect_eq "what went over the socket past the range is refused too" \
    "$(printf '{"version":1,"verb":"set-weight","address":"%s","weight":65536}\n' "${ADDRESS[real1]}" | at vt-director python3 -c "
import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect('$CONTROL/director.sock'); s.sendall(sys.stdin.buffer.read())
print(s.makefile().readline().strip())" | jq -r .error)" "weight: 65536 is out of range; write a number from 0 to 65535"

# What is odd about the host since is told to whoever asked for it, each time.
for time in first second; do
    ask director add-real "$DIRECTOR" --json >"$WORK/own.json" 2>"$WORK/own.log"
    changed add-real add_real - "weight 1"
    expect_eq "warnings of the $time own address" "$(jq '.warnings | length' "$WORK/own.json")" 1
    expect_eq "warnings printed" "$(grep -c "^vstun: warning: .*$DIRECTOR" "$WORK/own.log")" 1
    ask director remove-real "$DIRECTOR"
    changed remove-real remove_real "weight 1" -
done

# --- forgetting connections --------------------------------------------------------------------------------

entries() { number director list .connections.current; }
expect_fails "nothing is left to flush" test "$(entries)" = 0
expect_fails "flush without saying whose" ask director flush
ask director flush --all
changes=$((changes + 1))
expect_eq "connections after the flush" "$(entries)" 0
expect_eq "requests after it" "$(fetch 20 | awk '{ n += $1 } END { print n }')" 20

# --- who may -----------------------------------------------------------------------------------------------

expect_eq "mode of the socket" "$(stat -c %a "$CONTROL/director.sock")" 660
stop director
expect_eq "the director's exit code" "$CODE" 0
exit_code events
expect_eq "lines that the listener heard" "$(wc -l <"$WORK/events.log")" "$changes"

# A user namespace may have one user and one group only.
can_be_others() { touch "$WORK/own" && chgrp 4242 "$WORK/own" && setpriv --reuid 1000 --regid 1000 --clear-groups true; }
if ! can_be_others 2>/dev/null; then
    say "there is nobody else here: who may change something is not tried"
    exit 0
fi
DIRECTOR_KEYS=$'control_mode = "0666"\ncontrol_group = "4242"'
start_director wrr 1 1
expect_eq "mode and group of the socket" "$(stat -c '%a %g' "$CONTROL/director.sock")" "666 4242"
cp "$VSTUN_BIN/vstun" "$WORK/vstun" # where anybody can run it
as() { # "FLAG..." VERB...
    # shellcheck disable=SC2086 # flags
    at vt-director setpriv --reuid 1000 --regid 1000 $1 "$WORK/vstun" --socket "$CONTROL/director.sock" "${@:2}"
}
as --clear-groups list >"$WORK/stranger.log"
before=$(state)
expect_fails "a stranger's change" as --clear-groups set-weight "${ADDRESS[real1]}" --weight 9 2>"$WORK/stranger.log"
grep -q 'uid 1000 gid 1000 .*may read but not change' "$WORK/stranger.log" || fail "the stranger was told: $(cat "$WORK/stranger.log")"
expect_log director 'set-weight: uid 1000'
expect_eq "after the stranger's change" "$(state)" "$before"
expect_fails "a stranger's plan, which takes work" as --clear-groups plan "$WORK/director.toml" 2>"$WORK/stranger.log"
grep -q 'uid 1000 gid 1000 .*may read but not' "$WORK/stranger.log" || fail "the stranger was told: $(cat "$WORK/stranger.log")"
for _ in {1..20}; do as --clear-groups set-weight "${ADDRESS[real1]}" --weight 9 2>/dev/null || :; done
expect_eq "lines about refused strangers" "$(grep -c 'may read but not' "$WORK/director.log")" 1
# Strangers on every place that they can have are no reason to turn root away.
cat >"$WORK/crowd.py" <<'EOF'
import os, socket, sys, time
os.setgroups([]), os.setgid(1000), os.setuid(1000)
crowd, served = [], 0
for _ in range(40):
    one = socket.socket(socket.AF_UNIX)
    one.connect(sys.argv[1])
    try:
        one.sendall(b'{"version":1,"verb":"status"}\n')
        served += b'busy' not in one.recv(1000)
    except OSError:
        pass
    crowd.append(one)
print("served", served, flush=True)
while True:  # or they would be idle, and gone
    time.sleep(0.5)
    for one in crowd:
        try:
            one.sendall(b'{"version":1,"verb":"status"}\n')
            one.recv(1000)
        except OSError:
            pass
EOF
spawn vt-director crowd python3 "$WORK/crowd.py" "$CONTROL/director.sock"
wait_for "the crowd of strangers" log_has crowd '^served'
expect_eq "strangers served at the same time" "$(cat "$WORK/crowd.log")" "served 28"
ask director enable "${ADDRESS[real1]}"
stop crowd
as "--groups 4242" set-weight "${ADDRESS[real1]}" --weight 9
expect_eq "weight after a member's change" "$(real_field real1 weight)" 9
expect_log director 'weight 1 → 9 .set-weight by operator, uid 1000 gid 1000 pid'

# What cannot be is refused before anything happens.
stop director
host_state vt-director >"$WORK/before"
DIRECTOR_KEYS='control_group = "no-such-group"'
configure "$WORK/director.toml" wrr 1
spawn vt-director director "$VSTUN_BIN/vstun-director" --config "$WORK/director.toml"
exit_code director
expect_eq "exit code with a group that is not there" "$CODE" 1
expect_log director 'control_group: there is no group "no-such-group"'
expect_host_state "after that" vt-director "$WORK/before"
