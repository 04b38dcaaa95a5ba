# A client, a director and three real servers around a router, every host with IPv4 and IPv6:
#
#   vt-client            vt-router                              vt-director
#   eth0 198.51.100.10 ─ cl 198.51.100.1
#        2001:db8:c::10     2001:db8:c::1
#                        uplink 192.0.2.1 (bridge) ──────────── eth0 192.0.2.2      the VIP
#                                                                                   192.0.2.10 or
#                                                                                   2001:db8:b::10
#                               2001:db8:b::1                        2001:db8:b::2  is announced
#                                                                    here
#                        lan 10.0.0.254 (bridge) ────┬───────── eth1 10.0.0.1       tunnelled
#                                                                                   packets leave
#                                                                                   here
#                            2001:db8:a::254         │               2001:db8:a::1
#                                                    ├─ eth0 10.0.0.11 2001:db8:a::11 vt-real1
#                                                    ├─ eth0 10.0.0.12 2001:db8:a::12 vt-real2
#                                                    └─ eth0 10.0.0.13 2001:db8:a::13 vt-real3
#
# Requests: client → cl → uplink → director → lan → real server. Replies: real server → lan → cl →
# client; the director's counter `replies` shows that none passed it. Every MTU is 1500. Devices
# behave like a wire: nothing larger than the MTU, checksums complete; `gro` turns a NIC's merging
# on. Reverse path filters are strict, as on many hosts. The mix decides which addresses a test uses
# (mix.sh).
# shellcheck shell=bash
source "$here/mix.sh"

make_topology() {
    local name family
    for name in client router director "${REALS[@]}"; do make_host "vt-$name"; done
    bridge uplink "${UPLINK_ROUTERS[@]}"
    bridge lan "${LAN_ROUTERS[@]}"
    wire vt-client eth0 cl - "${CLIENTS[@]}"
    wire vt-director eth0 up-dir uplink "${UPLINK_DIRECTORS[@]}"
    wire vt-director eth1 lan-dir lan "${DIRECTORS[@]}"
    for name in "${REALS[@]}"; do
        wire "vt-$name" eth0 "lan-$name" lan "${REAL_ADDRESSES[$name/4]}" \
            "${REAL_ADDRESSES[$name/6]}"
    done
    for family in 4 6; do
        address_to_do vt-router "${CLIENT_ROUTERS[$family]}" cl
        to_do vt-client "route add default via ${CLIENT_ROUTERS[$family]}"
        to_do vt-director "route add default via ${UPLINK_ROUTERS[$family]}"
        for name in "${REALS[@]}"; do
            to_do "vt-$name" "route add default via ${LAN_ROUTERS[$family]}"
        done
    done
    count_packets
    set_up
}

# A second director's host, with the wires of the first.
make_other() {
    local family
    make_host vt-other
    wire vt-other eth0 up-other uplink "${UPLINK_OTHERS[@]}"
    wire vt-other eth1 lan-other lan "${LAN_OTHERS[@]}"
    for family in 4 6; do
        to_do vt-other "route add default via ${UPLINK_ROUTERS[$family]}"
    done
    set_up
}

# Hosts, bridges and wires are collected, and `set_up` makes them with one process of `ip` for each
# namespace: a process for each line would cost more than most tests. Nor does a function print what
# its caller could add: each `$(...)` is a process as well.
NEW_HOSTS=()
declare -A SETTINGS=() # shell commands before the devices are up, by the namespace
declare -A LINES=()    # for `ip -batch`, by the namespace
declare -A RULES=()    # for `nft -f`, by the namespace
declare -A DEVICES=()  # new ones, by the namespace
to_do() { LINES[$1]+=$2$'\n'; } # NAMESPACE IP-ARGUMENTS
address_to_do() {                # NAMESPACE ADDRESS DEVICE
    local version=4
    [[ $2 != *:* ]] || version=6
    to_do "$1" "address add $2/${SUBNET[$version]} dev $3"
}

make_host() { # NAMESPACE
    NEW_HOSTS+=("$1")
    host_settings "$1"
    to_do "$1" "link set dev lo up"
}

bridge() { # NAME ADDRESS...
    local address
    # Without a querier on the link, multicast snooping only guesses.
    to_do vt-router "link add $1 type bridge mcast_snooping 0"
    for address in "${@:2}"; do address_to_do vt-router "$address" "$1"; done
    to_do vt-router "link set dev $1 up"
}

# A cable from the namespace's DEVICE to the router's PORT, which is BRIDGE's unless that is `-`.
wire() { # NAMESPACE DEVICE PORT BRIDGE ADDRESS...
    local address
    to_do vt-router "link add $3 type veth peer name $2 netns $1"
    [[ $4 == - ]] || to_do vt-router "link set dev $3 master $4"
    to_do vt-router "link set dev $3 up"
    for address in "${@:5}"; do address_to_do "$1" "$address" "$2"; done
    to_do "$1" "link set dev $2 up"
    DEVICES[vt-router]+=" $3" DEVICES[$1]+=" $2"
}

set_up() {
    local name
    printf 'netns add %s\n' "${NEW_HOSTS[@]}" | ip -batch -
    # The router first: it makes both ends of each cable.
    for name in vt-router "${NEW_HOSTS[@]}"; do
        [[ -n ${LINES[$name]:-} ]] || continue
        # shellcheck disable=SC2086 # a list
        at "$name" sh -euc "${SETTINGS[$name]:-}
            ip -batch -; [ -z \"\$1\" ] || echo \"\$1\" | nft -f -
            shift; $AS_A_WIRE" \
            sh "${RULES[$name]:-}" ${DEVICES[$name]:-} <<<"${LINES[$name]}"
        unset "SETTINGS[$name]" "LINES[$name]" "RULES[$name]" "DEVICES[$name]"
    done
    NEW_HOSTS=()
}

host_settings() { # NAMESPACE
    local rp_filter=1 conf=/proc/sys/net
    if [[ $1 == vt-router ]]; then
        rp_filter=0
        # Bridged frames pass the bridge's own hooks only; a reply is counted where the router
        # forwards it.
        SETTINGS[$1]+="echo 1 >$conf/ipv4/ip_forward; echo 1 >$conf/ipv6/conf/all/forwarding
            for file in $conf/bridge/bridge-nf-call-*tables; do
                { echo 0 >\$file; } 2>/dev/null || true
            done"$'\n'
    fi
    SETTINGS[$1]+="for file in $conf/ipv4/conf/*/rp_filter; do echo $rp_filter >\$file; done"$'\n'
    # IPv6 addresses are usable at once, without seconds of duplicate address detection.
    SETTINGS[$1]+="for file in $conf/ipv6/conf/*/accept_dad; do echo 0 >\$file; done"$'\n'
}

# A cable of its own between the director and a real server, as over an overlay or a VPN.
# SMALL_DIRECTOR and SMALL_REAL are the addresses there, of the tunnels' family.
small_link() { # REAL MTU
    local subnet=([4]=10.78.0. [6]=2001:db8:78::) end
    SMALL_DIRECTOR=${subnet[OUTER]}1 SMALL_REAL=${subnet[OUTER]}11
    ip -n vt-director link add small mtu "$2" type veth peer name small netns "vt-$1" mtu "$2"
    for end in "vt-director $SMALL_DIRECTOR" "vt-$1 $SMALL_REAL"; do
        ip -n "${end% *}" address add "$(in_subnet "${end#* }")" dev small
        as_a_wire "${end% *}" small
        ip -n "${end% *}" link set dev small up
    done
}

# A veth delivers frames unchanged: 64 KB frames and unfinished checksums. A wire does not.
AS_A_WIRE='for device; do ethtool -K "$device" tx off tso off gso off gro off >/dev/null 2>&1; done'
as_a_wire() { at "$1" sh -c "$AS_A_WIRE" sh "$2"; } # NAMESPACE DEVICE

# As with containers on one host: nothing is segmented or checksummed before the director.
as_containers() { # NAMESPACE DEVICE
    at "$1" ethtool -K "$2" tx on tso on gso on >/dev/null 2>&1
}

# Turns on a NIC's merging of segments (GRO) at a device. A veth polls once per packet unless it
# waits a little.
gro() { # NAMESPACE DEVICE on|off
    at "$1" ethtool -K "$2" gro "$3"
    [[ $3 == on ]] || return 0
    at "$1" sh -c "cd /sys/class/net/$2 &&
        echo 200000 >gro_flush_timeout && echo 2 >napi_defer_hard_irqs" 2>/dev/null ||
        skip "needs root: a user namespace may not set gro_flush_timeout"
}

count_packets() {
    local match sent from_vip4="ip saddr { ${VIPS[4]}, ${OUTSIDE_VIPS[4]} }" \
        from_vip6="ip6 saddr { ${VIPS[6]}, ${OUTSIDE_VIPS[6]} }"
    for match in "${TUNNELLED[@]}" "$from_vip4" "$from_vip6"; do
        sent+="$match counter name sent"$'\n'
    done
    RULES[vt-router]+="
	table inet count {
	    counter replies {}
	    chain forward {
	        type filter hook forward priority 0
	        iifname lan oifname cl $from_vip4 counter name replies
	        iifname lan oifname cl $from_vip6 counter name replies
	    }
	}"
    # At the director also the packets that leave it, after any firewall's chain: tunnelled packets
    # and its own answers, but not announcements of an IPv6 VIP, its own or another director's.
    RULES[vt-director]+="
	table inet count {
	    counter replies {}
	    chain prerouting {
	        type filter hook prerouting priority -300
	        icmpv6 type nd-neighbor-advert return
	        $from_vip4 counter name replies
	        $from_vip6 counter name replies
	    }
	}
	table inet sent {
	    counter sent {}
	    chain output {
	        type filter hook output priority 300
	        icmpv6 type nd-neighbor-advert return
	        $sent
	    }
	}"
    RULES[vt-client]+="
	table inet count {
	    counter too_big {}
	    chain prerouting {
	        type filter hook prerouting priority -300
	        ${NFT_TOO_BIG[4]} counter name too_big
	        ${NFT_TOO_BIG[6]} counter name too_big
	    }
	}"
}

counter() { # NAMESPACE NAME [TABLE [FAMILY]]: packets counted
    local text
    text=$(at "$1" nft list counter "${4:-inet}" "${3:-count}" "$2")
    [[ $text =~ packets\ ([0-9]+) ]] || fail "no counter $2 in $1: $text"
    echo "${BASH_REMATCH[1]}"
}

# Sends N tunnelled datagrams from SOURCE to real1; inside they are the client's to TO, port 9000.
send_tunnelled() { # NAMESPACE SOURCE TO N [merge|short|unfinished]
    at "$1" python3 "$here/traffic/tunnel.py" "$2" "${ADDRESS[real1]}" "$CLIENT" "${@:3}"
}
