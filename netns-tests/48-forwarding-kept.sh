# Another program turns forwarding on for the host while a director runs, as a container runtime
# does: the director leaves its uplink's forwarding on when it stops, and logs that. Otherwise it
# turns it off, also for an uplink that was renamed while the director ran, or after a SIGKILL while
# none ran.
# mixes: 4in4 6in6
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

make_topology
version=$(family "$VIP")
forwards() { at vt-director sysctl -n "net.ipv$version.conf.$1.forwarding"; } # INTERFACE
start_director rr 1
expect_eq "eth0 forwards" "$(forwards eth0)" 1
stop director
expect_eq "eth0 forwards without the director" "$(forwards eth0)" 0

start_director rr 1
at vt-director sysctl -qw "net.ipv$version.conf.eth1.forwarding=1"
stop director
expect_eq "exit code" "$CODE" 0
expect_eq "eth0 forwards, since eth1 has come to" "$(forwards eth0)" 1
expect_log director \
    'eth0/forwarding = 1 .*left alone: net/ipv[46]/conf/eth1/forwarding has been turned on since'
at vt-director sysctl -qw "net.ipv$version.conf.eth0.forwarding=0" \
    "net.ipv$version.conf.eth1.forwarding=0"

start_director rr 1
if ((version == 4)); then
    at vt-director sysctl -qw net.ipv4.ip_forward=1
else
    at vt-director sysctl -qw net.ipv6.conf.all.forwarding=1
fi
stop director
expect_eq "eth0 forwards, since the host has come to" "$(forwards eth0)" 1
at vt-director sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0

start_director rr 1
at vt-director ip link set dev eth0 name wan0
wait_for "the new name in the log" grep -q wan0 "$WORK/director.log"
saved() { grep -q wan0 "$CONTROL"/director.sock.state; }
wait_for "the new name in the state file" saved
stop director KILL
# Renamed once more while no director runs, and another interface has its name.
at vt-director ip link set dev wan0 name wan1
at vt-director ip link add wan0 type veth peer name wan0-end
at vt-director sysctl -qw "net.ipv$version.neigh.wan0.proxy_delay=0"
ask director cleanup
expect_eq "wan1 forwards after the cleanup" "$(forwards wan1)" 0
expect_eq "what others have set on the new wan0" \
    "$(at vt-director sysctl -n "net.ipv$version.neigh.wan0.proxy_delay")" 0
at vt-director ip link del wan0

# The next start takes over the settings of a renamed uplink, and its stop undoes them.
start_director rr 1
stop director KILL
at vt-director ip link set dev wan1 name eth0
start_director rr 1
expect_log director 'wan1 is called eth0 now'
stop director
expect_eq "eth0 forwards after the next director" "$(forwards eth0)" 0
