# `vstun doctor` and the settings of both hosts: virtual IP, ARP, reverse path filter, MSS, routes,
# capture, another host with the address. Each fault is the first finding, and the printed command
# corrects it.
# mixes: 4in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
source "$here/doctor.sh"

make_topology
make_other
start_web real1 real2
start_real real1 real2
LISTENS="80/tcp"
start_director rr 1 1
healthy director
healthy real1

# --- the real server's ----------------------------------------------------------------------------

at vt-real1 sysctl -qw net.ipv4.conf.all.arp_ignore=4
named director announcing "${ADDRESS[real1]}"
named real1 announcing
mend vt-real1
healthy real1
healthy director

# Replies take the main table's routes, without the smaller MSS.
at vt-real1 ip rule add from "$VIP" lookup main pref 50
named director mss "${ADDRESS[real1]}"
named real1 mss "$VIP"
mend vt-real1
healthy real1
healthy director

# A daemon that may not write sysctls cannot put them back, as in a container.
stop real1
at vt-real1 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=2 \
    net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
UNDER=(unshare --mount sh -c 'mount -o bind,ro /proc/sys /proc/sys && exec "$@"' sh)
start_real real1
UNDER=()
healthy real1
at vt-real1 sysctl -qw net.ipv4.conf.vstun0.rp_filter=1
named director rp_filter "${ADDRESS[real1]}"
named real1 rp_filter
mend vt-real1
healthy real1
healthy director
stop real1

# The virtual IP is not in the configuration there: the text says to add it.
SERVED=(203.0.113.77)
start_real real1
SERVED=()
named director vip_missing "${ADDRESS[real1]}"
sed -i "s/203.0.113.77/$VIP/" "$WORK/real1.toml"
mend_at() { # DAEMON: the command is for the usual socket's path
    local command
    command=$(first 'mend[0]')
    say "    $command"
    at "vt-$1" env PATH="$VSTUN_BIN:$PATH" sh -c "${command//realserver.sock/$1.sock}"
}
mend_at real1
healthy director

# --- the director's -------------------------------------------------------------------------------

at vt-director ip route add unreachable "${ADDRESS[real2]}"
named director real_server_route "${ADDRESS[real2]}"
at vt-director ip route del unreachable "${ADDRESS[real2]}"
healthy director

at vt-director ip rule add iif eth0 prohibit pref 10
named director capture "$VIP"
mend vt-director
healthy director

ip -n vt-other addr add "$VIP/32" dev eth0
at vt-other python3 "$here/traffic/claim.py" eth0 "$VIP" 2
named director conflict "$VIP"
ip -n vt-other addr del "$VIP/32" dev eth0
