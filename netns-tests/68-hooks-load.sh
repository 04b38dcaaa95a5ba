# Two directors with one configuration and Maglev hashing; hooks decide which one has the VIP: it
# moves back and forth, as after keepalived's elections, while 600 open connections send requests
# all the time, and none of them breaks.
# first: 600 connections in turns, and seven moves
# usual: 4in6
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
source "$here/two_directors.sh"

connections=600
DIRECTOR_KEYS='announce = false
uplinks = ["eth0"]
hash_seed = "68-hooks-load"'
SERVICE_KEYS='unknown = "adopt"'
TRUSTED=("$DIRECTOR" "${LAN_OTHERS[$OUTER]}")
make_topology
make_other
start_web "${REALS[@]}"
start_real "${REALS[@]}"
start_director mh 2 3 3
start_other

tunnelled() { number "$1" stats .packets.tunnelled; } # DIRECTOR

# The new master first, as with VRRP, where it does not wait for the old one.
move() { # FROM TO
    ask "$2" announce "$VIP" >"$WORK/announce.out"
    wait_for "the router to learn $2's address" learnt "$2"
    ask "$1" withdraw "$VIP" >"$WORK/withdraw.out"
    # The old master may have defended the address against the new one.
    wait_for "the router to keep $2's address" learnt "$2"
}

ask director announce "$VIP"
start_busy "$connections"
expect_eq "connections that the second director knows" "$(number other list .connections.current)" 0

carried=0 # packets that one of the two has tunnelled while it alone was announced
for round in "director other" "other director" "director other" "other director"; do
    read -r from to <<<"$round"
    before=$(tunnelled "$to")
    move "$from" "$to"
    still=$(tunnelled "$from")
    whole_turn "by $to"
    more=$(($(tunnelled "$to") - before))
    # A request is at least one packet with it and an acknowledgement of its answer, or both in one.
    ((more >= connections)) || fail "$to has tunnelled $more packets of $connections connections, \
            $from $(($(tunnelled "$from") - still)); $(ip -n vt-router neigh show "$VIP")"
    expect_between "packets of $from after its withdrawal, while $to tunnelled $more" \
        "$(($(tunnelled "$from") - still))" 0 "$((more / 10))"
    carried=$((carried + more))
done
say "carried across the moves: $carried packets"
expect_eq "connections that the second director has adopted" \
    "$(number other list .connections.current)" "$connections"
expect_eq "of them active" "$(number other list '[.services[].reals[].active] | add')" \
    "$connections"

# Quick moves, one after the other, each in the middle of a round.
for round in "director other" "other director" "director other"; do
    read -r from to <<<"$round"
    move "$from" "$to"
done
whole_turn "after the quick moves"
end_busy
for name in director other; do
    expect_eq "answers by $name, resets among them" "$(number "$name" stats .packets.replied)" 0
done
expect_direct_replies $((connections * 8))
