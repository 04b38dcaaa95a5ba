# `vstun doctor` and replies: dropped by a firewall, without a route, by a route or rule that drops,
# by a VPN, by the network; and an ordinary host's firewall, its rules for ports and for the reverse
# path. The first finding's first command corrects each fault that a command on that host can
# correct.
# mixes: 4in4
# first: many faults, each of which is found and mended
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
source "$here/doctor.sh"

make_topology
start_web real1 real2
start_real real1 real2
LISTENS="80/tcp"
DIRECTOR_KEYS='uplinks = ["eth0"]'
start_director rr 1 1
healthy director
healthy real1

at vt-real1 nft -f - <<-NFT
	table inet filter {
	    chain out {
	        type filter hook output priority 0
	        ip saddr $VIP drop
	    }
	}
	NFT
named director reply_path "${ADDRESS[real1]}"
named real1 firewall "$VIP"
mend vt-real1
healthy real1
healthy director
at vt-real1 nft delete table inet filter

gateway=$(ip -n vt-real1 route show default | awk '{ print $3 }')
ip -n vt-real1 route del default
named director reply_path "${ADDRESS[real1]}"
named real1 reply_path "$VIP"
command=$(first 'mend[0]')
at vt-real1 sh -c "${command/ROUTER/$gateway}"
healthy real1
healthy director

# Routes and rules that drop replies: to everybody, and to the network of a client.
ip -n vt-real1 route del default
ip -n vt-real1 route add default via "$gateway" metric 100
for kind in unreachable blackhole; do
    ip -n vt-real1 route add "$kind" default metric 50
    named real1 reply_path "$VIP"
    [[ $(first text) == *"the route is $kind"* ]] || fail "it says: $(first text)"
    mend vt-real1
    healthy real1
done
clients=198.51.100.0/24
ask_on() { # clients that ask again and again
    spawn vt-client asking sh -c "while :; do curl -so /dev/null --max-time 1 '$(url /)'; done"
}
for drops in "route add blackhole $clients" "rule add to $clients prohibit pref 5"; do
    # shellcheck disable=SC2086 # words
    ip -n vt-real1 $drops
    case $drops in
        route*)
            EXIT=0
            named real1 reply_path
            [[ $(first text) == *"right, if clients are not there" ]] ||
                fail "it says: $(first text)"
            EXIT=1
            ;;
        # The daemon reports a rule that is before its own.
        rule*) named real1 mss "$VIP" ;;
    esac
    ask_on
    named real1 reply_path "$VIP"
    [[ $(first text) == *"$CLIENT"* ]] || fail "it says: $(first text)"
    mend vt-real1
    stop asking KILL
    healthy real1
done
healthy director

# The network drops what comes from an address that it did not assign, as clouds do.
at vt-router nft -f - <<-NFT
	table netdev cloud {
	    chain check {
	        type filter hook ingress device "lan-real1" priority 0
	        ip saddr $VIP drop
	    }
	}
	NFT
named director reply_path "${ADDRESS[real1]}"
expect_eq "what it says of the network" "$(first text | grep -o 'turn its source check off')" \
    "turn its source check off"
expect_eq "what shows it" "$(first 'mend[1]')" "tcpdump -c 5 -ni any 'src $VIP'"
healthy real1
jq -r '.well[]' "$WORK/report" >"$WORK/well.log"
grep -q 'what the network does with replies is not seen from here' "$WORK/well.log" ||
    fail "well: $(<"$WORK/well.log")"
at vt-router nft delete table netdev cloud
healthy director

# A VPN's routes, and its rules.
ip -n vt-real1 tuntap add vpn0 mode tun
ip -n vt-real1 link set vpn0 up
ip -n vt-real1 route add 128.0.0.0/1 dev vpn0
named real1 reply_path "$VIP"
mend vt-real1
healthy real1
ip -n vt-real1 route add default dev vpn0 table 51820
at vt-real1 ip rule add not fwmark 0xca6c lookup 51820 pref 100
named real1 reply_path "$VIP"
mend vt-real1
healthy real1
at vt-real1 ip rule del pref 99
at vt-real1 ip rule del pref 100
ip -n vt-real1 link del vpn0
healthy real1
healthy director

# --- a firewall -----------------------------------------------------------------------------------

# That of an ordinary host: nothing is wrong.
at vt-real1 nft -f - <<-NFT
	table inet filter {
	    set banned {
	        type ipv4_addr
	        elements = { 203.0.113.7, 203.0.113.9 }
	    }
	    chain before {
	        type filter hook prerouting priority -10
	        ip frag-off & 0x1fff != 0 drop
	        tcp flags & (fin|syn) == fin|syn drop
	        meta pkttype multicast drop
	    }
	    chain input {
	        type filter hook input priority 0; policy drop
	        ct state invalid drop
	        ip saddr @banned drop
	        ct state established,related accept
	        iifname "lo" accept
	        meta l4proto { 1, 4 } accept
	        tcp dport { 22, 80, 443 } accept
	    }
	}
	NFT
healthy director
healthy real1
# Without the web's port.
at vt-real1 nft flush chain inet filter input
at vt-real1 nft add rule inet filter input meta l4proto '{ 1, 4 }' accept
at vt-real1 nft add rule inet filter input tcp dport 22 accept
named real1 firewall "$VIP"
[[ $(first text) == *80/tcp* ]] || fail "it says: $(first text)"
mend vt-real1
healthy real1
healthy director
# As firewalld does it: replies leave by another interface than that of the packets.
at vt-real1 nft flush table inet filter
at vt-real1 nft add chain inet filter input '{ policy accept; }'
at vt-real1 nft add rule inet filter before fib saddr . iif oif missing drop
named real1 firewall "$VIP"
mend vt-real1
healthy real1
healthy director
at vt-real1 nft delete table inet filter
