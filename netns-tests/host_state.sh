# Everything that a daemon may change on its host, as text to compare. Sourced after lib.sh.
# shellcheck shell=bash

# Everything that design and documentation promise to leave unchanged. Values that change by
# themselves are left out: a neighbour table's random reachable time and its references, a counter
# behind a sysctl.
host_state() { # NAMESPACE
    echo "# addresses"
    at "$1" ip -d address
    echo "# routes"
    at "$1" ip route show table all
    at "$1" ip -6 route show table all
    echo "# rules"
    at "$1" ip rule
    at "$1" ip -6 rule
    echo "# proxy neighbours"
    at "$1" ip neigh show proxy
    at "$1" ip -6 neigh show proxy
    echo "# neighbour tables"
    at "$1" ip ntable | sed -E 's/ (reachable|refcnt) [0-9]+//g'
    echo "# sysctls"
    at "$1" sysctl -a -r '^net' 2>/dev/null | grep -vE 'nf_conntrack_count|stable_secret'
}

# Fails with the difference unless the namespace is as the file says.
expect_host_state() { # WHEN NAMESPACE FILE
    host_state "$2" >"$WORK/state.now"
    diff -U 0 "$3" "$WORK/state.now" || fail "$1: $2 is not as before"
    say "$1: $2 is as before"
}
