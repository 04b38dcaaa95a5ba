# MTU 1500 everywhere, and 20 bytes of it are the tunnel's. With the MSS clamp the client's first full segment fits; without
# it the client, which sets DF, learns the MTU by ICMP.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

upload() {
    at vt-client curl -sSf --max-time 30 -T "$WORK/files/random" "http://$VIP/upload/up" -o /dev/null
    cmp "$WORK/files/random" "$WORK/real1/upload/up" || fail "the upload differs"
}

# Counted at the router: there each segment is as long as on the wire.
count_segments() {
    at vt-router nft -f - <<-NFT
	table inet mss {
	    counter clamped { }
	    counter full { }
	    counter unfit { }
	    chain forward {
	        type filter hook forward priority 0
	        ip saddr $VIP tcp flags & (syn | ack) == (syn | ack) tcp option maxseg size 1440 counter name clamped
	        ip daddr $VIP ip length 1480 counter name full
	        ip daddr $VIP ip length > 1480 counter name unfit
	    }
	}
	NFT
}
mss_counter() { at vt-router nft -j list counter inet mss "$1" | jq '[.nftables[].counter? // empty | .packets][0]'; }

make_topology
start_web real1
head -c 3000000 /dev/urandom >"$WORK/files/random"
count_segments
start_director rr 1

start_real real1
upload
expect_eq "SYN-ACKs with MSS 1440" "$(mss_counter clamped)" 1
expect_between "full segments that just fit" "$(mss_counter full)" 1000 5000
expect_eq "segments that do not fit" "$(mss_counter unfit)" 0
expect_eq "ICMP fragmentation needed at the client" "$(counter vt-client too_big)" 0
stop real1
expect_eq "the real server's exit code" "$CODE" 0

REAL_KEYS='mss = "off"' start_real real1
upload
expect_eq "SYN-ACKs with MSS 1440, still" "$(mss_counter clamped)" 1
expect_between "segments that did not fit" "$(mss_counter unfit)" 1 100
expect_between "ICMP fragmentation needed at the client" "$(counter vt-client too_big)" 1 100
[[ $(at vt-client ip route get "$VIP") == *"mtu 1480"* ]] || fail "the client has not learnt the path MTU"
expect_direct_replies 100
expect_accounted
