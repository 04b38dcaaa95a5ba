# A real server that dies under 200 new connections a second gets no more of them. Its daemon is
# killed: the kernel refuses the probes by ICMP errors that quote them, so none waits for its
# timeout. Then its host is cut off, and nothing answers: the timeouts decide.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

# Runs COMMAND under new connections; sets LAST, in milliseconds, and LOST.
under_load() { # WHAT AT-MOST COMMAND...
    local all
    read -r LAST LOST all < \
        <(at vt-client python3 "$here/traffic/new_flows.py" "$VIP" 80 200 "$LASTS" "${@:3}")
    say "$1: the last of $LOST lost flows of $all began after $LAST ms"
    ((LAST <= $2)) || fail "$1: flows went there for $LAST ms, expected $2 at most"
}

make_topology
start_web "${REALS[@]}"
start_real "${REALS[@]}"
SERVICE_KEYS='[[service.check]]
type = "http"
interval = "1s"
fast_interval = "200ms"
timeout = "500ms"'
start_director rr 1 1 1
wait_for "probes of all three" all_probed 3

# On a quiet machine 100 ms are kept; here others use the processors too. The kernel sends six
# errors at once and then one a second (icmp_ratelimit): if the flows use them up before a late
# probe, that waits for its timeout: three of them, and 1.1 s for other tests.
LASTS=4
under_load "daemon killed" 2600 kill "${PID[real2]}"
exit_code real2
state_is real2 down || fail "real2 is $(real_field real2 state)"
why_has real2 "http check failed: protocol unreachable from ${ADDRESS[real2]}" ||
    why_has real2 "http check failed: no answer within 500ms" ||
    fail "real2 is down because: $(real_field real2 why)"
start_real real2
wait_for "real2 to be up" state_is real2 up

# At most an interval with its jitter until the first probe, three timeouts, and 1.4 s for other
# tests.
LASTS=5.5
under_load "host cut off" 4000 ip -n vt-router link set dev lan-real1 down
((LOST > 0)) || fail "no flow went to the host that was cut off"
state_is real1 down || fail "real1 is $(real_field real1 state)"
expect_log director \
    "${ADDRESS[real1]}.*health up → down, http check failed: .*no answer within 500ms"
ip -n vt-router link set dev lan-real1 up
wait_for "real1 to be up" state_is real1 up
stop director
expect_eq "the director's exit code" "$CODE" 0
