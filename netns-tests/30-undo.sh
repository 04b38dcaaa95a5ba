# After SIGTERM and after SIGINT the host is as before, for both roles.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
source "$here/host_state.sh"

make_topology
start_web real1
for name in director real1; do host_state "vt-$name" >"$WORK/$name.before"; done
for signal in TERM INT; do
    start_real real1
    start_director wlc 1
    expect_eq "requests served" "$(share "$(fetch 20)" real1)" 20
    for name in director real1; do
        host_state "vt-$name" >"$WORK/$name.during"
        expect_fails "$name changes nothing on its host" cmp -s "$WORK/$name.before" \
            "$WORK/$name.during"
        stop "$name" "$signal"
        expect_eq "exit code of $name after SIG$signal" "$CODE" 0
        expect_host_state "after SIG$signal" "vt-$name" "$WORK/$name.before"
    done
    expect_eq "files left" "$(ls "$CONTROL")" ""
done
expect_direct_replies 100
