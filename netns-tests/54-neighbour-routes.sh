# Routes to the real servers by way of themselves: traffic goes as without, and in the end they are gone; after a kill they
# are left and the next start or `vstun cleanup` has them.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
source "$here/host_state.sh"

DIRECTOR_KEYS='neighbour_routes = true'

# Real servers that a packet of the director's reaches by way of themselves.
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
expect_eq "real servers by way of themselves" "$(neighbours)" 3
expect_eq "requests served" "$(fetch 30 | awk '{ n += $1 } END { print n }')" 30

# One less, by a reload.
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
grep -q 'by way of itself dev eth1: undone' "$WORK/cleanup.log" || fail "cleanup says nothing of it: $(<"$WORK/cleanup.log")"
expect_host_state "after cleanup" vt-director "$WORK/director.before"
expect_direct_replies 100
