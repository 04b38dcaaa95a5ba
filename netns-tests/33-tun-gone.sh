# The TUN is deleted under the program: it exits with code 1 and the reason, and leaves nothing else
# on the host.
# usual: 4in6
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
source "$here/host_state.sh"

make_topology
start_web real1
for name in director real1; do host_state "vt-$name" >"$WORK/$name.before"; done
start_real real1
start_director wlc 1
expect_eq "requests served" "$(share "$(fetch 10)" real1)" 10
for name in director real1; do
    ip -n "vt-$name" link delete vstun0
    exit_code "$name"
    expect_eq "exit code of $name" "$CODE" 1
    expect_log "$name" 'TUN device "vstun0" is gone'
    say "$name: $(tail -n 1 "$WORK/$name.log")"
    expect_host_state "without its TUN" "vt-$name" "$WORK/$name.before"
done
