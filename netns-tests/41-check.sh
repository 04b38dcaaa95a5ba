# `--check` of a good configuration, and of the example: exit 0, nothing on the host touched.
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
