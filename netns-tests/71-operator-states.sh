# Verbs that change a real server's state: one that is drained or disabled keeps its connections and
# gets no new ones until it is enabled. A reload and a restart keep what the operator set and the
# file does not name.
# usual: 4in6
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

make_topology
start_web real1 real2
start_real real1 real2
start_director wrr 1 1
listen_to_events
ask director set-weight "${ADDRESS[real2]}" --weight 3
changed set-weight weight 1 3
hold held 8

ask director drain "${ADDRESS[real2]}" --deadline 10m
changed drain state up "draining, for 10m at most"
expect_eq "state of the drained server" "$(real_field real2 state)" draining
expect_eq "requests to the drained server" "$(share "$(fetch 20)" real2)" 0
# Another deadline is a change like any other: here that of the service, which has none.
ask director drain "${ADDRESS[real2]}"
changed drain state "draining, for 9m5_s at most" draining
expect_eq "deadline of the drained server" "$(real_field real2 deadline_seconds)" null
ask director drain "${ADDRESS[real2]}" --deadline 10m
changed drain state draining "draining, for 10m at most"
ask director enable "${ADDRESS[real2]}"
changed enable state "draining, for 9m5_s at most" up

ask director disable "${ADDRESS[real1]}"
changed disable state up disabled
expect_eq "requests to the disabled server" "$(share "$(fetch 20)" real1)" 0
ask director reload
changed reload weight 3 1
expect_eq "state of the disabled server after a reload" "$(real_field real1 state)" disabled
ask director enable "${ADDRESS[real1]}" --service web --json >"$WORK/enable.json"
changed enable state disabled up
expect_eq "the answer as JSON" \
    "$(jq -r '.changes[0] | "\(.service) \(.what) \(.before) \(.after)"' "$WORK/enable.json")" \
    "web state disabled up"
release held 8

# The last available one is taken out: the operator is warned, and the event, the listing and
# `explain` give the reason.
ask director drain "${ADDRESS[real1]}"
changed drain state up draining
ask director set-weight "${ADDRESS[real2]}" --weight 0 2>"$WORK/warned"
changed set-weight weight 1 0
why="no real server serves: 1 draining, 1 of weight 0"
grep -qF "vstun: warning: service web: $why" "$WORK/warned" ||
    fail "no warning: $(cat "$WORK/warned")"
grep -qF "service web: $why" "$WORK/director.log" || fail "no warning in the log"
outages() {
    grep '"verb":"outage"' "$WORK/events.log" |
        jq -rs "[.[] | \"\(.before) \(.after)\"] | join(\",\")"
}
out() { [[ $(outages) == "$1" ]]; }
wait_for "an event of the outage" out "yes no"
expect_eq "the outage in the list" "$(ask director list --json | jq -r '.services[0].outage')" \
    "${why#*: }"
expect_eq "why a flow is refused" \
    "$(ask director explain tcp "$CLIENT" "$(in_url "$VIP"):80" --json | jq -r .why)" no_real_server
warns() { # TEXT CONFIGURATION
    ask director plan "$2" >"$WORK/planned" || true
    expect_eq "warnings of the plan" "$(grep '^warning: ' "$WORK/planned" || true)" "$1"
}
sed 's/^weight = 1$/weight = 0/' "$WORK/director.toml" >"$WORK/weightless.toml"
warns "" "$WORK/director.toml" # It sets the weight that one has lost.
warns "warning: service web: $why; new connections are refused" "$WORK/weightless.toml"
ask director enable "${ADDRESS[real1]}"
changed enable state draining up
wait_for "an event of its end" out "yes no,no yes"

stop director
exit_code events
expect_eq "events that the listener got" "$(asked_for | wc -l)" "$changes"

# A crash does not put a real server back that an operator has taken out of service.
start_director wrr 1 1
ask director disable "${ADDRESS[real1]}"
ask director drain "${ADDRESS[real2]}" --deadline 10m
stop director KILL
start_director wrr 1 1
for real in real1 real2; do
    log_has director "web: ${ADDRESS[$real]} starts as .* has set before the restart" ||
        fail "no line about $real: $(<"$WORK/director.log")"
done
expect_eq "states after a crash" "$(real_field real1 state) $(real_field real2 state)" \
    "disabled draining"
left=$(real_field real2 deadline_seconds)
((left > 500 && left <= 600)) || fail "the drain ends in $left s"
expect_eq "a new flow after a crash" \
    "$(ask director explain tcp "$CLIENT" "$(in_url "$VIP"):80" --json | jq -r .why)" no_real_server
ask director reload
expect_eq "states after a reload" "$(real_field real1 state) $(real_field real2 state)" \
    "disabled draining"
for real in real1 real2; do ask director enable "${ADDRESS[$real]}"; done
expect_eq "files about states as in the configuration" "$(find /var/lib/vstun -name 'states*')" ""
stop director
start_director wrr 1 1
expect_eq "states after a restart" "$(real_field real1 state) $(real_field real2 state)" "up up"
