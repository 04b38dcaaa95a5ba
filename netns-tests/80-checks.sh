# Health checks through the tunnel, the default: a web server that dies, a virtual IP that is
# missing and a tunnel daemon that is killed are all found by the probe, the real server gets no new
# connection, and comes back. Probes leave no trace in the service's counts, and their replies get
# through strict reverse path filters.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

state() { real_field "$1" state; }                              # NAME

probed() { [[ $(number director checks '[.checks[] | select(.runs > 1)] | length') == 6 ]]; }
by_way() { # NAME VIA: the state of its check by that way
    number director checks \
        ".checks[] | select(.address == \"${ADDRESS[$1]}\" and .via == \"$2\") | .state"
}

# Waits for the state, and for its reason, which is that of the latest failure.
becomes() { # NAME STATE WHY
    wait_for "$1 to be $2" state_is "$1" "$2"
    wait_for "$1 to be $2 because of '$3'" why_has "$1" "$3"
    say "$1 is $2: $(real_field "$1" why)"
}

make_topology
start_web "${REALS[@]}"
start_real "${REALS[@]}"
SERVICE_KEYS='[[service.check]]
type = "http"
interval = "200ms"
fast_interval = "50ms"
timeout = "2s"
expect_body = "real"
[[service.check]]
type = "icmp"
via = "direct"
interval = "500ms"
timeout = "5s"'
start_director rr 1 1 1
wait_for "probes of all three by both ways" probed
for name in "${REALS[@]}"; do becomes "$name" up "all checks pass"; done
expect_eq "connections of probes in the service's counts" "$(connections_given)" 0
expect_eq "packets of probes in the service's counts" "$(packets_given)" 0
expect_between "packets of probes" "$(number director stats .packets.probes)" 6 100000
expect_eq "requests to real2 of 30" "$(fetch 30 | share "$(cat)" real2)" 10

stop real2-web KILL
becomes real2 down "http check failed: connection refused"
expect_eq "requests served of 20 without real2's web server" "$(fetch 20 | wc -l)" 2
expect_eq "check of real2" "$(ask director check "${ADDRESS[real2]}" >"$WORK/check.log"; echo $?)" 1
grep -q "connection refused" "$WORK/check.log" || fail "check said: $(<"$WORK/check.log")"
grep -q "vstun doctor" "$WORK/check.log" || fail "check said: $(<"$WORK/check.log")"
ask director explain tcp "$(in_url "$CLIENT"):4000" "$(in_url "$VIP"):80" >"$WORK/explain.log"
grep -qE "passed over +${ADDRESS[real2]}: http check failed [0-9]+ s ago: connection refused" \
    "$WORK/explain.log" ||
    fail "explain said: $(<"$WORK/explain.log")"
start_web real2
becomes real2 up "all checks pass"
# Every step with its time.
ask director check "${ADDRESS[real2]}" >"$WORK/check.log"
say "$(<"$WORK/check.log")"
(($(grep -cE '^ +[0-9]+\.[0-9]{3}ms  [a-z]' "$WORK/check.log") >= 3)) ||
    fail "check said: $(<"$WORK/check.log")"
ask director check "${ADDRESS[real2]}" --json |
    jq -e '.checks[0].steps | length >= 3 and all(.microseconds >= 0)' >/dev/null ||
    fail "check said: $(<"$WORK/check.log")"

# Without the tunnel daemon the check fails at once. When the daemon runs without the virtual IP, a
# check of the real server's own address does not notice.
stop real3
becomes real3 down "http check failed: protocol unreachable from ${ADDRESS[real3]}"
SERVED=("${OUTSIDE_VIPS[$(family "$VIP")]}")
start_real real3
SERVED=()
becomes real3 down "http check failed: no answer within 2s"
expect_eq "real3 by the two ways" "$(by_way real3 tunnel) $(by_way real3 direct)" "down up"
stop real3
start_real real3
becomes real3 up "all checks pass"

stop real1 KILL
becomes real1 down "http check failed"
start_real real1
becomes real1 up "all checks pass"
expect_log director 'real1|health up → down, http check failed'

# Without checks there are no other packets, so that all can be accounted for.
SERVICE_KEYS=
configure "$WORK/director.toml" rr 1 1 1
ask director reload >/dev/null
expect_eq "checks after a reload without any" "$(number director checks '.checks | length')" 0
expect_accounted
stop director
expect_eq "the director's exit code" "$CODE" 0

# At a start without a check the director warns once and names the line to add; with that line it
# does not.
unchecked() { # DAEMON
    grep -c 'has no health check.*add `check = \[{ type = "tcp" }\]` below that line' \
        "$WORK/$1.log" || true
}
spawn vt-director unchecked "$VSTUN_BIN/vstun-director" --config "$WORK/director.toml"
wait_ready unchecked
expect_eq "warnings of a service without a check" "$(unchecked unchecked)" 1
stop unchecked
sed -i 's/^\[\[service\]\]$/&\ncheck = [{ type = "tcp" }]/' "$WORK/director.toml"
spawn vt-director advised "$VSTUN_BIN/vstun-director" --config "$WORK/director.toml"
wait_ready advised
expect_eq "warnings with the line" "$(grep -c "no health check" "$WORK/advised.log" || true)" 0
stop advised

# With `initial = "down"` a real server gets no connection until its check has passed.
keys='port = 81, initial = "down", interval = "10m", fast_interval = "10m"'
sed -i "s/^check = .*/check = [{ type = \"tcp\", $keys }]/" "$WORK/director.toml"
spawn vt-director waits "$VSTUN_BIN/vstun-director" --config "$WORK/director.toml"
wait_ready waits
expect_eq "a flow before the first pass" \
    "$(ask director explain tcp "$CLIENT" "$(in_url "$VIP"):80" --json | jq -r .why)" no_real_server
stop waits
