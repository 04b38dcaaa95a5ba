# Everything that a daemon may change on its host, as text to compare. Sourced after lib.sh.
# shellcheck shell=bash

# Everything that design and documentation promise to leave unchanged. Values that change by
# themselves are left out: a neighbour table's random reachable time and its references, and the
# sysctls of connection tracking, which another test's firewall may load.
host_state() { # NAMESPACE
    at "$1" sh -ec '
        ip -d -batch - <<-LINES
		address
		route show table all
		rule
		neigh show proxy
		ntable
		LINES
        ip -6 rule
        # `sysctl -a` reads the other sysctls too: three times the CPU.
        grep -rs "" /proc/sys/net |
            grep -vE "/netfilter/nf_(conntrack|flowtable|hooks)_|stable_secret"' |
        sed -E 's/ (reachable|refcnt) [0-9]+//g'
}

# Fails with the difference unless the namespace is as the file says.
expect_host_state() { # WHEN NAMESPACE FILE
    host_state "$2" >"$WORK/state.now"
    diff -U 0 "$3" "$WORK/state.now" || fail "$1: $2 is not as before"
    say "$1: $2 is as before"
}
