# After SIGKILL: the next start logs the leftovers and takes them over; `vstun cleanup` removes them
# without a start, and then no host answers ARP or neighbour discovery for the VIP.
#
# The kernel answers ARP as a proxy if its own route to the address leads out of another interface,
# and neighbour discovery in any case. So the VIP is outside of the uplink's subnet here, and the
# director's default route leads to the servers' network: then a dead director still answers.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
source "$here/host_state.sh"

who_has() {
    at vt-router python3 "$here/traffic/who_has.py" uplink "${UPLINK_ROUTERS[$INNER]}" "$VIP"
}

VIP=${OUTSIDE_VIPS[$INNER]}
DIRECTOR_KEYS='uplinks = ["eth0"]'
make_topology
ip -n vt-router route add "$VIP" dev uplink
ip -n vt-director route add "$CLIENT" via "${UPLINK_ROUTERS[$INNER]}"
ip -n vt-director route replace default via "${LAN_ROUTERS[$INNER]}"
start_web real1
for name in director real1; do host_state "vt-$name" >"$WORK/$name.before"; done
own=$(at vt-director cat /sys/class/net/eth0/address)

start_real real1
start_director wlc 1
for name in director real1; do
    stop "$name" KILL
    host_state "vt-$name" >"$WORK/$name.killed"
    expect_fails "nothing is left of a killed $name" cmp -s "$WORK/$name.before" \
        "$WORK/$name.killed"
done
expect_eq "who has the VIP of a killed director" "$(who_has)" "$own"

start_real real1
start_director wlc 1
expect_log director "$VIP"
expect_log real1 'left|previous|earlier|took over'
expect_eq "requests served after the restart" "$(share "$(fetch 20)" real1)" 20
for name in director real1; do
    stop "$name"
    expect_host_state "after SIGKILL, restart and SIGTERM" "vt-$name" "$WORK/$name.before"
done

start_real real1
start_director wlc 1
for name in director real1; do
    stop "$name" KILL
    ask "$name" cleanup
    expect_host_state "after SIGKILL and cleanup" "vt-$name" "$WORK/$name.before"
    ask "$name" cleanup # nothing left to do is no fault
done
expect_eq "who has the VIP after cleanup" "$(who_has)" ""
at vt-router ip neigh flush dev uplink
at vt-client ping -c 1 -W 1 "$VIP" >/dev/null || true
[[ $(at vt-router ip neigh show "$VIP") =~ FAILED|INCOMPLETE ]] ||
    fail "the router still resolves the VIP"
say "the router cannot resolve the VIP any more"
