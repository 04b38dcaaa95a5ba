# A real server copies many routes, follows each change of them, of nexthop objects too, and leaves
# no copy behind. A route that changes all the time does not delay the periodic inspection, and
# after lost events the daemon reads all routes again.
# mixes: 4in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
source "$here/host_state.sh"

MANY=1000
FAR=203.0.113.1
make_topology
gateway=${LAN_ROUTERS[4]}
for ((number = 0; number < MANY; number++)); do
    echo "route add 100.64.$((number / 256)).$((number % 256))/32 via $gateway proto 186"
done | at vt-real1 ip -batch -
host_state vt-real1 >"$WORK/before"
start_real real1
lost() { at vt-real1 awk 'NR > 1 { lost += $9 } END { print lost }' /proc/net/netlink; }
copies() { at vt-real1 ip -o route show table 1020 "$@" 2>/dev/null; } # SELECTION...
expect_between "copies" "$(copies | wc -l)" "$MANY" $((MANY + 10))

at vt-real1 ip route add "$FAR" via "$gateway" proto 186
copied() { [[ $(copies "$FAR") == *"via $gateway"* ]]; }
wait_for "the copy of a new route" copied
at vt-real1 ip route del "$FAR"
gone() { [[ -z $(copies "$FAR") ]]; }
wait_for "the end of its copy" gone

touch "$WORK/flap"
flap="ip route add $FAR via $gateway proto 186; sleep 0.05; ip route del $FAR; sleep 0.05"
at vt-real1 bash -c "while [[ -e '$WORK/flap' ]]; do $flap; done" &
flapping=$!
at vt-real1 sysctl -qw net.ipv4.conf.eth0.arp_ignore=0
put_back() { [[ $(at vt-real1 sysctl -n net.ipv4.conf.eth0.arp_ignore) != 0 ]]; }
wait_for "arp_ignore to be put back while a route flaps" put_back
rm "$WORK/flap"
wait "$flapping"

# More events than the socket's buffer holds, while the daemon is stopped: the kernel drops the last
# ones.
pause_program real1
for ((number = 0; number < 15000; number++)); do
    echo "route add $FAR via $gateway proto 186"
    echo "route del $FAR"
done | at vt-real1 ip -batch -
at vt-real1 ip route add "$FAR" via "$gateway" proto 186
# The daemon replaces the socket, and with it this count.
expect_between "lost events" "$(lost)" 1 30001
kill -CONT "${PID[real1]}"
wait_for "the copy of a route whose event was lost" copied
at vt-real1 ip route del "$FAR"
wait_for "the end of its copy" gone

# With this setting the kernel reports neither where a nexthop object leads nor that it has changed.
at vt-real1 sysctl -qw net.ipv4.nexthop_compat_mode=0
at vt-real1 ip nexthop add id 7 via "$gateway" dev eth0
at vt-real1 ip route add "$FAR" nhid 7 proto 186
has_mss() { [[ $(copies "$FAR") == *"nhid 7"*"advmss $1 "* ]]; } # BYTES
wait_for "the MSS of a route by a nexthop object" has_mss 1440
at vt-real1 ip link add narrow0 mtu 1300 type veth peer name narrow0-end
at vt-real1 ip link set dev narrow0-end up
at vt-real1 ip link set dev narrow0 up
at vt-real1 ip nexthop replace id 7 dev narrow0
wait_for "the MSS of the object's new interface" has_mss 1240
at vt-real1 ip nexthop del id 7
wait_for "the end of the copy" gone
at vt-real1 ip link del narrow0
at vt-real1 sysctl -qw net.ipv4.nexthop_compat_mode=1

stop real1
expect_eq "exit code" "$CODE" 0
expect_eq "copies in the end" "$(copies | wc -l)" 0
expect_host_state "in the end" vt-real1 "$WORK/before"
