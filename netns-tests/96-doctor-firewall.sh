# `vstun doctor` sends marked packets from the uplink and names the rule that drops them, whatever
# its kind: at each hook, in jumps, sets, maps and iptables-nft, by connection tracking. The printed
# command lets clients through. Nothing of the marked packets is left, and none reaches the daemon.
# mixes: 4in4 6in4
# usual: 6in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
source "$here/doctor.sh"

make_topology
start_web real1
start_real real1
start_echo real1
LISTENS="80/tcp 9000/udp"
DIRECTOR_KEYS='uplinks = ["eth0"]'
start_director rr 1
healthy director
jq -r '.well[]' "$WORK/report" >"$WORK/well.log"
grep -q '^marked packets for 2 ports went from the uplinks into vstun0' "$WORK/well.log" ||
    fail "well: $(<"$WORK/well.log")"

ip=ip$([[ $INNER == 4 ]] || echo 6)
packets() { ask director stats --json | jq .packets.read; }

# The rule is the last one of its chain.
drops() { # CAUSE FAMILY BASE CHAIN HOOK RULE...
    local cause=$1 family=$2 base=$3 chain=$4 kind=$5 handle
    at vt-director nft -f - <<-NFT
	table $family probed {
	    set vips {
	        type ipv${INNER}_addr
	        flags interval
	        elements = { $VIP }
	    }
	    chain deeper {
	    }
	    chain deep {
	    }
	    chain $base {
	        type filter hook $kind
	    }
	}
	NFT
    at vt-director nft add rule "$family" probed "$chain" "${@:6}"
    [[ $chain == "$base" ]] ||
        at vt-director nft "add rule $family probed $base jump deep;
            add rule $family probed deep counter jump deeper"
    handle=$(at vt-director nft -a list chain "$family" probed "$chain" |
        sed -n 's/.* # handle \([0-9]*\)$/\1/p' | tail -n 1)
    named director "$cause" "$VIP"
    expect_eq "the rule" "$(first evidence | sed 's/, by base chain.*//')" \
        "rule $handle of chain $chain"
    expect_eq "its base chain" \
        "$(first evidence | sed 's/.*by base chain \([a-z]* of table [a-z0-9]* [a-z]*\);.*/\1/')" \
        "$base of table $family probed"
    mend vt-director
    healthy director
    at vt-director nft delete table "$family" probed
}

before=$(packets) tables=$(at vt-director nft list tables)
drops firewall inet pre pre "prerouting priority -150;" "$ip" daddr "$VIP" drop
drops firewall inet fore fore "forward priority 0;" "$ip" daddr @vips counter drop
drops firewall inet fore deeper "forward priority 0;" "meta l4proto { 6, 17 } ct state new reject"
drops firewall "$ip" fore fore "forward priority 5;" "th dport vmap { 80 : drop, 9000 : accept }"
drops firewall inet post post "postrouting priority 100;" oifname vstun0 th dport 80-90 drop
drops firewall netdev way way "ingress device \"eth0\" priority 0;" "$ip" daddr "$VIP" drop
drops firewall netdev way way "egress device \"vstun0\" priority 0;" "$ip" daddr "$VIP" drop
drops ct_invalid inet fore deeper "forward priority 0;" ct state invalid drop
# Conditions that only the kernel can judge.
drops firewall inet fore fore "forward priority 0;" meta pkttype host drop
drops firewall inet fore fore "forward priority 0;" "limit rate over 1/hour burst 1 packets drop"
# Rules that translate: the packets reach neither the daemon nor the real server.
own=${REAL_ADDRESSES[real1/$INNER]}
at vt-real1 nft -f - <<-NFT
	table inet seen {
	    chain pre {
	        type filter hook prerouting priority -400
	        $ip saddr != $own $ip daddr $own meta l4proto { 6, 17 } counter
	    }
	}
	NFT
translates() { # HOOK RULE...
    local handle
    at vt-director nft "add table $ip probed;
        add chain $ip probed way { type nat hook $1; }; add chain $ip probed deep;
        add rule $ip probed way jump deep; add rule $ip probed deep ${*:2}"
    handle=$(at vt-director nft -a list chain "$ip" probed deep |
        sed -n 's/.* # handle \([0-9]*\)$/\1/p' | tail -n 1)
    named director nat "$VIP"
    expect_eq "the rule" "$(first evidence | sed 's/;.*//')" \
        "rule $handle of chain deep, by base chain way of table $ip probed"
    mend vt-director
    healthy director
    at vt-director nft delete table "$ip" probed
}
translates "prerouting priority -100;" "$ip daddr $VIP tcp dport 80 dnat to $own"
translates "prerouting priority -100;" "udp dport 9000 redirect to :9001"
expect_eq "packets of these that the daemon has read" "$(packets)" "$before"
# Masquerading for every interface: for clients it is a fault. This director's own probes get
# another source too where that differs from what the route says.
translates "postrouting priority 100;" masquerade
# Those alone: the director takes them for a client's.
before=$(packets)
translates "postrouting priority 100;" oifname vstun0 meta skuid 0 snat to "${LAN_OTHERS[$INNER]}"
[[ $(packets) != "$before" ]] || fail "no probe was taken for a client's packet"
expect_eq "packets of these at the real server" \
    "$(at vt-real1 nft list chain inet seen pre | grep -o 'packets [0-9]*')" "packets 0"
at vt-real1 nft delete table inet seen

# Rules for this host's own packets and for ARP, and such as every healthy host may have.
for rule in "tcp dport < 10000 drop" "oifname vstun0 reject"; do
    at vt-director nft "add table inet probed;
        add chain inet probed out { type filter hook output priority 0; };
        add rule inet probed out $rule"
    named director firewall "$VIP"
    [[ $(first text) == *"this director's own packets"* ]] || fail "it says: $(first text)"
    expect_eq "findings about real servers" \
        "$(jq '[.findings[] | select(.on)] | length' "$WORK/report")" 0
    mend vt-director
    healthy director
    at vt-director nft delete table inet probed
done
if [[ $INNER == 4 ]]; then
    at vt-director nft "add table arp probed;
        add chain arp probed in { type filter hook input priority 0; };
        add rule arp probed in arp daddr ip $VIP drop"
    named director neighbours "$VIP"
    mend vt-director
    healthy director
    at vt-director nft delete table arp probed
fi
at vt-director nft -f - <<-NFT
	table inet usual {
	    set none {
	        type ipv4_addr
	    }
	    chain out {
	        type filter hook output priority 0
	        tcp dport != { 22, 80 } drop
	        icmp type != echo-request drop
	        meta skuid 1000 drop
	        tcp flags & (fin|syn) == fin|syn drop
	        ct direction reply meta length > 1500 meta l4proto 132 drop
	        ct mark 5 drop
	        ip saddr @none drop
	        ip6 saddr != ::/0 drop
	        meta cgroup 77 drop
	    }
	}
	NFT
healthy director
at vt-director nft delete table inet usual
expect_eq "tables" "$(at vt-director nft list tables)" "$tables"

iptables=${ip}tables
if command -v "$iptables-nft" >/dev/null; then
    at vt-director "$iptables-nft" -A FORWARD -m conntrack --ctstate INVALID -j DROP
    named director ct_invalid "$VIP"
    at vt-director "$iptables-nft" -F FORWARD
    at vt-director "$iptables-nft" -A FORWARD -p tcp --dport 80 -m comment --comment x -j DROP
    named director firewall "$VIP"
    mend vt-director
    healthy director
    at vt-director nft delete table "$ip" filter
fi
# No rule of nftables drops it, and a marked packet shows at which hook it ends.
if command -v "$iptables-legacy" >/dev/null &&
    at vt-director "$iptables-legacy" -A FORWARD -p tcp --dport 80 -j DROP 2>/dev/null; then
    named director firewall "$VIP"
    expect_eq "where it ends" "$(first text | grep -o 'ends at the hook forward')" \
        "ends at the hook forward"
    at vt-director "$iptables-legacy" -F FORWARD
    healthy director
fi
