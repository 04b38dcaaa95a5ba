# Hosts on which a start is refused: the VIP is an address of the director (its TUN would get no
# packet), another host has it, or a TUN cannot be created. Each refusal gives the reason; --force
# overrides another host's claim.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

make_topology
configure "$WORK/director.toml" wlc 1
refused_start() { # WHAT PATTERN [COMMAND...]: started by COMMAND
    spawn vt-director director "${@:3}" "$VSTUN_BIN/vstun-director" --config "$WORK/director.toml"
    exit_code director
    expect_between "$1: exit code" "$CODE" 1 2
    expect_log director "$2"
    say "$1: $(tail -n 1 "$WORK/director.log")"
}

ip -n vt-director address add "$(alone "$VIP")" dev lo
refused_start "the VIP is local" 'ip addr(ess)? del'
ip -n vt-director address del "$(alone "$VIP")" dev lo

refused_start "no right to make a TUN" '"vstun0".*CAP_NET_ADMIN' setpriv --bounding-set -net_admin
# Read-only, so that no program creates the device there; bound into the mount namespace of the
# start.
mount -t tmpfs -o ro tmpfs /dev/net
refused_start "no /dev/net/tun" '"vstun0".*modprobe tun.*--device /dev/net/tun'
umount /dev/net

make_host vt-other
wire vt-other eth0 up-other uplink "$VIP"
set_up
other=$(at vt-other cat /sys/class/net/eth0/address)
refused_start "another host has the VIP" "$other"
spawn vt-director director "$VSTUN_BIN/vstun-director" --config "$WORK/director.toml" --force
wait_ready director
expect_log director "$other"
