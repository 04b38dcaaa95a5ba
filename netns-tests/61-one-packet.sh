# One-packet scheduling: one client's datagrams from one port go to all real servers by their
# weights, without connection entries.
# usual: 4in6
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

LISTENS=9000/udp
SERVICE_KEYS='one_packet = true'
make_topology
start_real "${REALS[@]}"
start_echo "${REALS[@]}"
start_director wrr 1 2 3
answers=$(at vt-client python3 "$here/traffic/udp_alone.py" "$VIP" 9000 60)
expect_eq "datagrams at real1 of weight 1" "$(share "$answers" real1)" 10
expect_eq "datagrams at real2 of weight 2" "$(share "$answers" real2)" 20
expect_eq "datagrams at real3 of weight 3" "$(share "$answers" real3)" 30
expect_eq "connections in the table" "$(number director list .connections.current)" 0
expect_eq "datagrams counted as given" "$(connections_given)" 60
expect_direct_replies 60
expect_accounted
