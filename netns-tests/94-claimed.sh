# Another host announces the VIP while the director has it: the director announces it again, once in
# ten seconds however often it is claimed (RFC 5227 section 2.4), and reports the conflict. It hears
# the old master's defence against its own first announcement too.
# mixes: 4in4 6in6
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

make_topology
make_other
start_director rr 1
listen_to_events
own=$(at vt-director cat /sys/class/net/eth0/address)
rival=$(at vt-other cat /sys/class/net/eth0/address)
declare -A TABLE=([4]=arp [6]=ip6)
declare -A OF_THE_VIP=([4]="arp saddr ip $VIP arp daddr ip $VIP"
    [6]="ip6 saddr $VIP icmpv6 type nd-neighbor-advert")
at vt-router nft -f - <<-NFT
	table ${TABLE[$INNER]} defence {
	    counter defended {}
	    chain input {
	        type filter hook input priority 0
	        ${OF_THE_VIP[$INNER]} counter name defended
	    }
	}
	NFT
heard() { counter vt-router defended defence "${TABLE[$INNER]}"; }
knows() { [[ $(ip -n vt-router neigh show "$VIP") == *"$1"* ]]; } # HARDWARE-ADDRESS
claim() { at vt-other python3 "$here/traffic/claim.py" eth0 "$VIP" "$1"; } # TIMES

# The start's own announcements first: three, a second apart, of which the counter may have missed
# some.
at vt-client ping -c 1 -W 5 "$VIP" >/dev/null
knows "$own" ||
    fail "the router does not know the director's address: $(ip -n vt-router neigh show "$VIP")"
quiet() { local before; before=$(heard); pause 2; (($(heard) == before)); }
wait_for "the end of the start's announcements" quiet

claims=20
before=$(heard)
claim $claims
# At once, and after ten seconds for the claims in between.
announced() { (($(heard) - before >= claims + $1)); } # TIMES
wait_for "a first announcement" announced 1
wait_for "a second one" announced 2
wait_for "the director's address at the router" knows "$own"
conflicts() {
    [[ $(number director list '[.host.wrong[] | select(.what == "conflict")] | length') == "$1" ]]
}
wait_for "the conflict in the list" conflicts 1
wait_for "an event of it" log_has events "\"host_wrong\".*$rival"
expect_log director \
    "WARN .*another host answers .* for virtual IP $VIP on eth0: $rival; .*every ten seconds"
at vt-client ping -c 1 -W 5 "$VIP" >/dev/null
expect_eq "announcements for $claims claims" "$(($(heard) - before - claims))" 2

# A new master is claimed from at its first announcement, before it has sent the other two.
ask director withdraw "$VIP" >"$WORK/withdraw.out"
before=$(heard)
spawn vt-other rival python3 "$here/traffic/claim.py" eth0 "$VIP" 1 after
wait_for "the other host" log_has rival '^ready'
ask director announce "$VIP" >"$WORK/announce.out"
exit_code rival
wait_for "the end of its announcements" quiet
expect_eq "a claim, three announcements and a defence" $(($(heard) - before)) 5
stop director
expect_eq "exit code" "$CODE" 0
