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

# A daemon that may not write sysctls cannot put them back, as in a container. Before a start all
# that it needs are named, one after the other.
READ_ONLY=(unshare --mount sh -c 'mount -o bind,ro /proc/sys /proc/sys && exec "$@"' sh)
may_start() { # DAEMON
    doctor "$1" --config "$WORK/$1.toml"
    [[ $(first cause) == daemon_missing ]]
}
prepare() { # DAEMON AT-LEAST: runs the first command until nothing but the daemon is missing
    local count=0
    until may_start "$1"; do
        ((count++ < 12)) || fail "it still finds: $(<"$WORK/report")"
        expect_eq "what the command sets" "$(first 'mend[0]' | cut -d ' ' -f 1-2)" "sysctl -w"
        mend "vt-$1"
    done
    expect_between "settings" "$count" "$2" 12
}
stop real1
at vt-real1 sysctl -qw net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.all.arp_announce=0
UNDER=(setpriv --bounding-set -net_raw)
doctor real1 --config "$WORK/real1.toml"
expect_eq "without the right to raw sockets" "$(first cause)" tunnel
[[ $(first text) == "could not open a raw socket"* ]] || fail "it says: $(first text)"
UNDER=("${READ_ONLY[@]}")
prepare real1 3
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

ip -n vt-director link set eth0 down
named director uplink
mend vt-director
# A link that is down loses its routes.
ip -n vt-director route replace default via "${UPLINK_ROUTERS[4]}"
healthy director

# nft takes longer than a daemon waits for a client, or is missing; the file is not what runs.
mkdir -p "$WORK/slow"
printf '#!/bin/sh\n[ "$1" != -j ] || sleep 3\nexec "%s" "$@"\n' \
    "$(at vt-director sh -c 'command -v nft')" >"$WORK/slow/nft"
chmod +x "$WORK/slow/nft"
UNDER=(env PATH="$WORK/slow:$PATH")
healthy director
UNDER=(env PATH=/nonexistent)
EXIT=0
named director firewall
expect_eq "its command" "$(first 'mend[0]')" "apt-get install nftables"
at vt-director env PATH=/nonexistent "$VSTUN_BIN/vstun" --socket "$CONTROL/director.sock" doctor \
    >"$WORK/text.log"
expect_eq "its last line" "$(tail -n 1 "$WORK/text.log")" \
    "director: nothing is wrong in what could be looked at"
UNDER=()
cp "$WORK/director.toml" "$WORK/kept.toml"
sed -i "s|\(listen = \[\)|\1\"$VIP:8080/tcp\", |" "$WORK/director.toml"
named director configuration
[[ $(first evidence) == "the file alone has $VIP:8080/tcp" ]] ||
    fail "it says: $(first evidence)"
EXIT=1
mv "$WORK/kept.toml" "$WORK/director.toml"
healthy director

# What prevents a start comes before the stopped daemon.
stop director
names() { # CAUSE [CONFIGURATION]
    doctor director --config "${2:-$WORK/director.toml}"
    expect_eq "the first cause" "$(first cause)" "$1"
    say "    $(first text)"
}
names daemon_missing
ip -n vt-director addr add "$VIP/32" dev lo
names vip
mend vt-director
ip -n vt-director route add "$VIP/32" dev eth1
names vip
mend vt-director
ip -n vt-director addr add "${ADDRESS[real2]}/32" dev lo
names real_server_route
ip -n vt-director addr del "${ADDRESS[real2]}/32" dev lo
for key in 'uplinks = ["eth9"]' 'source = "10.9.9.9"'; do
    sed "s/^\[director\]/&\n$key/" "$WORK/director.toml" >"$WORK/keyed.toml"
    names "$([[ $key == uplinks* ]] && echo uplink || echo source)" "$WORK/keyed.toml"
done
# Read-only, so that no program makes the device there.
UNDER=(unshare --mount sh -c 'mount -t tmpfs -o ro tmpfs /dev/net && exec "$@"' sh)
names tun
expect_eq "its command" "$(first 'mend[0]')" "modprobe tun"
UNDER=("${READ_ONLY[@]}")
prepare director 3
start_director rr 1 1
UNDER=()
healthy director
at vt-director sysctl -qw net.ipv4.conf.eth0.forwarding=0
named director capture
expect_eq "its command" "$(first 'mend[0]')" "sysctl -w net/ipv4/conf/eth0/forwarding=1"
mend vt-director
healthy director
at vt-director sysctl -qw net.ipv4.conf.eth0.rp_filter=1
named director rp_filter
mend vt-director
healthy director

at vt-director ip route add unreachable "${ADDRESS[real2]}"
named director real_server_route "${ADDRESS[real2]}"
at vt-director ip route del unreachable "${ADDRESS[real2]}"
healthy director

at vt-director ip rule add iif eth0 prohibit pref 10
named director capture "$VIP"
mend vt-director
healthy director

# Routes and rules that refuse clients for their source. The director knows the client.
fetch 1 >"$WORK/fetched.log"
clients=198.51.100.0/24
for drops in "route add blackhole $clients" "rule add from $clients unreachable pref 9"; do
    # shellcheck disable=SC2086 # words
    ip -n vt-director $drops
    named director capture "$VIP"
    [[ $(first text) == *"$clients"* ]] || fail "it says: $(first text)"
    mend vt-director
    healthy director
done
# The daemon knows the route that it had, if it has seen the loss.
ip -n vt-director route del default
named director capture
command=$(first 'mend[0]')
at vt-director sh -c "${command/ROUTER/${UPLINK_ROUTERS[4]}}"
healthy director
ip -n vt-director route add default via "${UPLINK_ROUTERS[4]}" metric 100
ip -n vt-director route del default metric 0
ip -n vt-director route add blackhole default metric 50
named director capture "$VIP"
mend vt-director
healthy director
ip -n vt-director route add blackhole 198.18.0.0/15
EXIT=0
named director capture
[[ $(first text) == *"right, if clients are not there" ]] || fail "it says: $(first text)"
EXIT=1
ip -n vt-director route del blackhole 198.18.0.0/15
healthy director

ip -n vt-other addr add "$VIP/32" dev eth0
at vt-other python3 "$here/traffic/claim.py" eth0 "$VIP" 2
named director conflict "$VIP"
ip -n vt-other addr del "$VIP/32" dev eth0
ip -n vt-other link set eth0 down

# The uplink is a bridge, and has rules of its own.
stop director
ip -n vt-director -batch - <<-IP
	link add br0 type bridge mcast_snooping 0
	address flush dev eth0
	link set eth0 master br0
	address add $(in_subnet "${UPLINK_DIRECTORS[4]}") dev br0
	link set br0 up
	route replace default via ${UPLINK_ROUTERS[4]}
	IP
start_director rr 1 1
healthy director
for rule in "firewall ip daddr $VIP drop" "neighbours ether type arp drop"; do
    at vt-director nft "add table bridge probed;
        add chain bridge probed in { type filter hook prerouting priority 0; };
        add rule bridge probed in ${rule#* }"
    named director "${rule%% *}" "$VIP"
    mend vt-director
    healthy director
    at vt-director nft delete table bridge probed
done
