# The effect of `announce` and `withdraw` survives changes of the host: a link that flaps, a new
# interface, a reload. The end of the director, and cleanup after a kill, undo it.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
source "$here/host_state.sh"
source "$here/two_directors.sh"

two_directors
ask director announce "$VIP"
expect_eq "requests served by the first" "$(fetch 20 | awk '{ n += $1 } END { print n }')" 20
move director other

# None of this makes the director that should not announce the VIP announce it.
ip -n vt-director link set dev eth0 down
ip -n vt-director link add eth9 type veth peer name eth8
ip -n vt-director link set dev eth0 up
for family in 4 6; do
    ip -n vt-director address replace "$(in_subnet "${UPLINK_DIRECTORS[$family]}")" dev eth0
    ip -n vt-director route replace default via "${UPLINK_ROUTERS[$family]}"
done
ip -n vt-director link del eth9
ask director reload
expect_eq "proxy entries of a withdrawn director after all that" "$(proxies director)" ""
expect_eq "its routes for routing daemons" "$(routes_to_announce director)" ""
expect_eq "who has the VIP" "$(who_has)" "$(mac other)"

# The same verb twice is no fault.
ask director withdraw "$VIP"
ask other announce "$VIP"
expect_log other "announced false → true .announce by operator, uid 0 gid 0 pid"

# At the end, and after a kill, an announcement made by a hook is undone like any other step.
stop director
expect_eq "the director's exit code" "$CODE" 0
host_state vt-director >"$WORK/before"
start_director rr 1 1
expect_eq "requests served by the other" "$(fetch 20 | awk '{ n += $1 } END { print n }')" 20
move other director
stop director
expect_host_state "after announce and SIGTERM" vt-director "$WORK/before"
ask other announce "$VIP"
stop other KILL
ask other cleanup
expect_eq "who has the VIP when all are gone" "$(who_has)" ""
