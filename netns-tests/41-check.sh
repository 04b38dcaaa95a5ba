# `--check` of a good configuration, and of the example: exit 0, nothing on the host touched. A real
# server with an address of the host that checks is warned of.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
source "$here/host_state.sh"

make_topology
host_state vt-director >"$WORK/before"
configure "$WORK/director.toml" wrr 1 2 3
at vt-director "$VSTUN_BIN/vstun-director" --config "$WORK/director.toml" --check
at vt-director "$VSTUN_BIN/vstun-director" --config "$here/../config.example" --check
expect_host_state "after --check" vt-director "$WORK/before"
check() { # HOST
    at "$1" "$VSTUN_BIN/vstun-director" --config "$WORK/director.toml" --check 2>"$WORK/warnings"
}
check vt-director
expect_eq "warnings on the director's host" "$(<"$WORK/warnings")" ""
check vt-real1
grep -qF "real server ${ADDRESS[real1]} is an address of this host" "$WORK/warnings" ||
    fail "no warning about a real server on the director's own host"
