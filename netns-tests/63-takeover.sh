# Two directors with one configuration and Maglev hashing: the router's route to the VIP moves from
# one to the other and back under traffic. None of 2,000 open connections breaks (500 in the second
# usual mix), although each director knows only its own.
# first: 2,000 connections in turns
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

connections=2000
[[ $MIX != 4in6 ]] || connections=500
DIRECTOR_KEYS='arp = false
hash_seed = "63-takeover"'
TRUSTED=("$DIRECTOR" "${LAN_OTHERS[$OUTER]}")
WAIT=60
make_topology
make_other
start_web "${REALS[@]}"
start_real "${REALS[@]}"
start_director mh 2 3 3
start_other

route_to() { ip -n vt-router route replace "$VIP" via "$1"; } # DIRECTOR
turns() { grep -c '^turn' "$WORK/busy.log" || true; }
turn_after() { (($(turns) > $1)); } # TURNS
more_turns() { # WHAT: one that was under way, and a whole one
    wait_for "a turn of all connections $1" turn_after "$(($(turns) + 1))"
}

route_to "${UPLINK_DIRECTORS[$INNER]}"
mkfifo "$WORK/release"
spawn vt-client busy sh \
    -c "exec python3 '$here/traffic/busy.py' $VIP 80 $connections <'$WORK/release'"
exec {release}>"$WORK/release"
wait_for "$connections open connections" log_has busy '^held'
expect_eq "connections that the second director knows" "$(number other list .connections.current)" 0
route_to "${UPLINK_OTHERS[$INNER]}"
more_turns "by the second director"
expect_eq "connections that the second director has adopted" \
    "$(number other list .connections.current)" "$connections"
expect_eq "of them active" "$(number other list '[.services[].reals[].active] | add')" \
    "$connections"
route_to "${UPLINK_DIRECTORS[$INNER]}"
more_turns "by the first again"

# A restarted director has no entries.
stop director
start_director mh 2 3 3
more_turns "by the first, started anew"
echo >&"$release" # the new director has the pipe's end too, so it is not closed
exit_code busy
expect_eq "broken connections" "$(sed -n 's/^broken //p' "$WORK/busy.log")" 0
expect_eq "resets by the first" "$(number director stats .packets.replied)" 0
expect_eq "resets by the second" "$(number other stats .packets.replied)" 0
