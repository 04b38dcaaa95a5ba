# `vstun doctor` and what other programs do with routes, IPsec policies, interfaces and addresses at
# either end, and servers that do not accept. Each is the first finding, and where a command on that
# host can correct it, the printed one does.
# mixes: 4in4
# first: many faults, each of which is found and mended
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
source "$here/doctor.sh"

make_topology
make_other
start_web real1 real2
start_real real1 real2
LISTENS="80/tcp"
DIRECTOR_KEYS='uplinks = ["eth0"]'
start_director rr 1 1
healthy director
healthy real1
on_director() { ip -n vt-director "$@"; }
on_real() { ip -n vt-real1 "$@"; }
mend_with() { # NAMESPACE NUMBER: a command that is not the first, which only shows something
    say "    $(first "mend[$2]")"
    at "$1" sh -c "$(first "mend[$2]")"
}

# --- at the director ------------------------------------------------------------------------------

blames_no_real() { # What this host does with a virtual IP says nothing about real servers.
    expect_eq "findings about real servers" \
        "$(jq '[.findings[] | select(.on)] | length' "$WORK/report")" 0
}
for fault in "vip addr add $VIP/32 dev lo" "vip route prepend blackhole $VIP" \
    "capture rule add to $VIP prohibit pref 10"; do
    # shellcheck disable=SC2086 # words
    on_director ${fault#* }
    named director "${fault%% *}" "$VIP"
    blames_no_real
    mend vt-director
    healthy director
done

if on_director xfrm policy add dir out dst "${ADDRESS[real1]}" action block 2>"$WORK/xfrm.log"; then
    named director real_server_route "${ADDRESS[real1]}"
    mend_with vt-director 1
    healthy director
    for policy in "dir in src $DIRECTOR" "dir in dst $VIP" "dir out src $VIP"; do
        # shellcheck disable=SC2086 # words
        on_real xfrm policy add $policy action block
        named real1 "$([[ $policy == *out* ]] && echo vip || echo capture)"
        mend_with vt-real1 1
        healthy real1
    done
    healthy director
else
    say "this kernel has no IPsec: $(<"$WORK/xfrm.log")"
fi

# Another host has a real server's address; packets go to either.
ip -n vt-other addr add "${ADDRESS[real1]}/24" dev eth1
for asker in vt-other vt-real1; do
    on_director neigh flush dev eth1
    # The director answers to whom it finds first.
    at "$asker" ping -c 1 -W 1 -I "${ADDRESS[real1]}" "$DIRECTOR" >"$WORK/ping.log" || true
    named director next_hop "${ADDRESS[real1]}"
    [[ $(first text) == "several hosts"* ]] || fail "it says: $(first text)"
    mend vt-director
done
ip -n vt-other addr del "${ADDRESS[real1]}/24" dev eth1
on_director neigh flush dev eth1
healthy director

# A router with a smaller MTU.
on_director route add "${ADDRESS[real1]}" via "${UPLINK_ROUTERS[4]}" src "$DIRECTOR"
ip -n vt-router link set lan mtu 1400
named director mtu "${ADDRESS[real1]}"
[[ $(first evidence) == "a router says 1400" ]] || fail "it says: $(first evidence)"
mend vt-director
healthy director
on_director route del "${ADDRESS[real1]}"
ip -n vt-router link set lan mtu 1500

# The table of connection tracking, whose size a namespace cannot set: a file stands for it.
echo 1 >"$WORK/most"
# shellcheck disable=SC2016 # for the inner shell
UNDER=(unshare --mount sh -c
    'mount --bind "$0" /proc/sys/net/netfilter/nf_conntrack_max && exec "$@"' "$WORK/most")
if at vt-director "${UNDER[@]}" true 2>"$WORK/conntrack.log"; then
    for name in director real1; do
        echo 1 >"$WORK/most"
        at "vt-$name" nft "add table inet tracked;
            add chain inet tracked pre { type filter hook prerouting priority 0; };
            add rule inet tracked pre ct state new accept"
        fetch 2 >"$WORK/fetched.log"
        named "$name" ct_full
        at "vt-$name" "${UNDER[@]}" sh -c "$(first 'mend[0]')"
        healthy "$name"
        at "vt-$name" nft delete table inet tracked
    done
else
    say "this kernel tracks no connections: $(<"$WORK/conntrack.log")"
fi
UNDER=()

# --- at the real server ---------------------------------------------------------------------------

# At an interface, before everything else; another interface's chain does nothing.
on_real tuntap add vpn0 mode tun
on_real link set vpn0 up
for family in netdev inet; do
    for device in vpn0 eth0; do
        at vt-real1 nft "add table $family probed;
            add chain $family probed in { type filter hook ingress device $device priority 0; };
            add rule $family probed in meta l4proto { 4, 41 } drop"
        if [[ $device == eth0 ]]; then
            named real1 firewall
            mend vt-real1
        fi
        healthy real1
        healthy director
        at vt-real1 nft delete table "$family" probed
    done
done

# Where the reverse path filter looks.
for drops in "dev vpn0" blackhole; do
    case $drops in
        dev*) on_real route add "$DIRECTOR" dev vpn0 ;;
        *) on_real route add blackhole "$DIRECTOR" ;;
    esac
    named real1 rp_filter
    mend vt-real1
    healthy real1
done
healthy director
on_real link del vpn0

on_real link set eth0 down
named real1 uplink
mend vt-real1
named real1 reply_path "$VIP"
command=$(first 'mend[0]')
at vt-real1 sh -c "${command/ROUTER/${LAN_ROUTERS[4]}}"
healthy real1
healthy director
on_real addr del "$(in_subnet "${ADDRESS[real1]}")" dev eth0
named real1 rp_filter
[[ $(first text) == "this host has no route to director"* ]] || fail "it says: $(first text)"
on_real addr add "$(in_subnet "${ADDRESS[real1]}")" dev eth0
on_real route replace default via "${LAN_ROUTERS[4]}"
healthy real1
healthy director

# The kernel looks up the virtual IP in the other tables before its own.
on_real rule add lookup local pref 32765
on_real rule del pref 0
named real1 host
mend vt-real1
on_real rule del pref 32765
healthy real1

# An address with a prefix that is too short: clients there count as neighbours.
on_real addr add 198.51.0.7/16 dev eth0
spawn vt-client asking sh -c "while :; do curl -so /dev/null --max-time 1 '$(url /)'; done"
named real1 reply_path "$VIP"
[[ $(first text) == *"where it does not answer"* ]] || fail "it says: $(first text)"
mend vt-real1
stop asking KILL
healthy real1
on_real route del "$CLIENT"
on_real addr del 198.51.0.7/16 dev eth0

# Servers.
stop real1-web
spawn vt-real1 elsewhere python3 -m http.server --bind 127.0.0.1 80
listens() { [[ $(at vt-real1 ss -Htln 'sport = 80') == *LISTEN* ]]; }
wait_for "the other listener" listens
named director listener "${ADDRESS[real1]}"
[[ $(first text) == *"on another address only"* ]] || fail "it says: $(first text)"
mend vt-real1 | tee "$WORK/shown"
[[ $(<"$WORK/shown") == *127.0.0.1:80* ]] || fail "its command does not show where it listens"
stop elsewhere
spawn vt-real1 hung python3 -c '
import socket, time
server = socket.socket(socket.AF_INET6)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("::", 80))
server.listen(1)
print("ready", flush=True)
time.sleep(1000)'
wait_for "the hung server" log_has hung ^ready
spawn vt-client asking sh -c "while :; do curl -so /dev/null --max-time 1 '$(url /)'; done"
named director listener "${ADDRESS[real1]}"
[[ $(first text) == *"does not accept its connections"* ]] || fail "it says: $(first text)"
named real1 listener
mend vt-real1 | tee "$WORK/shown"
[[ $(<"$WORK/shown") == *python3* ]] || fail "its command does not show the program"
stop hung KILL
start_web real1
stop asking KILL
healthy real1
healthy director
