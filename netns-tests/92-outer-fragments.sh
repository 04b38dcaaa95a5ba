# A packet that does not fit the path to a real server, and may be fragmented or cannot be smaller,
# is sent in fragments of the outer packet (RFC 2473 section 7.1, RFC 4213 section 3.2.2). The real
# server's kernel reassembles them. These are IPv6 packets of up to 1280 bytes, and datagrams
# without DF. First a router on the path reports an MTU of 1280 bytes, then the director's own link
# has it. Each fragmented packet counts as one segment.
# mixes: 6in6 6in4 4in6
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

FAR=([4]=10.7.0.11 [6]=2001:db8:7::11)
NARROW=1280

fragments() { counter vt-real1 fragments fragments netdev; }
fragmented() { number director stats .segments_fragmented; }

# IPv4 without DF, from a client that has not learnt a smaller path MTU.
datagrams() { # BYTES
    at vt-client ip -4 route flush cache
    at vt-client sysctl -qw net.ipv4.ip_no_pmtu_disc=1
    expect_eq "datagrams of $1 bytes answered" \
        "$(at vt-client python3 "$here/traffic/udp_client.py" "$VIP" 9000 5 10 "$1" | tail -n 1)" \
        "answers 50"
    at vt-client sysctl -qw net.ipv4.ip_no_pmtu_disc=0
}
SMALLEST=$((1280 - IP_HEADER[INNER] - 8)) # bytes of a datagram in a packet of 1280

make_topology
small_link real1 $NARROW
# On the wire, before the kernel reassembles them.
at vt-real1 nft -f - <<-NFT
table netdev fragments {
    counter fragments {}
    chain ingress {
        type filter hook ingress devices = { eth0, small } priority 0
        ip6 nexthdr 44 counter name fragments
        ip protocol { 4, 41 } ip frag-off & 0x3fff != 0 counter name fragments
    }
}
NFT
near=${ADDRESS[real1]} far=${FAR[$OUTER]}
ip -n vt-real1 address add "$(alone "$far")" dev eth0
# to the far address it leaves by the default route
TRUSTED=("$SMALL_DIRECTOR" "${UPLINK_DIRECTORS[$OUTER]}")
start_web real1
REAL_KEYS='mss = "off"' start_real real1 # which would advertise what fits
start_echo real1
head -c 1000000 /dev/urandom >"$WORK/files/random"

# --- a router further on --------------------------------------------------------------------------

if [[ $OUTER == 6 ]]; then
    ip -n vt-router route add "$far" via "$near" dev lan mtu lock $NARROW
    ADDRESS[real1]=$far
    start_director rr 1
    upload real1
    expect_eq "the path MTU in vstun stats" \
        "$(number director stats '.tunnel_errors[0].path_mtu')" "$NARROW"
    case $INNER in
        6) expect_between "fragmented segments" "$(fragmented)" 500 5000 ;;
        # Clients that get the path MTU send nothing that has to be cut.
        4) expect_between "fragmented segments" "$(fragmented)" 0 100 ;;
    esac
    datagrams $SMALLEST
    expect_between "fragmented segments then" "$(fragmented)" 50 5000
    REFUSED_LATE=100 expect_accounted
    stop director
fi

# --- the director's own link ----------------------------------------------------------------------

ADDRESS[real1]=$SMALL_REAL
before=$(fragments)
start_director rr 1 0 # a TUN of one real server would have the small size too
upload real1
[[ $INNER == 4 ]] || expect_between "fragmented segments of the own link" "$(fragmented)" 500 5000
datagrams $SMALLEST
datagrams 1400
case $INNER in
    6) expect_between "fragmented segments with datagrams" "$(fragmented)" 600 5000 ;;
    # Only datagrams: segments have DF, and their clients get the path MTU.
    4) expect_between "fragmented datagrams" "$(fragmented)" 50 150 ;;
esac
expect_eq "errors of the tunnels" "$(number director stats .tunnel_errors_received)" 0
expect_eq "fragments at the real server" "$(($(fragments) - before))" \
    "$(number director stats .outer_fragments)"
expect_direct_replies 10
expect_accounted
