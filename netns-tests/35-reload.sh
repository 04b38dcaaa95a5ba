# SIGHUP: new weights and real servers count for new connections, open ones stay where they are. A configuration with a
# fault changes nothing, and the log says what is wrong, whoever asked.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
source "$here/host_state.sh"

make_topology
start_web "${REALS[@]}"
start_real "${REALS[@]}"
start_director wrr 1 1
mkfifo "$WORK/release"
spawn vt-client hold sh -c "exec python3 '$here/traffic/hold.py' $VIP 80 10 <'$WORK/release'"
exec {release}>"$WORK/release"
wait_for "10 open connections" log_has hold '^held'

configure "$WORK/director.toml" wrr 0 1 3
kill -HUP "${PID[director]}"
has_three() { [[ $(number director list '.services[0].reals | length') == 3 ]]; }
wait_for "the third real server" has_three
served=$(fetch 40)
expect_eq "requests to real1, now of weight 0" "$(share "$served" real1)" 0
expect_eq "requests to real2 of weight 1" "$(share "$served" real2)" 10
expect_eq "requests to real3 of weight 3" "$(share "$served" real3)" 30
expect_eq "open connections of real1" "$(real_field real1 active)" 5

ask director list --json | jq '[.services[].reals[] | {address, weight}]' >"$WORK/before"
sed 's/scheduler = "wrr"/scheduler = "wrx"/' "$WORK/director.toml" >"$WORK/bad" && cp "$WORK/bad" "$WORK/director.toml"
kill -HUP "${PID[director]}"
wait_for "the fault in the log" log_has director 'scheduler'
ask director list --json | jq '[.services[].reals[] | {address, weight}]' | cmp - "$WORK/before" || fail "a bad reload changed something"
expect_eq "requests served after a bad reload" "$(fetch 40 | awk '{ n += $1 } END { print n }')" 40

expect_fails "vstun reload of a bad configuration" ask director reload
faults() { grep -c 'reload: .*scheduler' "$WORK/director.log"; }
expect_eq "faults in the log, by SIGHUP and by vstun reload" "$(faults)" 2
configure "$WORK/director.toml" wrr 1 1 1
ask director reload
expect_eq "reloads in the log" "$(grep -c 'reloaded ' "$WORK/director.log")" 2

exec {release}>&-
exit_code hold
log_has hold '^alive 10' || fail "not all open connections lived on"
expect_direct_replies 200
expect_accounted

# The host is planned anew: with a real server behind a narrow path the TUN takes less, and more again without it.
tun_mtu() { [[ $(at vt-director ip -j link show vstun0 | jq '.[0].mtu') == "$1" ]] || return 1; }
tun_mtu "$TUN_MTU" || fail "the TUN's MTU is not $TUN_MTU"
at vt-director ip route add "${ADDRESS[real2]}" dev eth1 mtu lock 1400
configure "$WORK/director.toml" wrr 1
ask director reload
tun_mtu "$TUN_MTU" || fail "the TUN's MTU counts a real server that was removed"
configure "$WORK/director.toml" wrr 1 1
ask director reload
tun_mtu $((TUN_MTU - 100)) || fail "the TUN's MTU is not that of the added real server's path"
configure "$WORK/director.toml" wrr 1
kill -HUP "${PID[director]}"
wait_for "the TUN's MTU of the path that is left" tun_mtu "$TUN_MTU"

# A host that is not fit for it refuses a reload as a whole.
at vt-director ip address add "$(alone "$VIP")" dev lo
configure "$WORK/director.toml" wrr 5 1
expect_fails "vstun reload on a host with the VIP" ask director reload
log_has director 'reload: virtual IP .* is a local address' || fail "the log does not say why the reload was refused"
expect_eq "real servers after the refused reload" "$(number director list '[.services[0].reals[] | select(.state == "up") | .weight] | @csv')" 1
at vt-director ip address delete "$(alone "$VIP")" dev lo

# Tables that take minutes to make hold up neither the control socket nor a stop. (They would be over by then if the
# director made them before it answered.)
DIRECTOR_KEYS+=$'\nmaglev_slots = 1048573'
configure "$WORK/many.toml" wrr 1
for number in {1..250}; do
    {
        printf '[[service]]\nname = "m%d"\nlisten = ["%s:%d/tcp"]\nscheduler = "mh"\n' "$number" "$(in_url "$VIP")" $((20000 + number))
        printf 'real = [{ address = "%s", weight = %d }, { address = "%s" }]\n' "${ADDRESS[real1]}" "$number" "${ADDRESS[real2]}"
    } >>"$WORK/many.toml"
done
spawn vt-director planning "$VSTUN_BIN/vstun" --socket "$CONTROL/director.sock" plan "$WORK/many.toml"
makes_tables() { ps -L -o comm= -p "${PID[director]}" | grep -q tokio; }
wait_for "tables to be made" makes_tables
ask director list >"$WORK/list.log"
makes_tables || fail "the plan was over before anybody else could be answered"
stop director
expect_eq "the director's exit code" "$CODE" 0

# Nor is a stop held up by a start.
host_state vt-director >"$WORK/before-start"
spawn vt-director director "$VSTUN_BIN/vstun-director" --config "$WORK/many.toml"
wait_for "tables to be made at the start" makes_tables
stop director
expect_eq "the exit code of a director that was stopped at its start" "$CODE" 0
expect_host_state "after a start that was stopped" vt-director "$WORK/before-start"
