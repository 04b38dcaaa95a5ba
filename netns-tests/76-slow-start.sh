# Slow start: the share of a real server that returns grows from almost nothing to its whole weight,
# and it keeps its connections.
# first: a weight grows for eight seconds
# usual: 4in6
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

make_topology
start_web real2 real3
start_real real2 real3
REALS=(real2 real3)
SERVICE_KEYS='slow_start = "8s"'
start_director rr 1 1
hold held 8
configure "$WORK/director.toml" rr 1
ask director reload
expect_eq "real3, which was removed and has connections" "$(real_field real3 removed)" true
given=$(real_field real3 connections)
configure "$WORK/director.toml" rr 1 1
ask director reload
expect_between "connections of real3 before and now" "$(real_field real3 connections)" "$given" \
    "$given"
# Beside the whole weight of real2: at least its share before, at most its share afterwards, give or
# take one.
expect_grown() { # WHEN
    local before after
    before=$(effective_weight)
    served=$(fetch 20)
    after=$(effective_weight)
    expect_between "connections to real3 of 20, $1, with $before to $after of its weight" \
        "$(share "$served" real3)" \
        "$(awk -v w="$before" 'BEGIN { print int(20 * w / (1 + w)) - 1 }')" \
        "$(awk -v w="$after" 'BEGIN { print int(20 * w / (1 + w)) + 2 }')"
}
effective_weight() { real_field real3 'effective_weight // 1'; }
expect_grown "just back"
has_grown() { effective_weight | jq -e '. >= 0.25' >/dev/null; }
wait_for "a quarter of real3's weight" has_grown
expect_grown "a little later"
has_all() { [[ $(effective_weight) == 1 ]]; }
wait_for "all of real3's weight" has_all
expect_eq "connections to real3 with all of it, of 20" "$(share "$(fetch 20)" real3)" 10
release held 8
expect_direct_replies 100
expect_accounted
