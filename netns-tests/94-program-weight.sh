# A program that gives weights: `exec` with `dynamic`, as keepalived's MISC_CHECK with misc_dynamic.
# Exit code 0 leaves the configured weight, 2 to 255 give the code less 2, and 1 is a failure.
# Shares of new connections follow.
# usual: 4in6
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

cat >"$WORK/program" <<'PROGRAM'
#!/bin/sh
read -r code <"${0%/*}/code-$VSTUN_REAL" && exit "$code"
PROGRAM
chmod +x "$WORK/program"
exits() { echo "$2" >"$WORK/next" && mv "$WORK/next" "$WORK/code-${ADDRESS[$1]}"; } # NAME CODE
weighs() { [[ $(real_field "$1" "effective_weight // .weight") == "$2" ]]; }         # NAME WEIGHT

make_topology
start_web "${REALS[@]}"
start_real "${REALS[@]}"
for name in "${REALS[@]}"; do exits "$name" 0; done
SERVICE_KEYS="[[service.check]]
type = \"exec\"
command = [\"$WORK/program\"]
dynamic = true
interval = \"200ms\"
fast_interval = \"50ms\"
timeout = \"5s\""
start_director wrr 2 2 2
all_ran() { (($(number director checks '[.checks[].runs] | min') > 1)); }
wait_for "runs of all three" all_ran
expect_eq "requests to real2 of 30" "$(share "$(fetch 30)" real2)" 10

exits real2 10
wait_for "real2 to have weight 8" weighs real2 8
expect_eq "requests to real2 of 60 with weight 8" "$(share "$(fetch 60)" real2)" 40

exits real2 1
wait_for "real2 to be down" state_is real2 down
exits real2 10
wait_for "real2 to be up" state_is real2 up
weighs real2 8 || fail "real2's weight is $(real_field real2 effective_weight)"

exits real2 2
wait_for "real2 to have weight 0" weighs real2 0
expect_eq "requests to real2 of 20 with weight 0" "$(share "$(fetch 20)" real2)" 0
ask director explain tcp "$(in_url "$CLIENT"):4000" "$(in_url "$VIP"):80" >"$WORK/explain.log"
grep -q "${ADDRESS[real2]}: the program of its check gives it weight 0" "$WORK/explain.log" ||
    fail "explain said: $(<"$WORK/explain.log")"
expect_log director 'real2|rotation up → drain'

exits real2 0
wait_for "real2 to have its weight" weighs real2 2
expect_eq "requests to real2 of 30 with its own weight" "$(share "$(fetch 30)" real2)" 10
expect_accounted
