# Another director for the same VIP, alive or killed, does not own the address, so it answers only
# as a proxy. The second start is still refused, and the error names the first one's MAC; --force
# overrides that.
#
# The VIP is outside of the uplink's subnet and the default route leads to the servers' network, so
# that a killed director still answers (31-kill).
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

VIP=${OUTSIDE_VIPS[$INNER]}
DIRECTOR_KEYS='uplinks = ["eth0"]'
make_topology
ip -n vt-router route add "$VIP" dev uplink
make_host vt-other
wire vt-other eth0 up-other uplink "${UPLINK_OTHERS[@]}"
wire vt-other eth1 lan-other lan "${LAN_OTHERS[@]}"
set_up
for name in director other; do
    ip -n "vt-$name" route replace default via "${LAN_ROUTERS[$INNER]}"
done
first=$(at vt-director cat /sys/class/net/eth0/address)

start_director wlc 1
sed "s|$CONTROL/director.sock|$CONTROL/other.sock|" "$WORK/director.toml" >"$WORK/other.toml"
second_start() {
    spawn vt-other other "$VSTUN_BIN/vstun-director" --config "$WORK/other.toml" "$@"
}
expect_refused() { # WHAT
    second_start
    exit_code other
    expect_eq "$1: exit code of the second" "$CODE" 1
    expect_log other "$VIP.*$first.*--force"
    say "$1: $(tail -n 1 "$WORK/other.log")"
}

expect_refused "the first lives"
is_running director || fail "the first director has ended"
stop director KILL
expect_refused "the first was killed"
second_start --force
wait_ready other
expect_log other "$first"
