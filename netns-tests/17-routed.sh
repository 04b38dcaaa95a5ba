# Without ARP and neighbour discovery: the router has a route to the VIP, as a routing daemon would
# learn it from `announce_table`; and with an outer source address of its own.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

make_topology
start_web real1
DIRECTOR=${LAN_OTHERS[$OUTER]} # for the real server too
ip -n vt-director address add "$(in_subnet "$DIRECTOR")" dev eth1
DIRECTOR_KEYS="arp = false
announce_table = 100
source = \"$DIRECTOR\""
start_director rr 1
expect_eq "who has the VIP on the uplink" \
    "$(at vt-router python3 "$here/traffic/who_has.py" uplink "${UPLINK_ROUTERS[$INNER]}" "$VIP")" \
    ""
[[ $(ip -n vt-director "-$INNER" route show table 100) == *"$VIP"* ]] ||
    fail "the announcement table does not hold the VIP"
ip -n vt-router route add "$VIP" via "${UPLINK_DIRECTORS[$INNER]}"

start_real real1
expect_eq "requests served" "$(share "$(fetch 20)" real1)" 20
at vt-client ping -c 1 -W 10 "$VIP" >/dev/null || fail "the VIP does not answer ping"
expect_eq "packets of another director" "$(refused real1 source)" 0
expect_direct_replies 100
expect_accounted
stop director
expect_eq "the announcement table afterwards" \
    "$(ip -n vt-director "-$INNER" route show table 100 2>/dev/null)" ""
