# Fifty reloads while checks fail, and some of a real server that fails and recovers meanwhile: no
# change of health without a check's result. Other weights, other checks of the same server, another
# name for its service and other services change none, and each real change is one event. Then the
# director stands still for a moment: probes that start late cause a warning.
# mixes: 6in4 4in6
# usual: 6in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

healthy() { echo well >"$WORK/$1/health"; } # NAME
sick() { rm "$WORK/$1/health"; }            # NAME
# The changes of a real server's health in the service web, which is www at times, one a line.
changes() { # NAME
    grep -oE "w(eb|ww) ${ADDRESS[$1]}: health (up → down|down → up)" "$WORK/director.log" || true
}
has_changes() { (($(changes "$1" | wc -l) == $2)); } # NAME NUMBER

CHECK='type = "http"
timeout = "5s"
rise = 2
fall = 2'
write() { # ROUND: the configuration of this round
    local n=$1
    SERVICE_KEYS="[[service.check]]
path = \"/health?$((n % 3))\"
interval = \"$((80 + n % 4 * 10))ms\"
fast_interval = \"20ms\"
$CHECK"
    configure "$WORK/director.toml" wlc $((n % 5 + 1)) $((n % 3 + 1)) 2
    ((n % 4 < 2)) || sed -i 's/^name = "web"/name = "www"/' "$WORK/director.toml"
    if ((n % 2)); then
        cat >>"$WORK/director.toml" <<-TOML
			[[service]]
			name = "other"
			listen = ["$(in_url "$VIP"):8080/tcp"]
			[[service.check]]
			path = "/health?$((n % 3))"
			port = 80
			interval = "100ms"
			$CHECK
			[[service.real]]
			address = "${ADDRESS[real2]}"
			[[service.real]]
			address = "${ADDRESS[real3]}"
		TOML
    fi
}

make_topology
start_web "${REALS[@]}"
start_real "${REALS[@]}"
for name in real1 real3; do healthy "$name"; done
write 0
start_director wlc 1 1 2
wait_for "real2 to be down" has_changes real2 1

told=0
for n in $(seq 50); do
    write "$n"
    ask director reload >>"$WORK/reloads"
    if ((n % 10 == 0)); then
        wait_for "change $told of real3" has_changes real3 "$told"
        if ((told % 2)); then healthy real3; else sick real3; fi
        told=$((told + 1))
    fi
done
wait_for "the last change of real3" has_changes real3 "$told"
expect_eq "reloads" "$(grep -c reloaded "$WORK/reloads")" 50
expect_eq "changes of real1, which is well" "$(changes real1)" ""
expect_eq "changes of real2, which is not" "$(changes real2)" \
    "web ${ADDRESS[real2]}: health up → down"
expect_eq "changes of real3" "$(changes real3 | sed 's/.*health //' | tr '\n' ' ')" \
    "up → down down → up up → down down → up up → down "
expect_eq "requests to real2 of 20" "$(share "$(fetch 20)" real2)" 0

# A probe that is under way when the director stops is not late: another try.
stands_still() {
    pause_program director
    pause 1.5
    kill -CONT "${PID[director]}"
    (($(number director checks .check_lag_milliseconds) >= 1000))
}
wait_for "a late probe" stands_still
wait_for "a warning of late probes" log_has director \
    'WARN .*health checks run up to [0-9]+ ms late \([0-9]+ probes?\): raise their intervals'
expect_between "milliseconds that a probe was late" \
    "$(number director checks .check_lag_milliseconds)" 1000 60000
