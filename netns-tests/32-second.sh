# A second daemon with the same TUN name or control socket: it gets a clear error and changes
# nothing, and the first one goes on. Cleanup leaves a running daemon alone.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
source "$here/host_state.sh"

make_topology
start_web real1
start_real real1
start_director wlc 1
for name in director real1; do
    host_state "vt-$name" >"$WORK/$name.before"
done

second() { # WHAT NAMESPACE CONFIGURATION PROGRAM PATTERN
    spawn "$2" second "$VSTUN_BIN/$4" --config "$3"
    exit_code second
    expect_eq "$1: exit code" "$CODE" 1
    expect_log second "$5"
    say "$1: $(tail -n 1 "$WORK/second.log")"
    expect_host_state "$1" "$2" "$WORK/${2#vt-}.before"
    expect_eq "$1: requests served by the first" "$(share "$(fetch 10)" real1)" 10
}

sed "s|$CONTROL/director.sock|$CONTROL/other.sock|" "$WORK/director.toml" >"$WORK/same-tun.toml"
second "director, same TUN" vt-director "$WORK/same-tun.toml" vstun-director vstun0
sed '/^\[director\]/a tun = "vstun1"' "$WORK/director.toml" >"$WORK/same-socket.toml"
second "director, same control socket" vt-director "$WORK/same-socket.toml" vstun-director \
    "$CONTROL/director.sock"
sed "s|$CONTROL/real1.sock|$CONTROL/other.sock|" "$WORK/real1.toml" >"$WORK/real-tun.toml"
second "real server, same TUN" vt-real1 "$WORK/real-tun.toml" vstun-realserver vstun0
sed '/^\[realserver\]/a tun = "vstun1"' "$WORK/real1.toml" >"$WORK/real-socket.toml"
second "real server, same control socket" vt-real1 "$WORK/real-socket.toml" vstun-realserver \
    "$CONTROL/real1.sock"

expect_fails "cleanup under a running director" ask director cleanup
expect_host_state "cleanup under a running director" vt-director "$WORK/director.before"

# Without --socket it continues with the other socket.
CODE=0
at vt-director "$VSTUN_BIN/vstun" cleanup >"$WORK/cleanup.log" 2>&1 || CODE=$?
expect_eq "cleanup of both sockets under a running director: exit code" "$CODE" 1
log_has cleanup "$CONTROL/director" || fail "cleanup does not name the socket that it left alone"
log_has cleanup "nothing to clean up at $CONTROL/realserver.sock" ||
    fail "cleanup did not go on to the second socket"
expect_host_state "cleanup of both sockets under a running director" vt-director \
    "$WORK/director.before"
