# States of real servers in the configuration, under traffic. Draining: connections live, new ones
# go elsewhere, and at the deadline client and real server get resets. Disabled with existing =
# "reset": resets at once.
# first: it waits for a deadline of twelve seconds, which leaves a busy machine time for the steps
# before
# usual: 4in6
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

state_of() { # NAME STATE
    sed -i "/address = \"${ADDRESS[$1]}\"/a state = \"$2\"" "$WORK/director.toml"
}
sockets() { at "vt-$1" ss -Htn state established '( sport = :80 )' | wc -l; } # NAME
no_socket() { [[ $(sockets "$1") == 0 ]]; }

# The first packet is answered, not a repetition by the client's kernel, which comes after 200 ms. A
# pause of the machine may cause some: the last answer comes before the fourth one (3 s).
answered_soon() { # SLOWEST QUICKEST-RESET, in milliseconds
    local slowest quickest
    read -r slowest quickest <<<"$1"
    ((slowest < 3000 && quickest < 200))
}
# Every open connection is used once more.
step() { # NAME ALIVE RESET
    echo "$1" >&"$steps"
    wait_for "step $1" log_has steps "^$1 "
    local said
    said=$(grep "^$1 " "$WORK/steps.log")
    say "$said"
    [[ $said == "$1 alive $2 reset $3 milliseconds "* ]] ||
        fail "step $1: expected alive $2, reset $3"
    answered_soon "${said##*milliseconds }" || fail "step $1: the answers took too long: $said"
}

make_topology
start_web "${REALS[@]}"
start_real "${REALS[@]}"
SERVICE_KEYS='drain_deadline = "12s"'
start_director rr 1 1 1
listen_to_events
mkfifo "$WORK/steps"
spawn vt-client steps sh -c "exec python3 '$here/traffic/steps.py' $VIP 80 12 <'$WORK/steps'"
exec {steps}>"$WORK/steps"
wait_for "12 open connections" log_has steps '^open'
expect_eq "connections of real1" "$(sockets real1)" 4

# --- draining ---

state_of real1 draining
ask director reload
expect_eq "state of real1" "$(real_field real1 state)" draining
expect_between "seconds left to real1" "$(real_field real1 deadline_seconds)" 1 12
step draining 12 0
served=$(fetch 20)
expect_eq "new connections to real1 while it drains" "$(share "$served" real1)" 0
expect_eq "connections served meanwhile" "$(awk '{ n += $1 } END { print n }' <<<"$served")" 20
wait_for "the deadline's event" log_has events '"deadline"'
expect_eq "events: the drain, and its deadline with the connections left" \
    "$(jq -r '"\(.who) \(.verb) \(.what) \(.service) \(.address) \(.before) \(.after)"' \
    "$WORK/events.log" | tail -n 2)" \
    "operator reload state web ${ADDRESS[real1]} up draining, for 12s at most
director deadline ended web ${ADDRESS[real1]} 4 connections null"
step last 8 4
wait_for "the end of real1's sockets" no_socket real1
step drained 8 0
expect_eq "packets that ended a connection" "$(number director stats .packets.ended)" 4

# --- disabled, with resets ---

SERVICE_KEYS='existing = "reset"'
configure "$WORK/director.toml" rr 1 1 1
state_of real2 disabled
ask director reload
expect_eq "state of real1, which is back" "$(real_field real1 state)" up
expect_eq "state of real2" "$(real_field real2 state)" disabled
expect_eq "connections of real2 before they are used" "$(sockets real2)" 4
step disabled 4 4
wait_for "the end of real2's sockets" no_socket real2
served=$(fetch 20)
expect_eq "new connections to real2, which is disabled" "$(share "$served" real2)" 0
expect_eq "new connections to real1, which is back" "$(share "$served" real1)" 10

exec {steps}>&-
exit_code steps
expect_direct_replies 200
expect_accounted
