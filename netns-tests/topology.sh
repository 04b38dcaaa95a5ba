# A client, a director and three real servers around a router:
#
#   vt-client            vt-router                          vt-director
#   eth0 198.51.100.10 ─ cl 198.51.100.1
#                        uplink 192.0.2.1 (bridge) ──────── eth0 192.0.2.2    the VIP 192.0.2.10 is announced here
#                        lan 10.0.0.254 (bridge) ─┬──────── eth1 10.0.0.1     tunnelled packets leave here
#                                                 ├─ eth0 10.0.0.11 vt-real1
#                                                 ├─ eth0 10.0.0.12 vt-real2
#                                                 └─ eth0 10.0.0.13 vt-real3
#
# Requests: client → cl → uplink → director → lan → real server. Replies: real server → lan → cl → client; the director's
# counter `replies` says that none came its way. Every MTU is 1500. Devices are set as a wire is: nothing larger than the
# MTU, checksums complete; a NIC's merging is switched on by `gro`. Reverse path filters are strict, as many hosts have them.
# shellcheck shell=bash disable=SC2034 # the names are for the tests

VIP=192.0.2.10
CLIENT=198.51.100.10
DIRECTOR=10.0.0.1
REALS=(real1 real2 real3)
declare -A ADDRESS=([real1]=10.0.0.11 [real2]=10.0.0.12 [real3]=10.0.0.13)

make_topology() {
    local name
    for name in client router director "${REALS[@]}"; do
        ip netns add "vt-$name"
        ip -n "vt-$name" link set dev lo up
        # IPv6 addresses are there at once, not after seconds of duplicate detection.
        at "vt-$name" sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1 \
            net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
    done
    at vt-router sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
    bridge uplink 192.0.2.1/24
    bridge lan 10.0.0.254/24
    wire vt-client eth0 198.51.100.10/24 cl
    ip -n vt-router address add 198.51.100.1/24 dev cl
    wire vt-director eth0 192.0.2.2/24 up-dir uplink
    wire vt-director eth1 10.0.0.1/24 lan-dir lan
    for name in "${REALS[@]}"; do
        wire "vt-$name" eth0 "${ADDRESS[$name]}/24" "lan-$name" lan
        ip -n "vt-$name" route add default via 10.0.0.254
    done
    ip -n vt-client route add default via 198.51.100.1
    ip -n vt-director route add default via 192.0.2.1
    count_packets
}

bridge() { # NAME ADDRESS/LENGTH
    ip -n vt-router link add "$1" type bridge
    ip -n vt-router address add "$2" dev "$1"
    ip -n vt-router link set dev "$1" up
}

# A cable from the namespace's DEVICE to the router's PORT, a bridge's port where BRIDGE is given.
wire() { # NAMESPACE DEVICE ADDRESS/LENGTH PORT [BRIDGE]
    ip -n "$1" link add "$2" type veth peer name "$4" netns vt-router
    ip -n "$1" address add "$3" dev "$2"
    [[ -z ${5:-} ]] || ip -n vt-router link set dev "$4" master "$5"
    as_a_wire "$1" "$2"
    as_a_wire vt-router "$4"
    ip -n vt-router link set dev "$4" up
    ip -n "$1" link set dev "$2" up
}

# A veth hands over what it is given: 64 KB frames and unfinished checksums. A wire does not.
as_a_wire() { # NAMESPACE DEVICE
    at "$1" ethtool -K "$2" tx off tso off gso off gro off 2>/dev/null >&2
}

# What containers on one host see: nothing is cut to segments or summed up before the director has it.
as_containers() { # NAMESPACE DEVICE
    at "$1" ethtool -K "$2" tx on tso on gso on >/dev/null 2>&1
}

# A NIC's merging of segments (GRO) at a device. A veth polls once per packet unless it is told to wait a little.
gro() { # NAMESPACE DEVICE on|off
    at "$1" ethtool -K "$2" gro "$3"
    [[ $3 == on ]] || return 0
    at "$1" sh -c "echo 200000 >/sys/class/net/$2/gro_flush_timeout && echo 2 >/sys/class/net/$2/napi_defer_hard_irqs" \
        2>/dev/null || skip "needs root: a user namespace may not set gro_flush_timeout"
}

count_packets() {
    # At the director also what leaves it, behind any firewall's chain: tunnelled packets and its own answers.
    # Bridged frames pass the bridge's own hooks only; a reply is counted where the router forwards it.
    at vt-router sh -c 'echo 0 >/proc/sys/net/bridge/bridge-nf-call-iptables' 2>/dev/null || true
    at vt-router nft -f - <<-NFT
	table inet count {
	    counter replies {}
	    chain forward {
	        type filter hook forward priority 0
	        iifname "lan" oifname "cl" ip saddr $VIP counter name replies
	    }
	}
	NFT
    at vt-director nft -f - <<-NFT
	table inet count {
	    counter replies {}
	    chain prerouting {
	        type filter hook prerouting priority -300
	        ip saddr $VIP counter name replies
	    }
	}
	table inet sent {
	    counter sent {}
	    chain output {
	        type filter hook output priority 300
	        ip protocol 4 counter name sent
	        ip saddr $VIP counter name sent
	    }
	}
	NFT
    at vt-client nft -f - <<-NFT
	table inet count {
	    counter too_big {}
	    chain prerouting {
	        type filter hook prerouting priority -300
	        icmp type destination-unreachable icmp code frag-needed counter name too_big
	    }
	}
	NFT
}

counter() { # NAMESPACE NAME [TABLE]: packets counted
    at "$1" nft -j list counter inet "${3:-count}" "$2" | jq '[.nftables[].counter? // empty | .packets][0]'
}
