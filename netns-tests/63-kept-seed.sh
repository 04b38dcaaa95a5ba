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

turns() { grep -c '^turn' "$WORK/busy.log" || true; }
turn_after() { (($(turns) > $1)); } # TURNS
mkfifo "$WORK/release"
spawn vt-client busy sh \
    -c "exec python3 '$here/traffic/busy.py' $VIP 80 $connections <'$WORK/release'"
exec {release}>"$WORK/release"
wait_for "$connections open connections" log_has busy '^held'
seed=$(<"/var/lib/vstun/hash_seed")
expect_eq "mode of the kept seed" \
    "$(stat -c %a "/var/lib/vstun" "/var/lib/vstun/hash_seed" | xargs)" "700 600"

stop director
start_director mh 1 1 1
wait_for "a turn of all connections by the new director" turn_after "$(($(turns) + 1))"
expect_eq "connections that it has adopted" "$(number director list .connections.current)" \
    "$connections"
echo >&"$release" # the new director has the pipe's end too, so it is not closed
exit_code busy
expect_eq "broken connections" "$(sed -n 's/^broken //p' "$WORK/busy.log")" 0
expect_eq "resets by the director" "$(number director stats .packets.replied)" 0
[[ $(<"/var/lib/vstun/hash_seed") == "$seed" ]] || fail "the kept seed has changed"
