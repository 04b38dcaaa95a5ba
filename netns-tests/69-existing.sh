# existing = "reset", for a disabled real server and for one that is down, as seen by their clients:
# the next packet gets a reset from the VIP with the expected sequence number, which the client
# accepts; a reused port and datagrams go to another server at once. A disabled server is alive and
# gets resets through the tunnel; nothing is sent to one that is down.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

state_of() { # NAME STATE
    sed -i "/address = \"${ADDRESS[$1]}\"/a state = \"$2\"" "$WORK/director.toml"
}
sockets() { at "vt-$1" ss -Htn state established '( sport = :80 )' | wc -l; } # NAME
no_socket() { [[ $(sockets "$1") == 0 ]]; } # NAME
tunnelled_to() { number "$1" stats .read; } # REAL
lines() { grep -c "$2" "$WORK/$1.log" || true; } # NAME PATTERN

# Keep-alive connections, datagrams, and connections whose ports will be reused: four, three and two
# of each server.
open_flows() { # ROUND
    mkfifo "$WORK/steps$1" "$WORK/held$1" "$WORK/again$1"
    spawn vt-client steps sh -c "exec python3 '$here/traffic/steps.py' $VIP 80 12 <'$WORK/steps$1'"
    exec {steps}>"$WORK/steps$1"
    wait_for "12 open connections" log_has steps '^open'
    spawn vt-client held sh \
        -c "exec python3 '$here/traffic/udp_held.py' $VIP 9000 9 1 9 <'$WORK/held$1'"
    exec {held}>"$WORK/held$1"
    wait_for "9 flows of datagrams" log_has held '^held'
    spawn vt-client again sh \
        -c "exec python3 '$here/traffic/again.py' $VIP 80 $((21000 + 100 * $1)) 6 <'$WORK/again$1'"
    exec {again}>"$WORK/again$1"
    wait_for "6 more connections" log_has again '^open'
}

# The first packet is answered, not a repetition by the client's kernel, which comes after 200 ms. A
# pause of the machine may cause some: the last answer comes before the fourth one (3 s).
answered_soon() { # SLOWEST QUICKEST-RESET, in milliseconds
    local slowest quickest
    read -r slowest quickest <<<"$1"
    ((slowest < 3000 && quickest < 200))
}
# The fate of each sort of flow when its real server is out of service.
expect_leaves() { # NAME
    local said
    expect_eq "connections from ports to be used again" "$(lines again " $1\$")" 2
    echo >&"$again"
    wait_for "the ports used again" more_than again '^open' 1
    # Those from before, and no others.
    expect_eq "connections to $1 from the same ports, of both times" "$(lines again " $1\$")" 2
    echo >&"$held"
    exit_code held
    expect_eq "the datagrams' exit code" "$CODE" 0
    expect_eq "datagrams to $1" "$(sed '1,/^sent/d' "$WORK/held.log" | grep -c " $1\$" || true)" 0
    expect_eq "datagrams to others" \
        "$(sed '1,/^sent/d' "$WORK/held.log" | awk '{ n += $1 } END { print n }')" 9
    echo gone >&"$steps"
    wait_for "all connections to be used" log_has steps '^gone '
    said=$(grep '^gone ' "$WORK/steps.log")
    [[ $said == "gone alive 8 reset 4 milliseconds "* ]] || fail "connections: $said"
    answered_soon "${said##*milliseconds }" || fail "the answers took too long: $said"
    say "$said"
}
more_than() { (($(lines "$1" "$2") > $3)); } # NAME PATTERN N
close_flows() {
    exec {steps}>&- {held}>&- {again}>&-
    exit_code steps
    exit_code again
}

SERVICE_KEYS='existing = "reset"'
make_topology
start_web "${REALS[@]}"
start_real "${REALS[@]}"
start_echo "${REALS[@]}"
start_director rr 1 1 1
spawn vt-client client-resets python3 "$here/traffic/resets.py" eth0 "$VIP"
spawn vt-real1 real1-resets python3 "$here/traffic/resets.py" vstun0 "$VIP"
spawn vt-real2 real2-resets python3 "$here/traffic/resets.py" vstun0 "$VIP"
for name in client real1 real2; do
    wait_for "a look at $name's resets" log_has "$name-resets" '^ready'
done

# --- disabled ---

open_flows 1
expect_eq "connections of real2" "$(sockets real2)" 6
state_of real2 disabled
ask director reload
expect_eq "state of real2" "$(real_field real2 state)" disabled
expect_leaves real2
wait_for "the resets at real2" more_than real2-resets '^client right' 3
expect_eq "resets at real2 with another sequence number" "$(lines real2-resets '^client wrong')" 0
clients_reset() { grep '^vip right' "$WORK/client-resets.log" | sort -u | wc -l; }
are_reset() { (($(clients_reset) >= $1)); } # CLIENTS
wait_for "a reset to each client" are_reset 4
expect_between "resets, on a busy machine also of repeated segments" \
    "$(lines client-resets '^vip right')" 4 8
expect_eq "connections that real2 has left, whose clients are silent" "$(sockets real2)" 2
expect_eq "packets that ended a connection" "$(number director stats .packets.ended)" 4
close_flows

# --- down ---

configure "$WORK/director.toml" rr 1 1 1
ask director reload
expect_eq "state of real2, which is back" "$(real_field real2 state)" up
open_flows 2
resets=$(lines client-resets '^vip right') clients=$(clients_reset)
expect_eq "connections of real1" "$(number director list '.services[0].reals[0].active')" 6
state_of real1 down
ask director reload
expect_eq "state of real1" "$(real_field real1 state)" down
before=$(tunnelled_to real1)
open=$(sockets real1)
expect_leaves real1
expect_eq "packets to real1 since it is down" "$(($(tunnelled_to real1) - before))" 0
expect_eq "connections that real1 still has" "$(sockets real1)" "$open"
wait_for "a reset to each client" are_reset $((clients + 4))
expect_between "resets, on a busy machine also of repeated segments" \
    $(($(lines client-resets '^vip right') - resets)) 4 8
expect_eq "packets that ended a connection" "$(number director stats .packets.ended)" 8
expect_eq "resets to the client with another sequence number" \
    "$(lines client-resets '^vip wrong')" 0
close_flows
expect_direct_replies 100
expect_accounted

# --- up again, by the operator, until the file changes ---

ask director enable "${ADDRESS[real1]}"
expect_eq "state of real1, which was enabled" "$(real_field real1 state)" up
expect_eq "connections to real1, which is back" "$(share "$(fetch 30)" real1)" 10
