# Verbs that change a pool: a new weight changes the shares, an added real server gets its share, a
# removed one keeps its connections and gets no new ones. Each change is one event with its origin
# and its verb.
# usual: 6in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

make_topology
start_web "${REALS[@]}"
start_real "${REALS[@]}"
start_director wrr 1 1
listen_to_events

ask director set-weight "${ADDRESS[real2]}" --weight 3
changed set-weight weight 1 3
served=$(fetch 40)
expect_eq "requests to real1 of weight 1" "$(share "$served" real1)" 10
expect_eq "requests to real2 of weight 3" "$(share "$served" real2)" 30

# The path to the added real server has a smaller MTU, which is its own.
at vt-director ip route add "${ADDRESS[real3]}" dev eth1 mtu lock 1400
ask director add-real "${ADDRESS[real3]}" --weight 4
changed add-real add_real - "weight 4"
expect_eq "the MTU of the added server's path" "$(real_field real3 link_mtu)" 1400
expect_eq "the TUN's MTU with the added server" \
    "$(at vt-director ip -j link show vstun0 | jq '.[0].mtu')" "$TUN_MTU"
served=$(fetch 40)
expect_eq "requests to real3, added with weight 4" "$(share "$served" real3)" 20

hold held 16
expect_eq "open connections to real3" "$(held_at held real3)" 8
ask director remove-real "${ADDRESS[real3]}"
changed remove-real remove_real "weight 4" -
expect_eq "state of the removed server" "$(real_field real3 state)" draining
expect_eq "open connections of the removed server" "$(real_field real3 active)" 8
expect_eq "requests to the removed server" "$(share "$(fetch 40)" real3)" 0

# A verb can end a removed real server's connections, but only `add-real` restores it.
ask director drain "${ADDRESS[real3]}" --deadline 10m
changed drain state draining "draining, for 10m at most"
expect_fails "enabling the removed server" ask director enable "${ADDRESS[real3]}" \
    2>"$WORK/enable.log"
log_has enable 'was removed from service web .*add-real' ||
    fail "enabling the removed server: $(<"$WORK/enable.log")"
ask director disable "${ADDRESS[real3]}"
changed disable state "draining, for 9m5_s at most" disabled
expect_eq "state of the removed server, disabled" "$(real_field real3 state)" disabled
expect_eq "its open connections, which are kept" "$(real_field real3 active)" 8
release held 16

stop director
expect_eq "the director's exit code" "$CODE" 0
exit_code events
expect_eq "events that the listener got" "$(asked_for | wc -l)" "$changes"
