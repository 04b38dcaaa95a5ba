# The addresses of both families, which of them a test's mix uses, and the dependent numbers and
# words. Sourced by topology.sh.
#
# MIX is INNER`in`OUTER: 6in4 is IPv6 clients and an IPv6 VIP, and tunnels over IPv4 between the
# director and its real servers. `dual` is both at once, for a test that sets what it needs itself;
# it begins as 4in4. shellcheck shell=bash disable=SC2034 # the names are for the tests

# --- addresses by family; hosts have both in every mix --------------------------------------------

CLIENTS=([4]=198.51.100.10 [6]=2001:db8:c::10)
CLIENT_ROUTERS=([4]=198.51.100.1 [6]=2001:db8:c::1)
VIPS=([4]=192.0.2.10 [6]=2001:db8:b::10)
OUTSIDE_VIPS=([4]=203.0.113.10 [6]=2001:db8:f::10) # in no host's subnet
UPLINK_ROUTERS=([4]=192.0.2.1 [6]=2001:db8:b::1)
UPLINK_DIRECTORS=([4]=192.0.2.2 [6]=2001:db8:b::2)
UPLINK_OTHERS=([4]=192.0.2.3 [6]=2001:db8:b::3)
DIRECTORS=([4]=10.0.0.1 [6]=2001:db8:a::1)
LAN_OTHERS=([4]=10.0.0.2 [6]=2001:db8:a::2)
LAN_ROUTERS=([4]=10.0.0.254 [6]=2001:db8:a::254)
REALS=(real1 real2 real3)
declare -A REAL_ADDRESSES=([real1/4]=10.0.0.11 [real2/4]=10.0.0.12 [real3/4]=10.0.0.13
    [real1/6]=2001:db8:a::11 [real2/6]=2001:db8:a::12 [real3/6]=2001:db8:a::13)

# --- what differs between the families ------------------------------------------------------------

SUBNET=([4]=24 [6]=64)              # the length of every subnet's prefix
IP_HEADER=([4]=20 [6]=40)
NFT_IP=([4]=ip [6]=ip6)             # as in `ip saddr`
NFT_PROTOCOL=([4]="ip protocol" [6]="ip6 nexthdr")
TUNNEL_PROTOCOL=([4]=4 [6]=41)      # of a tunnelled packet, by its inner family
NFT_TOO_BIG=([4]="icmp type destination-unreachable icmp code frag-needed"
    [6]="icmpv6 type packet-too-big")

family() { [[ $1 == *:* ]] && echo 6 || echo 4; }                       # ADDRESS
in_url() { # ADDRESS, in front of a port too
    [[ $1 == *:* ]] && echo "[$1]" || echo "$1"
}
alone() { # ADDRESS: the prefix of it alone
    [[ $1 == *:* ]] && echo "$1/128" || echo "$1/32"
}
in_subnet() { # ADDRESS: it with its subnet's length
    [[ $1 == *:* ]] && echo "$1/${SUBNET[6]}" || echo "$1/${SUBNET[4]}"
}
url() { # PATH, at the VIP
    [[ $VIP == *:* ]] && echo "http://[$VIP]$1" || echo "http://$VIP$1"
}
tunnel_match() { # INNER OUTER: for nft, a tunnelled packet
    echo "${NFT_PROTOCOL[$2]} ${TUNNEL_PROTOCOL[$1]}"
}

# --- the mix --------------------------------------------------------------------------------------

declare -A ADDRESS # of each real server, in the tunnels' family

use_mix() { # MIX
    local name
    INNER=${1%in*} OUTER=${1#*in}
    VIP=${VIPS[$INNER]}
    CLIENT=${CLIENTS[$INNER]}
    DIRECTOR=${DIRECTORS[$OUTER]}
    for name in "${REALS[@]}"; do ADDRESS[$name]=${REAL_ADDRESSES[$name/$OUTER]}; done
    TUN_MTU=$((1500 - IP_HEADER[OUTER]))
    MSS=$(mss "$INNER" "$OUTER")
    # whole, and in outer fragments over IPv6
    TUNNELLED=("$(tunnel_match "$INNER" "$OUTER")" "ip6 nexthdr 44")
}

mss() { # INNER OUTER: that fills a packet on the way to a real server
    echo $((1500 - IP_HEADER[$2] - IP_HEADER[$1] - 20))
}

case ${MIX:=4in4} in
    [46]in[46]) use_mix "$MIX" ;;
    dual)
        use_mix 4in4
        TUNNELLED=("$(tunnel_match 4 4)" "$(tunnel_match 6 4)" "$(tunnel_match 4 \
            6)" "$(tunnel_match 6 6)" "ip6 nexthdr 44")
        ;;
    *) fail "no mix '$MIX'" ;;
esac
