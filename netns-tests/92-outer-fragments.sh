# A link on the way to a real server takes 1280 bytes, the least that IPv6 allows. With the outer header no packet of
# 1280 bytes fits, and no client may be told less: the director cuts the outer packet (RFC 2473 section 7.1), the real
# server's kernel joins it. IPv4 clients are told what fits; their datagrams without DF are cut in the same way.
# mixes: 6in6 4in6
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

FAR=2001:db8:7::11
NARROW=1280

make_topology
at vt-real1 nft -f - <<-NFT
table inet pieces {
    counter pieces {}
    chain raw { type filter hook prerouting priority -500; ip6 nexthdr 44 ip6 saddr ${UPLINK_DIRECTORS[6]} counter name pieces; }
}
NFT
pieces() { counter vt-real1 pieces pieces; }
ip -n vt-real1 address add "$FAR/128" dev eth0
ip -n vt-router route add "$FAR" via "${ADDRESS[real1]}" dev lan mtu lock $NARROW
ADDRESS[real1]=$FAR
DIRECTOR=${UPLINK_DIRECTORS[6]} # it leaves by the default route now
start_web real1
start_real real1
head -c 1000000 /dev/urandom >"$WORK/files/random"
start_director rr 1

at vt-client curl -sSf --max-time 60 -T "$WORK/files/random" "$(url /upload/up)" -o /dev/null
cmp "$WORK/files/random" "$WORK/real1/upload/up" || fail "the upload differs"
expect_eq "the path MTU in vstun stats" "$(number director stats '.tunnel_errors[0].path_mtu')" "$NARROW"
case $INNER in
    6) expect_between "pieces at the real server" "$(pieces)" 1000 10000 ;;
    # Who is told what fits sends nothing that must be cut.
    4) expect_between "pieces at the real server" "$(pieces)" 0 100 ;;
esac
expect_direct_replies 10
