# `flush --all` removes every entry of the connection table; new connections are served as before.
# usual: 4in6
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

entries() { number director list .connections.current; }

make_topology
start_web real1 real2
start_real real1 real2
start_director wrr 1 1
expect_eq "requests served" "$(fetch 20 | awk '{ n += $1 } END { print n }')" 20
expect_eq "connections before the flush" "$(entries)" 20
expect_fails "flush without saying whose" ask director flush
expect_eq "connections after the refused flush" "$(entries)" 20
listen_to_events
ask director flush --all
expect_eq "connections after the flush" "$(entries)" 0
expect_eq "requests after it" "$(fetch 20 | awk '{ n += $1 } END { print n }')" 20
stop director
exit_code events
expect_eq "events of the flush" "$(wc -l <"$WORK/events.log")" 1
