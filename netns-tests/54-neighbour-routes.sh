# Routes to the real servers with themselves as gateway: traffic flows as without, and at the end
# they are removed; after a kill they stay, and the next start takes them over or `vstun cleanup`
# removes them.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
source "$here/host_state.sh"

DIRECTOR_KEYS='neighbour_routes = true'

# The real servers that the director reaches with themselves as gateway.
neighbours() {
    local name address
    for name in "${REALS[@]}"; do
        address=${ADDRESS[$name]}
        at vt-director ip route get "$address" | grep -o "via $address dev eth1" || true
    done | wc -l
}

make_topology
start_web "${REALS[@]}"
start_real "${REALS[@]}"
host_state vt-director >"$WORK/director.before"
start_director rr 1 1 1
expect_eq "real servers with themselves as gateway" "$(neighbours)" 3
expect_eq "requests served" "$(fetch 30 | awk '{ n += $1 } END { print n }')" 30

# A foreign route to one of them applies at once, whatever its metric, and the director's is
# removed; it is restored when the foreign one is removed. The host's routes change all the time
# meanwhile, as under a busy routing daemon, until the test has seen enough.
churn() {
    local metric=100
    while [[ ! -e $WORK/enough ]]; do
        echo "route replace 203.0.113.0/24 dev eth0 metric $metric"
        metric=$((201 - metric))
        pause 0.02
    done | ip -batch -
}
in_between() { # ADDRESS: the router is
    at vt-director ip route get "$1" | grep -q "via ${LAN_ROUTERS[$OUTER]} dev eth1"
}
spawn vt-director churn bash -c "$(declare -f churn pause); WORK='$WORK' churn"
wait_for "the churn" eval 'at vt-director ip route show 203.0.113.0/24 | grep -q eth0'
ip -n vt-director route add "${ADDRESS[real1]}" via "${LAN_ROUTERS[$OUTER]}" dev eth1 metric 500
in_between "${ADDRESS[real1]}" || fail "ours takes precedence over another program's route"
wait_for "ours to be gone" eval \
    '(($(at vt-director ip -o route show proto 176 | grep -c "^${ADDRESS[real1]} ") == 0))'
ip -n vt-director route del "${ADDRESS[real1]}" metric 500
wait_for "ours to be back" eval '(($(neighbours) == 3))'

# A router in between for all of them, on a host that is no longer fit for a director: there is no
# plan, but no route stays hidden.
case $OUTER in
    4) ip -n vt-director route add 10.0.0.8/29 via "${LAN_ROUTERS[4]}" dev eth1 ;;
    6) ip -n vt-director route add 2001:db8:a::10/124 via "${LAN_ROUTERS[6]}" dev eth1 ;;
esac
at vt-director ip address add "$VIP" dev lo
for name in "${REALS[@]}"; do
    wait_for "$name behind the router" in_between "${ADDRESS[$name]}"
done
at vt-director ip address del "$VIP" dev lo
case $OUTER in
    4) ip -n vt-director route del 10.0.0.8/29 ;;
    6) ip -n vt-director route del 2001:db8:a::10/124 ;;
esac
wait_for "all of them neighbours again" eval '(($(neighbours) == 3))'
is_running churn || fail "the churn ended by itself: $(<"$WORK/churn.log")"
touch "$WORK/enough"
exit_code churn
expect_eq "the churn's exit code" "$CODE" 0
ip -n vt-director route flush 203.0.113.0/24
expect_eq "requests served" "$(fetch 20 | awk '{ n += $1 } END { print n }')" 20

# A reload removes one real server.
configure "$WORK/director.toml" rr 1 1
ask director reload
expect_eq "after one is removed" "$(neighbours)" 2
expect_eq "requests served" "$(fetch 20 | awk '{ n += $1 } END { print n }')" 20

stop director TERM
expect_host_state "after SIGTERM" vt-director "$WORK/director.before"

start_director rr 1 1 1
stop director KILL
expect_eq "left by a kill" "$(neighbours)" 3
at vt-director "$VSTUN_BIN/vstun" --socket "$CONTROL/director.sock" cleanup >"$WORK/cleanup.log"
grep -q 'via itself dev eth1: undone' "$WORK/cleanup.log" ||
    fail "cleanup does not report it: $(<"$WORK/cleanup.log")"
expect_host_state "after cleanup" vt-director "$WORK/director.before"
expect_direct_replies 100
