# Busy polling: while packets arrive the loops do not sleep, and a second after the last one they
# do.
# mixes: 4in4 6in6
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

# The sum over all its threads, from the scheduler's own count.
milliseconds() { # NAME
    awk '{ n += $1 } END { print int(n / 1000000) }' /proc/"${PID[$1]}"/task/*/schedstat
}

make_topology
DIRECTOR_KEYS='busy_poll = "1s"'
REAL_KEYS='busy_poll = "1s"'
start_web real1
start_real real1
start_director wlc 1
fetch 1 >/dev/null
slept=$(number director stats .wakeups)
spent=$(milliseconds real1)
expect_eq "requests answered" "$(fetch 60 | awk '{ n += $1 } END { print n }')" 60
# Each request is some five packets, with a pause before each.
expect_between "times that the director slept" $(($(number director stats .wakeups) - slept)) 0 30
# It polls for a second, on a CPU that others use too. A loop that slept would take some
# milliseconds for all of them.
polled() { (($(milliseconds real1) - spent >= 100)); }
wait_for "a tenth of a second of polling at real1" polled
for name in director real1; do
    wait_for "a second without a wake-up of $name" quiet_second "$name"
done
expect_accounted
