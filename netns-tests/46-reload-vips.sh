# A reload adds and removes virtual IPs, of an existing and of a new service, while another virtual
# IP's traffic goes on. If one cannot be taken over, because another host has it or the host refuses
# a step, the reload changes nothing.
# mixes: 4in4 6in4 4in6
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
source "$here/host_state.sh"

declare -A NEW=([4]=192.0.2.11 [6]=2001:db8:b::11) TAKEN=([4]=192.0.2.12 [6]=2001:db8:b::12)
version=$(family "$VIP")
new=${NEW[$version]} taken=${TAKEN[$version]} first=$VIP
make_topology
start_web real1
SERVED=("$first" "$new" "$taken")
start_real real1
SERVED=("$first")
# A setting that the director cannot write, in its own view of the file system.
setting=/proc/sys/net/ipv$version/conf/eth1/forwarding
UNDER=(sh -c "mount --bind $setting $setting && mount -o remount,bind,ro $setting && exec \"\$@\""
    sh)
start_director rr 1
UNDER=()
spawn vt-director events "$VSTUN_BIN/vstun" --socket "$CONTROL/director.sock" events
wait_for "a listener" log_has events 'Ctrl-C'
host_state vt-director >"$WORK/before"
# Ten requests a second on one connection; none of them may fail.
spawn vt-client load curl -sS --fail-early --max-time 60 --rate 10/s "$(url "/?[1-100000]")"
wait_for "traffic" log_has load real1

listed() { number director list '[.vips[].address] | join(" ")'; }
announces() { # ADDRESS
    [[ $(at vt-director ip -"$version" neigh show proxy) == *"$1 dev eth0"* ]]
}
served_at() { VIP=$1 fetch 4 | awk '{ n += $1 } END { print n + 0 }'; }                  # ADDRESS

# A virtual IP is added to a service, and one of a new service, after a plan that shows them.
SERVED=("$first" "$new")
configure "$WORK/director.toml" rr 1
code=0
ask director plan "$WORK/director.toml" --json >"$WORK/plan.json" || code=$?
expect_eq "exit code of the plan" "$code" 3
expect_eq "virtual IPs that it adds" \
    "$(jq -r '[.changes[] | select(.what == "add_vip") | .address] | join(" ")' \
    "$WORK/plan.json")" "$new"
expect_host_state "after a plan" vt-director "$WORK/before"
ask director reload
expect_eq "virtual IPs" "$(listed)" "$first $new"
announces "$new" || fail "$new is not announced"
expect_log director "announcing $new on eth0"
expect_eq "requests served at the new one" "$(served_at "$new")" 4
wait_for "an event of it" log_has events "\"add_vip\",.*$new"

# The virtual IP is removed, with everything that was set up for it.
SERVED=("$first")
configure "$WORK/director.toml" rr 1
ask director reload
expect_eq "virtual IPs" "$(listed)" "$first"
wait_for "an event of it" log_has events "\"remove_vip\",.*$new"
expect_host_state "after the removal" vt-director "$WORK/before"
expect_fails "a request to the removed one" at vt-client curl -sS --max-time 2 -o /dev/null \
    "$(VIP=$new url /)"

# A new service on a new virtual IP, the other service unchanged.
{
    cat "$WORK/director.toml"
    printf '[[service]]\nname = "more"\nlisten = ["%s:80/tcp"]\nreal = [{ address = "%s" }]\n' \
        "$(in_url "$new")" "${ADDRESS[real1]}"
} >"$WORK/more.toml"
cp "$WORK/director.toml" "$WORK/one.toml"
cp "$WORK/more.toml" "$WORK/director.toml"
ask director reload
expect_eq "requests served by the new service" "$(served_at "$new")" 4
cp "$WORK/one.toml" "$WORK/director.toml"
ask director reload
expect_host_state "after the new service has gone" vt-director "$WORK/before"

# Another host has it.
make_host vt-other
wire vt-other eth0 up-other uplink "$taken"
set_up
other=$(at vt-other cat /sys/class/net/eth0/address)
SERVED=("$first" "$taken")
configure "$WORK/director.toml" rr 1
expect_fails "a virtual IP of another host" ask director reload 2>"$WORK/refused"
grep -q "$other" "$WORK/refused" || fail "refused without a word of $other: $(cat "$WORK/refused")"
expect_eq "virtual IPs" "$(listed)" "$first"
expect_host_state "after the conflict" vt-director "$WORK/before"

# The host refuses a step: the required uplink has a setting that cannot be written.
SERVED=("$first" "$new")
DIRECTOR_KEYS='uplinks = ["eth0", "eth1"]'
configure "$WORK/director.toml" rr 1
expect_fails "an uplink that cannot be set up" ask director reload 2>"$WORK/refused"
grep -q 'eth1.*Read-only' "$WORK/refused" ||
    fail "refused without the reason: $(cat "$WORK/refused")"
expect_eq "virtual IPs" "$(listed)" "$first"
expect_host_state "after the failed step" vt-director "$WORK/before"
DIRECTOR_KEYS= SERVED=("$first")
configure "$WORK/director.toml" rr 1
expect_eq "a reload of what runs" "$(ask director reload | sed 's/.*: //')" "0 changes"

# A change that needs a restart is refused with both values, by the plan too.
DIRECTOR_KEYS='recorder = 77'
configure "$WORK/director.toml" rr 1
for command in "plan $WORK/director.toml" reload; do
    # shellcheck disable=SC2086 # a list
    expect_fails "a key that needs a restart" ask director $command 2>"$WORK/refused"
    grep -qF 'director.recorder: 0 → 77 needs a restart' "$WORK/refused" ||
        fail "refused without the values: $(cat "$WORK/refused")"
done
# The table's size changes under traffic.
for most in 7 2000000; do
    DIRECTOR_KEYS="max_connections = $most"
    configure "$WORK/director.toml" rr 1
    ask director reload --json >"$WORK/reloaded"
    expect_eq "the change of a reload to $most connections" \
        "$(jq -r '.changes[] | "\(.what) \(.after)"' "$WORK/reloaded")" "max_connections $most"
    expect_eq "its capacity" "$(number director list .connections.capacity)" "$most"
done
DIRECTOR_KEYS=
configure "$WORK/director.toml" rr 1
expect_eq "a reload" "$(ask director reload | sed 's/.*: //')" "1 change"

is_running load || fail "the traffic at $first broke: $(tail -n 1 "$WORK/load.log")"
stop load
expect_eq "answers at $first that are none" "$(grep -cv real1 "$WORK/load.log")" 0
expect_direct_replies 100

# `announce`: false withdraws the announced VIPs, true announces them again.
is_announced() { announces "$first"; }
DIRECTOR_KEYS='announce = false'
configure "$WORK/director.toml" rr 1
expect_eq "a reload" "$(ask director reload | sed 's/.*: //')" "1 change"
is_announced && fail "$first is still announced"
expect_eq "announced in the list" "$(number director list '.vips[0].announced')" false
DIRECTOR_KEYS=
configure "$WORK/director.toml" rr 1
ask director reload
wait_for "the announcement" is_announced
expect_host_state "announced again" vt-director "$WORK/before"
