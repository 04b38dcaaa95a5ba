# The VIP is announced by gratuitous ARP or unsolicited neighbour advertisements (RFC 4861 section
# 7.2.6): three times at the director's start, at once after the uplink was down and the kernel has
# lost the proxy entry, and never without a change. The router counts them.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

NFT_TABLE=([4]=arp [6]=ip6)
heard() { counter vt-router "$1" announcements "${NFT_TABLE[$INNER]}"; } # NAME
has_heard() { (($(heard "$1") >= $2)); } # NAME AT-LEAST

make_topology
# To all nodes, from and about the VIP, with the override flag: it replaces an old entry at once.
ANNOUNCEMENT=([4]="arp saddr ip $VIP arp daddr ip $VIP arp operation request"
    [6]="ip6 saddr $VIP ip6 daddr ff02::1 icmpv6 type nd-neighbor-advert @th,32,8 & 0x20 == 0x20")
# In any form.
ANY_OF_THE_VIP=([4]="arp saddr ip $VIP" [6]="ip6 saddr $VIP icmpv6 type nd-neighbor-advert")
at vt-router nft -f - <<-NFT
	table ${NFT_TABLE[$INNER]} announcements {
	    counter announced {}
	    counter others {}
	    chain input {
	        type filter hook input priority 0
	        ${ANNOUNCEMENT[$INNER]} iifname "uplink" counter name announced
	        ${ANY_OF_THE_VIP[$INNER]} iifname != "uplink" counter name others
	    }
	}
	NFT
start_web real1
start_real real1
# Setting the uplink down removes the default route by which the director finds the uplink.
DIRECTOR_KEYS='uplinks = ["eth0"]'
start_director rr 1
wait_for "three announcements" has_heard announced 3

# A router that meanwhile has another hardware address for the VIP learns the director's again.
ip -n vt-director link set dev eth0 down
expect_eq "the proxy entry while the uplink is down" \
    "$(ip -n vt-director "-$INNER" neigh show proxy)" ""
expect_eq "announcements until the uplink is up again" "$(heard announced)" 3
# The router's kernel forgets its neighbours when it has seen that the carrier is lost.
is_down() { [[ $(at vt-router cat /sys/class/net/uplink/operstate) == *down ]]; }
wait_for "the router to see the carrier lost" is_down
ip -n vt-router neigh replace "$VIP" lladdr 02:00:00:00:00:99 dev uplink nud stale
ip -n vt-director link set dev eth0 up
# IPv6 addresses are lost with the link, and set again by the administrator.
for family in 4 6; do
    ip -n vt-director address replace "$(in_subnet "${UPLINK_DIRECTORS[$family]}")" dev eth0
    ip -n vt-director route replace default via "${UPLINK_ROUTERS[$family]}"
done
wait_for "announcements after the uplink was down" has_heard announced 4
own=$(at vt-director cat /sys/class/net/eth0/address)
learnt() { [[ $(ip -n vt-router neigh show "$VIP") == *"$own"* ]]; }
wait_for "the router to learn the director's address" learnt
wait_for "all three announcements after it" has_heard announced 6
expect_eq "requests served" "$(share "$(fetch 20)" real1)" 20

# A reload that does not change the VIP causes no announcement.
configure "$WORK/director.toml" wrr 1
ask director reload
expect_eq "requests served" "$(share "$(fetch 20)" real1)" 20
expect_eq "announcements after a reload" "$(heard announced)" 6
expect_eq "announcements on the servers' network" "$(heard others)" 0
expect_accounted
stop director

# A director that is stopped while it asks who has the VIP has never had it.
start_asking() { at vt-director ip link show dev vstun0 >"$WORK/link" 2>&1; }
for _ in {1..5}; do
    before=$(heard announced)
    spawn vt-director director "$VSTUN_BIN/vstun-director" --config "$WORK/director.toml"
    wait_for "the TUN" start_asking
    stop director
    expect_eq "exit code" "$CODE" 0
    # On a busy machine the signal may come when the answer is there already: another try.
    log_has director announcing || break
done
expect_eq "announcements by a director that stops" "$(heard announced)" "$before"
! log_has director announcing || fail "it says that it announces"
