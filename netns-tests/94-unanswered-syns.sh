# Unanswered SYNs bring a real server's check forward, long before it is due: the daemon runs and a
# firewall there drops them. If the check passes nevertheless, the real server stays up, and an
# event reports the unanswered SYNs.
# usual: 6in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

# Opens flows for SECONDS. After the first second, SYNs to port 80 are dropped by a firewall of the
# real server, only those of WHO if it is given. Sets LAST, LOST and ALL as new_flows.py prints
# them, and RUNS to the real server's probes before the firewall.
flows_and_firewall() { # SECONDS NAME [WHO]
    local who=
    [[ $# == 2 ]] || who="${NFT_IP[$INNER]} saddr $3"
    cat >"$WORK/firewall" <<-SH
	set -e
	'$VSTUN_BIN/vstun' --socket '$CONTROL/director.sock' checks --json >'$WORK/before'
	exec ip netns exec 'vt-$2' nft 'table inet drops { chain in {
	    type filter hook input priority 0; $who tcp dport 80 tcp flags syn drop; }; }'
	SH
    read -r LAST LOST ALL < <(at vt-client python3 "$here/traffic/new_flows.py" "$VIP" 80 100 "$1" \
        sh "$WORK/firewall") || fail "new_flows.py ended without its numbers"
    RUNS=$(jq "[.checks[] | select(.address == \"${ADDRESS[$2]}\")][0].runs" "$WORK/before")
    ((RUNS > 0)) || fail "the check of $2 is not listed"
}

# A busy machine may delay a real server so long that its SYNs form a row. Its check has then had
# the interval's extra probe, and the director has to start anew.
drop_at_real2() {
    local probes tries=0
    while true; do
        start_director rr 1 1 1
        wait_for "probes of all three" all_probed 3
        flows_and_firewall 6 real2
        probes="$RUNS $(runs real1) $(runs real3)"
        [[ $probes != "1 1 1" ]] || break
        say "probes of real2 before its firewall, of real1 and of real3: $probes"
        ((++tries < 5)) || fail "each of $tries directors has probed more than real2 early"
        at vt-real2 nft delete table inet drops
        stop director
    done
}

make_topology
start_web "${REALS[@]}"
start_real "${REALS[@]}"
SERVICE_KEYS='[[service.check]]
type = "tcp"
interval = "10m"
fast_interval = "100ms"
timeout = "1s"'
# 100 ms of silence, three timeouts, and time for other tests.
drop_at_real2
say "the last of $LOST lost flows of $ALL began after $LAST ms"
((LAST <= 4500)) || fail "flows went to real2 for $LAST ms"
state_is real2 down || fail "real2 is $(real_field real2 state)"
expect_eq "real2 is down" "$(real_field real2 why)" "tcp check failed: no answer within 1s"

# The probes are not dropped: one more in the interval, beside which others start if it is slow, and
# the real server stays.
flows_and_firewall 6 real1 "$CLIENT"
state_is real1 up || fail "real1 is $(real_field real1 state)"
expect_between "probes of real1" "$(runs real1)" 2 4
expect_log director \
    "web ${ADDRESS[real1]}: unanswered, [0-9]+ SYNs in ([3-9]|[1-9][0-9]) s and no handshake ended"
stop director
expect_eq "the director's exit code" "$CODE" 0
