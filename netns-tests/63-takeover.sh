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
make_topology
make_other
start_web "${REALS[@]}"
start_real "${REALS[@]}"
start_director mh 2 3 3
start_other

route_to() { ip -n vt-router route replace "$VIP" via "$1"; } # DIRECTOR

route_to "${UPLINK_DIRECTORS[$INNER]}"
start_busy "$connections"
expect_eq "connections that the second director knows" "$(number other list .connections.current)" 0
route_to "${UPLINK_OTHERS[$INNER]}"
whole_turn "by the second director"
expect_eq "connections that the second director has adopted" \
    "$(number other list .connections.current)" "$connections"
expect_eq "of them active" "$(number other list '[.services[].reals[].active] | add')" \
    "$connections"
route_to "${UPLINK_DIRECTORS[$INNER]}"
whole_turn "by the first again"

# A restarted director has no entries.
stop director
start_director mh 2 3 3
whole_turn "by the first, started anew"
end_busy
expect_eq "resets by the first" "$(number director stats .packets.replied)" 0
expect_eq "resets by the second" "$(number other stats .packets.replied)" 0
