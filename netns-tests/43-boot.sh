# As under systemd: with the units' capabilities `control_group` works, and a start before the
# uplink has its address waits and logs that, until the address is there or a signal comes.
#
# mixes: 4in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

can_be_others() {
    touch "$WORK/own" && chgrp 4242 "$WORK/own" &&
        setpriv --reuid 1000 --regid 1000 --clear-groups true
}
can_be_others 2>/dev/null || skip "skipped: needs root"

make_topology
addresses=$(ip -n vt-director -o -4 addr show dev eth0 | awk '{ print $4 }')
ip -n vt-director -4 addr flush dev eth0
DIRECTOR_KEYS='control_group = "4242"'
# `fast_path` is off in the units' configuration, and needs `CAP_BPF`.
fast_by_default && bpf=,+bpf || bpf=
UNDER=(setpriv "--bounding-set=-all,+net_admin,+net_raw$bpf" --inh-caps=-all --no-new-privs)
configure "$WORK/director.toml" wrr 1
start() {
    spawn vt-director director "${UNDER[@]}" "$VSTUN_BIN/vstun-director" \
        --config "$WORK/director.toml" "$@"
}
start --wait 0
exit_code director
expect_eq "exit code without an uplink" "$CODE" 1
start --wait 60
wait_for "the director to say that it waits" log_has director \
    "waiting for the host's network, for ([45][0-9]|60) s at most"
stop director
expect_eq "exit code of one that waited" "$CODE" 0
start
wait_for "the director to say that it waits" log_has director \
    "waiting for the host's network, for ([12][0-9]|30) s at most"
for address in $addresses; do ip -n vt-director addr add "$address" dev eth0; done
ip -n vt-director route add default via "${UPLINK_ROUTERS[4]}"
wait_ready director

cp "$VSTUN_BIN/vstun" "$WORK/vstun" # where every user can run it
as() { # "FLAG..." VERB...
    # shellcheck disable=SC2086 # flags
    at vt-director setpriv --reuid 1000 --regid 1000 $1 "$WORK/vstun" \
        --socket "$CONTROL/director.sock" "${@:2}"
}
as "--groups 4242" set-weight "${ADDRESS[real1]}" --weight 9
expect_eq "weight after a member's change" "$(real_field real1 weight)" 9
expect_fails "a stranger's question" as --clear-groups list 2>"$WORK/stranger.log"
grep -q 'uid 1000 gid 1000 .*may not ask' "$WORK/stranger.log" ||
    fail "the stranger was told: $(<"$WORK/stranger.log")"
