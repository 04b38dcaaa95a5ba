# Congestion marks on tunnelled packets (RFC 6040): every combination of inner and outer field,
# hand-made, and then marks on the director's packets. The inner packet keeps its DSCP.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

received() { sort "$WORK/server.log" | grep -v ready; }
has_received() { (($(received | wc -l) >= $1)); } # AT-LEAST
ecn_refused() { (($(refused real1 ecn) >= $1)); } # AT-LEAST

make_topology
start_real real1
spawn vt-real1 server python3 "$here/traffic/udp_classes.py" "$VIP" 9000
wait_for "the server" log_has server '^ready'

# Section 4.2, figure 4: inner field, outer field, and what arrives.
at vt-director python3 "$here/traffic/marked_tunnel.py" "$DIRECTOR" "${ADDRESS[real1]}" "$CLIENT" \
    "$VIP"
wait_for "fifteen datagrams" has_received 15
expect_eq "inner, outer, and what arrived" "$(received)" "ce ce: ce
ce ect0: ce
ce ect1: ce
ce not-ect: ce
ect0 ce: ce
ect0 ect0: ect0
ect0 ect1: ect1
ect0 not-ect: ect0
ect1 ce: ce
ect1 ect0: ect1
ect1 ect1: ect1
ect1 not-ect: ect1
not-ect ect0: not-ect
not-ect ect1: not-ect
not-ect not-ect: not-ect"
expect_eq "a mark that the sender does not understand, refused as ecn" "$(refused real1 ecn)" 1
expect_eq "DSCPs that arrived" "$(log_has server foreign && echo foreign || echo own)" own

# The router in front of the real server is congested.
start_director rr 1
at vt-real1 nft -f - <<-NFT
	table inet congestion {
	    chain prerouting {
	        type filter hook prerouting priority -300
	        ${TUNNELLED[0]} ${NFT_IP[$OUTER]} ecn set ce
	    }
	}
	NFT
# ECT(0) and ECT(1), then packets without ECN.
at vt-client python3 "$here/traffic/udp_marked.py" "$VIP" 9000 $((0xb8 | 2)) $((0xb8 | 1))
wait_for "two datagrams more" has_received 17
expect_eq "marked on the way" "$(received | grep -c '^datagram: ce$')" 2
at vt-client python3 "$here/traffic/udp_marked.py" "$VIP" 9000 $((0xb8))
wait_for "it to be refused" ecn_refused 2
expect_eq "datagrams that arrived" "$(received | wc -l)" 17
expect_accounted
