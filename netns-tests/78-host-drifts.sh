# Other programs change the host under a running director and a running real server: missing steps
# are restored, which the log, an event and the list report. A step that cannot be restored is
# reported while that lasts, and again when it recurs.
# mixes: 4in4 6in6
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

make_topology
start_web real1
start_real real1
start_director rr 1
spawn vt-director events "$VSTUN_BIN/vstun" --socket "$CONTROL/director.sock" events
wait_for "a listener" log_has events 'Ctrl-C'
version=$([[ $VIP == *:* ]] && echo 6 || echo 4)
wrong() { number director list "[.host.wrong[] | select(.what == \"$1\")] | length"; } # KIND
is_wrong() { [[ $(wrong "$1") == "$2" ]]; }                                             # KIND COUNT
announced() { at vt-director ip -"$version" neigh show proxy | grep -q "$VIP dev eth0"; }

at vt-director ip -"$version" neigh del proxy "$VIP" dev eth0
wait_for "the proxy entry again" announced
wait_for "a word about it" log_has director \
    "proxy neighbour entry $VIP dev eth0: it was gone, and is put back"
wait_for "an event of it" log_has events "\"put_back\",.*$VIP"
expect_eq "put back so far" "$(number director list .host.put_back)" 1
at vt-director sysctl -qw net.ipv$version.conf.eth0.forwarding=0
forwards() { [[ $(at vt-director sysctl -n net.ipv$version.conf.eth0.forwarding) == 1 ]]; }
wait_for "forwarding again" forwards

# Packets for the VIP bypass the TUN: reported while it lasts, each time.
for time in first second; do
    at vt-director ip -"$version" rule add iif eth0 prohibit pref 10
    wait_for "the $time loss of the capture in the list" is_wrong capture 1
    at vt-director ip -"$version" rule del pref 10
    wait_for "its end" is_wrong capture 0
done
ends_told() { (($(grep -c '"host_right".*do not get into vstun0' "$WORK/events.log") >= 2)); }
wait_for "the event of the second end" ends_told
expect_eq "times it was said" "$(grep -c 'WARN.* do not get into vstun0' "$WORK/director.log")" 2
expect_eq "events of it" "$(grep -c '"host_wrong".*do not get into vstun0' "$WORK/events.log")" 2
expect_eq "events of its end" \
    "$(grep -c '"host_right".*do not get into vstun0' "$WORK/events.log")" 2
# A local route takes them, and a rule that they do not match is there as well: the text names the
# route's table and leaves the rule alone.
[[ $version == 6 ]] && local_range=${VIP%:*}:10/124 other=2001:db8:ffff::1
[[ $version == 4 ]] && local_range=${VIP%.*}.8/29 other=203.0.113.1
at vt-director ip -"$version" rule add from "$other" lookup 77 pref 100
at vt-director ip -"$version" route add local "$local_range" dev lo
wait_for "the loss to a local route in the list" is_wrong capture 1
text=$(number director list '.host.wrong | map(.text) | join(" ")')
[[ $text == *"delivered on this host"* && $text != *"rule del"* ]] || fail "it says: $text"
command=$(grep -o '`ip [^`]*route show [^`]*`' <<<"$text" | tr -d '`')
at vt-director $command | grep "$local_range" || fail "$command does not show the route"
at vt-director ip -"$version" route del local "$local_range" dev lo
at vt-director ip -"$version" rule del pref 100
wait_for "its end" is_wrong capture 0
# Without a route back to clients rp_filter drops their packets (IPv4).
if [[ $version == 4 ]]; then
    route=$(at vt-director ip route show default)
    at vt-director ip route del default
    wait_for "the loss of the default route in the list" is_wrong capture 1
    text=$(number director list '.host.wrong[0].text')
    [[ $text == *"\`ip route add $(xargs <<<"$route")\`" ]] || fail "it says: $text"
    at vt-director ip route add $route
    wait_for "its end" is_wrong capture 0
fi
# Rules that match a part of the packets: one that matches those of a service is reported while it
# lasts; whether one for a mark does is not known.
at vt-director ip -"$version" route add default dev eth0 table 500
at vt-director ip -"$version" rule add iif eth0 ipproto tcp dport 80 lookup 500 pref 100
wait_for "the loss of a port's packets in the list" is_wrong capture 1
[[ $(number director list '.host.wrong[0].text') == *"routing rule 100 takes packets for"* ]] ||
    fail "it says: $(number director list .host.wrong)"
at vt-director ip -"$version" rule del pref 100
wait_for "its end" is_wrong capture 0
at vt-director ip -"$version" rule add fwmark 7 lookup 500 pref 101
wait_for "a word about marks" log_has director "routing rule 101 may take packets for virtual IP"
at vt-director ip -"$version" rule del pref 101
# A rule that discards them, and an IPsec policy, which no route lookup shows.
at vt-director ip -"$version" rule add to "$VIP" blackhole pref 102
wait_for "the loss to a blackhole in the list" is_wrong capture 1
at vt-director ip -"$version" rule del pref 102
wait_for "its end" is_wrong capture 0
at vt-director ip xfrm policy add dir fwd dst "$VIP" action block
wait_for "the loss to an IPsec policy in the list" is_wrong capture 1
command=$(number director list '.host.wrong[0].text' | grep -o 'ip xfrm policy delete [^`]*')
at vt-director $command
wait_for "its end" is_wrong capture 0
# The TUN's MTU, and a setting that was right before the director started.
mtu=$(at vt-director cat /sys/class/net/vstun0/mtu)
tun_has() { [[ $(at "vt-$1" cat "/sys/class/net/$2/mtu") == "$3" ]]; } # HOST TUN MTU
at vt-director ip link set vstun0 mtu 1290
wait_for "the TUN's MTU again" tun_has director vstun0 "$mtu"
wait_for "a word about it" log_has director "MTU $mtu of vstun0: it was gone, and is put back"
# The TUN is renamed: it is the same one.
# In one process, since the daemon sets it up again soon.
rename_tun() { # HOST NAME
    ip -n "vt-$1" -batch - <<<"link set vstun0 down
link set vstun0 name $2"
}
wait_for "the other name" rename_tun director edge0
is_named() { [[ $(number director list .host.tun) == edge0 ]]; }
wait_for "the new name in the list" is_named
wait_for "a word about it" log_has director "interface vstun0 is called edge0 now"
captured() { at vt-director ip -"$version" route show "$VIP" | grep -q 'dev edge0'; }
wait_for "the route into it" captured
expect_eq "what is wrong after that" "$(number director list '.host.wrong | length')" 0
expect_eq "requests served in the end" "$(fetch 4 | awk '{ n += $1 } END { print n }')" 4

# A rule before the daemon's own takes a real server's replies past the copies of routes.
wrong_at_real() { [[ $(number real1 status ".host.wrong | map(.text) | join(\" \")") == *"$1"* ]]; }
right_at_real() { [[ $(number real1 status '.host.wrong | length') == 0 ]]; }
at vt-real1 ip -"$version" rule add lookup main pref 10
wait_for "a word about replies" wrong_at_real "routing rule 10 takes the replies"
at vt-real1 ip -"$version" rule del pref 10
wait_for "the end of that" right_at_real

at vt-real1 ip -"$version" rule add ipproto tcp sport 80 lookup main pref 11
wait_for "a word about a port's replies" wrong_at_real "routing rule 11 takes the replies"
at vt-real1 ip -"$version" rule del pref 11
wait_for "the end of that" right_at_real

# The copies of routes are removed, and the TUN gets another MTU.
at vt-real1 ip -"$version" route flush table 1020
copied() { [[ -n $(at vt-real1 ip -"$version" route show table 1020) ]]; }
wait_for "the copies again" copied
wait_for "a word about them" log_has real1 \
    "copied routes in table 1020: it was gone, and is put back"
at vt-real1 ip link set vstun0 mtu 1400
wait_for "the TUN's MTU again" tun_has real1 vstun0 1500
wait_for "a word about it" log_has real1 "MTU 1500 of vstun0: it was gone, and is put back"

# A virtual IP must not become the source of a real server's own connections.
vip_of_real1() { at vt-real1 ip -"$version" addr show dev vstun0 to "$VIP"; }
no_source=$([[ $version == 4 ]] && echo "scope host" || echo deprecated)
served_only() { [[ $(vip_of_real1) == *" $no_source"* ]]; }
served_only || fail "the VIP may be a source from the start: $(vip_of_real1)"
if ((version == 4)); then
    # Of global scope. One process, since the daemon adds its own soon.
    ip -n vt-real1 -batch - <<<"addr del $VIP/32 dev vstun0
addr add $VIP/32 dev vstun0"
else
    at vt-real1 ip -6 addr change "$VIP/128" dev vstun0 preferred_lft 1000
fi
wait_for "an address that is no source again" served_only
wait_for "a word about the address" log_has real1 \
    "address $VIP dev vstun0: it was gone, and is put back"

if ((version == 4)); then
    at vt-real1 sysctl -qw net.ipv4.conf.eth0.arp_ignore=0
    silent() { [[ $(at vt-real1 sysctl -n net.ipv4.conf.eth0.arp_ignore) == 1 ]]; }
    wait_for "arp_ignore again" silent
    wait_for "a word about it" log_has real1 'arp_ignore = 1: it was gone, and is put back'
    # The flushed routes may be put back in two rounds, when the first one meets the flush.
    expect_between "put back at the real server" "$(number real1 stats .host.put_back)" 4 5
    expect_eq "what is wrong there" "$(number real1 status '.host.wrong | length')" 0
fi

# Its TUN is renamed too, and at the end nothing is left.
wait_for "the other name" rename_tun real1 edge1
has_it() { at vt-real1 ip addr show dev edge1 to "$VIP" | grep -q "$VIP"; }
wait_for "the virtual IP on the renamed TUN" has_it
wait_for "the end of what was wrong" right_at_real
expect_eq "requests served by it" "$(fetch 4 | awk '{ n += $1 } END { print n }')" 4
stop director
expect_eq "what the director leaves" "$(at vt-director ip -"$version" neigh show proxy)" ""
