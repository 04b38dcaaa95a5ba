# Maglev hashing without a `hash_seed`: the random seed is kept, so a restarted director adopts
# every open connection and sends it to the real server that has it.
# mixes: 6in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

connections=200
make_topology
start_web "${REALS[@]}"
start_real "${REALS[@]}"
start_director mh 1 1 1

start_busy "$connections"
seed=$(<"/var/lib/vstun/hash_seed")
expect_eq "mode of the kept seed" \
    "$(stat -c %a "/var/lib/vstun" "/var/lib/vstun/hash_seed" | xargs)" "700 600"

stop director
start_director mh 1 1 1
whole_turn "by the new director"
expect_eq "connections that it has adopted" "$(number director list .connections.current)" \
    "$connections"
end_busy
expect_eq "resets by the director" "$(number director stats .packets.replied)" 0
[[ $(<"/var/lib/vstun/hash_seed") == "$seed" ]] || fail "the kept seed has changed"
