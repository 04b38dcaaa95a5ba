# A reload plans the host again: the TUN's MTU is that of the widest path to a real server, and
# existing problems of the host are reported and do not block other changes.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

make_topology
start_director wrr 1 1
tun_mtu() { [[ $(at vt-director ip -j link show vstun0 | jq '.[0].mtu') == "$1" ]] || return 1; }
tun_mtu "$TUN_MTU" || fail "the TUN's MTU is not $TUN_MTU"
at vt-director ip route add "${ADDRESS[real1]}" dev eth1 mtu lock 1400
configure "$WORK/director.toml" wrr 1
ask director reload
tun_mtu $((TUN_MTU - 100)) || fail "the TUN's MTU counts a real server that was removed"
configure "$WORK/director.toml" wrr 1 1
ask director reload
tun_mtu "$TUN_MTU" || fail "the TUN's MTU is not that of the added real server's path"
configure "$WORK/director.toml" wrr 1
kill -HUP "${PID[director]}"
wait_for "the TUN's MTU of the path that is left" tun_mtu $((TUN_MTU - 100))

at vt-director ip address add "$(alone "$VIP")" dev lo
configure "$WORK/director.toml" wrr 5 1
ask director reload
wrong() {
    [[ $(number director list "[.host.wrong[] | select(.what == \"vip\")] | length") == "$1" ]]
}
wait_for "the local VIP in the list" wrong 1
# The host may have been looked at between its route and its address.
wait_for "the message" log_has director 'virtual IP .* is a local address'
expect_eq "weights after the reload" \
    "$(number director list '[.services[0].reals[].weight] | @csv')" 5,1
at vt-director ip address delete "$(alone "$VIP")" dev lo
wait_for "the end of it" wrong 0
