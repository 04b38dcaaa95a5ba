# The MTU is 1500 everywhere, and the tunnel uses 20 or 40 bytes of it. With the MSS clamp the
# client's first full segment fits; without it the client, which sets DF, learns the MTU by ICMP.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

# Counted at the router, where segments have their length on the wire. IPv6's length excludes its
# header.
count_segments() {
    local ip=${NFT_IP[$INNER]} full=$((INNER == 6 ? TUN_MTU - 40 : TUN_MTU))
    at vt-router nft -f - <<-NFT
	table inet mss {
	    counter clamped { }
	    counter full { }
	    counter unfit { }
	    chain forward {
	        type filter hook forward priority 0
	        $ip saddr $VIP tcp flags & (syn | ack) == (syn | ack) \\
	            tcp option maxseg size $MSS counter name clamped
	        $ip daddr $VIP $ip length $full counter name full
	        $ip daddr $VIP $ip length > $full counter name unfit
	    }
	}
	NFT
}
mss_counter() { counter vt-router "$1" mss; }

make_topology
start_web real1
head -c 3000000 /dev/urandom >"$WORK/files/random"
count_segments
start_director rr 1

start_real real1
upload real1
# One, and its repetitions on a busy machine.
clamped=$(mss_counter clamped)
expect_between "SYN-ACKs with MSS $MSS" "$clamped" 1 5
expect_between "full segments that just fit" "$(mss_counter full)" 1000 5000
expect_eq "segments that do not fit" "$(mss_counter unfit)" 0
expect_eq "too big by ICMP at the client" "$(counter vt-client too_big)" 0
stop real1
expect_eq "the real server's exit code" "$CODE" 0

REAL_KEYS='mss = "off"' start_real real1
upload real1
expect_eq "SYN-ACKs with MSS $MSS, still" "$(mss_counter clamped)" "$clamped"
expect_between "segments that did not fit" "$(mss_counter unfit)" 1 100
expect_between "too big by ICMP at the client" "$(counter vt-client too_big)" 1 100
[[ $(at vt-client ip route get "$VIP") == *"mtu $TUN_MTU"* ]] ||
    fail "the client has not learnt the path MTU"
expect_direct_replies 100
expect_accounted
