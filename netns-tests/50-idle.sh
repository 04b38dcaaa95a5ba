# An idle director sleeps: nothing wakes its packet thread (the control thread looks at the host
# every few seconds), and a table for a million connections takes no memory while it is empty.
#
# Nothing is sent, so a family affects the host's set-up only: all of one, and all of the other.
# first: ten quiet seconds
# mixes: 4in4 6in6
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

resident() { awk '$1 == "VmRSS:" { print $2 }' "/proc/${PID[$1]}/status"; }

make_topology
DIRECTOR_KEYS='max_connections = 1_000_000'
start_real real1
start_director wlc 1
# The wake-ups of the packet thread, found by its name.
wakeups() { # NAME
    cat /proc/"${PID[$1]}"/task/*/stat | sed -n 's/ (packets) .*//p' |
        xargs -I{} awk '{ print $3 }' "/proc/${PID[$1]}/task/{}/schedstat"
}
stays_idle() { # NAME
    local before after
    before=$(wakeups "$1")
    pause 5
    after=$(wakeups "$1")
    [[ -n $before && -n $after ]] || fail "the packet thread of $1 is not found"
    ((after - before <= 1))
}
expect_eq "the table's capacity" "$(number director list .connections.capacity)" 1000000
# The fast path's maps are the kernel's memory, but it counts here too: 96 bytes a connection.
[[ ${FAST_PATH:-off} == off ]] && maps=0 || maps=96000
for name in director real1; do
    expect_between "resident memory of $name in kB" "$(resident "$name")" 100 $((30000 + maps))
    wait_for "five seconds with one wake-up of $name at most" stays_idle "$name"
done
