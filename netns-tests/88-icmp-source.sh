# The source of ICMP errors to clients: vstun's have the virtual IP, the director's kernel's its own
# address, unless the firewall rule of docs/operations.md replaces that by the virtual IP.
# mixes: 4in4 6in6 4in6 6in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

offender() { at vt-client python3 "$here/traffic/offender.py" "$VIP" "$@"; } # PORT HOPS LENGTH
TIME_EXCEEDED=([4]="11 0" [6]="3 0")
PORT_UNREACHABLE=([4]="3 3" [6]="1 4")

TOO_BIG=([4]="3 4" [6]="2 0")

make_topology
start_web real1
start_real real1
start_director rr 1
expect_eq "a port without a service" "$(offender 9 64 10)" "${PORT_UNREACHABLE[$INNER]} $VIP"
# The router takes one off the TTL, the director the other.
expect_eq "a hop limit that ends at the director" "$(offender 9 2 10)" \
    "${TIME_EXCEEDED[$INNER]} ${UPLINK_DIRECTORS[$INNER]}"

# The rule of docs/operations.md: the destination in the packet that the error quotes.
quoted=([4]="icmp type { destination-unreachable, time-exceeded } @th,192,32"
    [6]="icmpv6 type { packet-too-big, time-exceeded } @th,256,128")
hex=0x$(python3 -c "import ipaddress; print(ipaddress.ip_address('$VIP').packed.hex())")
at vt-director nft -f - <<-NFT
	table inet vstun {
	    chain errors {
	        type filter hook output priority 0
	        ${quoted[$INNER]} $hex ${NFT_IP[$INNER]} saddr set $VIP
	    }
	}
NFT
expect_eq "the same with the rule" "$(offender 9 2 10)" "${TIME_EXCEEDED[$INNER]} $VIP"
expect_eq "and what does not fit" "$(offender 9 64 $((1500 - IP_HEADER[INNER] - 8)))" \
    "${TOO_BIG[$INNER]} $VIP"
expect_eq "and vstun's own" "$(offender 9 64 10)" "${PORT_UNREACHABLE[$INNER]} $VIP"
