# A reload of the real server: virtual IPs, directors and the MSS table change while another virtual
# IP's traffic goes on, and the set-up for removed ones is undone. A file that needs a restart, or
# does not fit the host, changes nothing.
# mixes: 4in4 6in4 4in6
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
source "$here/host_state.sh"

declare -A NEW=([4]=192.0.2.11 [6]=2001:db8:b::11) OTHER=([4]=6 [6]=4)
version=$(family "$VIP")
new=${NEW[$version]} first=$VIP foreign=${VIPS[${OTHER[$version]}]}
make_topology
start_web real1
start_real real1
SERVED=("$first" "$new" "$foreign")
start_director rr 1
SERVED=()
host_state vt-real1 >"$WORK/before"
# Ten requests a second on one connection; none of them may fail.
spawn vt-client load curl -sS --fail-early --max-time 60 --rate 10/s "$(url "/?[1-100000]")"
wait_for "traffic" log_has load real1

real_config() { # KEY-LINES VIP...: writes it and reloads
    local vips
    vips=$(printf '"%s",' "${@:2}")
    printf '[realserver]\nvips = [%s]\ndirectors = ["%s"%s]\ncontrol = "%s/real1.sock"\n%s\n' \
        "${vips%,}" "$(alone "$DIRECTOR")" "${MORE:-}" "$CONTROL" "$1" >"$WORK/real1.toml"
}
served_at() { VIP=$1 fetch 4 | awk '{ n += $1 } END { print n + 0 }'; } # ADDRESS
holds() { [[ $(at vt-real1 ip -o address show dev vstun0) == *" $1/"* ]]; } # ADDRESS

expect_fails "a request to a virtual IP that it does not have" at vt-client curl -sS --max-time 1 \
    -o /dev/null "$(VIP=$new url /)"
is_refused() { (($(refused real1 not_vip) > 0)); }
wait_for "a packet to $new to be refused" is_refused
before=$(refused real1 not_vip)
real_config "" "$first" "$new" "$foreign"
code=0
ask real1 plan "$WORK/real1.toml" --json >"$WORK/plan.json" || code=$?
expect_eq "exit code of the plan" "$code" 3
expect_eq "changes of the plan" "$(jq -r '[.changes[].what] | join(" ")' "$WORK/plan.json")" \
    "add_vip add_vip"
expect_host_state "after a plan" vt-real1 "$WORK/before"
ask real1 reload
for vip in "$new" "$foreign"; do
    holds "$vip" || { at vt-real1 ip address show dev vstun0; fail "the host does not have $vip"; }
    expect_eq "requests served at $vip" "$(served_at "$vip")" 4
done
(($(refused real1 not_vip) >= before)) || fail "the counters began anew"

# They are removed, with everything that was set up for them, settings of the other family included.
real_config "" "$first"
ask real1 reload
holds "$new" && fail "the host still has $new"
expect_host_state "after the removal" vt-real1 "$WORK/before"

# The director's address is not admitted any more, and is again, by a signal.
sed "s|$(alone "$DIRECTOR")|203.0.113.1/32|" "$WORK/real1.toml" >"$WORK/stranger.toml"
code=0
ask real1 plan "$WORK/stranger.toml" | tee "$WORK/plan" || code=$?
grep -q directors "$WORK/plan" || fail "the plan does not name directors"
MORE=', "203.0.113.0/24"' real_config 'rule_priority = 900
table = 901' "$first"
kill -HUP "${PID[real1]}"
wait_for "the reload" log_has real1 'reloaded .*: 3 changes'
rules=$(at vt-real1 ip -"$version" rule)
[[ $rules == *$'\n'900:*"from $first"*"lookup 901"* ]] || fail "no rule of the new priority: $rules"
[[ $rules != *$'\n'1020:* ]] || fail "the old rule is still there: $rules"
expect_eq "routes in the old table" \
    "$(at vt-real1 ip -"$version" route show table 1020 2>/dev/null | wc -l)" 0

# Refused, and nothing changes.
real_config 'tun = "other0"' "$first" "$new"
expect_fails "another TUN" ask real1 reload 2>"$WORK/refused"
grep -q 'realserver.tun: .* → other0 needs a restart' "$WORK/refused" ||
    fail "refused without the reason: $(cat "$WORK/refused")"
at vt-real1 ip address add "$(alone "$new")" dev eth0
real_config "" "$first" "$new"
expect_fails "a virtual IP that an interface has" ask real1 reload 2>"$WORK/refused"
grep -q "$new is an address of interface eth0" "$WORK/refused" ||
    fail "refused without the reason: $(cat "$WORK/refused")"
at vt-real1 ip address delete "$(alone "$new")" dev eth0
holds "$new" && fail "the host has $new"
real_config "" "$first"
ask real1 reload
expect_host_state "in the end" vt-real1 "$WORK/before"

is_running load || fail "the traffic at $first broke: $(tail -n 1 "$WORK/load.log")"
stop load
expect_eq "answers at $first that are none" "$(grep -cv real1 "$WORK/load.log")" 0
stop real1
expect_eq "exit code" "$CODE" 0
