# Hosts on which a start is refused: the VIP is an address of the director (its TUN would never see a packet), or another
# host has it. Each time with the reason; --force goes on against another host's claim.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

make_topology
configure "$WORK/director.toml" wlc 1
refused_start() { # WHAT PATTERN
    spawn vt-director director "$VSTUN_BIN/vstun-director" --config "$WORK/director.toml"
    exit_code director
    expect_between "$1: exit code" "$CODE" 1 2
    expect_log director "$2"
    say "$1: $(tail -n 1 "$WORK/director.log")"
}

ip -n vt-director address add "$VIP/32" dev lo
refused_start "the VIP is local" 'ip addr(ess)? del'
ip -n vt-director address del "$VIP/32" dev lo

ip netns add vt-other
ip -n vt-other link set dev lo up
wire vt-other eth0 "$VIP/24" up-other uplink
other=$(at vt-other cat /sys/class/net/eth0/address)
refused_start "another host has the VIP" "$other"
spawn vt-director director "$VSTUN_BIN/vstun-director" --config "$WORK/director.toml" --force
wait_ready director
expect_log director "$other"
