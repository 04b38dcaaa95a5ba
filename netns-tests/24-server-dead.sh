# A real server whose daemon is killed: its kernel sends "protocol unreachable" (ICMP) or
# "unrecognized next header" (ICMPv6 parameter problem), which the director counts by real server.
# The other real servers go on.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

make_topology
start_web "${REALS[@]}"
start_real "${REALS[@]}"
start_director rr 1 1 1
fetch 30 >/dev/null
expect_eq "protocol unreachable before" "$(protocol_unreachable "${REALS[@]}")" 0
stop real2 KILL
served=0
for _ in {1..6}; do
    # A dead one completes no handshake; a slow answer is no fault.
    ! at vt-client curl -s --connect-timeout 4 --max-time 60 -o /dev/null "$(url /)" ||
        served=$((served + 1))
done
expect_eq "requests served of 6, with one of three daemons dead" "$served" 4
expect_between "protocol unreachable from real2" "$(protocol_unreachable real2)" 1 50
expect_eq "protocol unreachable from the others" "$(protocol_unreachable real1 real3)" 0
expect_log director "${ADDRESS[real2]}"
start_real real2
expect_eq "requests served after its return" "$(fetch 30 | share "$(cat)" real2)" 10
expect_accounted
