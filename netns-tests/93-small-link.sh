# The director's link to one real server has a smaller MTU than the LAN. Clients of other real
# servers are not affected: the TUN keeps the largest MTU, and with ICMP filtered an upload goes on.
# Clients of the small one get its MTU from the director, also after the link has become smaller
# still. A forged path MTU in the director's kernel changes nothing.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

LINK=1400

# Sets the weights of real1 and real2.
weigh() {
    ask director set-weight "${ADDRESS[real1]}" --weight "$1"
    ask director set-weight "${ADDRESS[real2]}" --weight "$2"
}

tun_mtu() { at vt-director cat /sys/class/net/vstun0/mtu; }
told() { at vt-client ip route get "$VIP" | sed -n 's/.* mtu \([0-9]*\).*/\1/p'; }

make_topology
small_link real2 $LINK
ADDRESS[real2]=$SMALL_REAL
TRUSTED=("$DIRECTOR" "$SMALL_DIRECTOR")
start_web real1 real2
start_real real1
# As a real server that advertises too much: clients find out by ICMP.
REAL_KEYS='mss = "off"' start_real real2
head -c 1000000 /dev/urandom >"$WORK/files/random"
start_director rr 1
listen_to_events

at vt-client nft -f - <<-NFT
	table inet filter {
	    chain input {
	        type filter hook input priority 0
	        ${NFT_TOO_BIG[4]} drop
	        ${NFT_TOO_BIG[6]} drop
	    }
	}
NFT
upload real1
ask director add-real "${ADDRESS[real2]}" --weight 0
upload real1
expect_eq "the TUN's MTU" "$(tun_mtu)" "$TUN_MTU"
expect_eq "too big by ICMP at the client of the other one" "$(counter vt-client too_big)" 0

at vt-client nft delete table inet filter
weigh 0 1
upload real2
expect_eq "the size that the client was told" "$(told)" $((LINK - IP_HEADER[OUTER]))
weigh 1 0
upload real1

LINK=1360
ip -n vt-real2 link set dev small mtu $LINK
ip -n vt-director link set dev small mtu $LINK
followed() { grep -q "\"what\":\"link_mtu\".*\"after\":\"$LINK\"" "$WORK/events.log"; }
wait_for "the event of the smaller link" followed
weigh 0 1
upload real2
expect_eq "the size that the client was told then" "$(told)" $((LINK - IP_HEADER[OUTER]))
expect_eq "the TUN's MTU then" "$(tun_mtu)" "$TUN_MTU"

# The director's kernel accepts a forged error that quotes an echo reply. This must not affect the
# tunnels, by route lookups or by sockets.
at vt-router python3 "$here/traffic/forged_too_big.py" "${LAN_ROUTERS[$OUTER]}" "$DIRECTOR" \
    "${ADDRESS[real1]}" 1280
believed() { [[ $(at vt-director ip route get "${ADDRESS[real1]}") == *"expires"*"mtu 1280"* ]]; }
wait_for "the path MTU in the director's kernel" believed
LINK=1350
ip -n vt-real2 link set dev small mtu $LINK
ip -n vt-director link set dev small mtu $LINK
wait_for "the event of the look at the host" followed
expect_eq "the TUN's MTU after a forged error" "$(tun_mtu)" "$TUN_MTU"
before=$(counter vt-client too_big)
at vt-client ip route flush cache
at vt-client ip -6 route flush cache
weigh 1 0
upload real1
expect_eq "too big by ICMP at the client after a forged error" \
    "$(($(counter vt-client too_big) - before))" 0
expect_eq "errors of the tunnels" "$(number director stats .tunnel_errors_received)" 0
expect_direct_replies 50
expect_accounted
