# Maglev tables that take minutes to build delay neither the control socket nor a stop, while the
# director runs and while it starts.
# usual: 4in6
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
source "$here/host_state.sh"

make_topology
start_director wrr 1
DIRECTOR_KEYS+=$'\nmaglev_slots = 1048573'
configure "$WORK/many.toml" wrr 1
for number in {1..250}; do
    {
        printf '[[service]]\nname = "m%d"\nlisten = ["%s:%d/tcp"]\nscheduler = "mh"\n' "$number" \
            "$(in_url "$VIP")" $((20000 + number))
        printf 'real = [{ address = "%s", weight = %d }, { address = "%s" }]\n' \
            "${ADDRESS[real1]}" "$number" "${ADDRESS[real2]}"
    } >>"$WORK/many.toml"
done
spawn vt-director planning "$VSTUN_BIN/vstun" --socket "$CONTROL/director.sock" plan \
    "$WORK/many.toml"
makes_tables() { ps -L -o comm= -p "${PID[director]}" | grep -q tokio; }
wait_for "tables to be made" makes_tables
ask director list >"$WORK/list.log"
makes_tables || fail "the plan was over before another client could be answered"
stop director
expect_eq "the director's exit code" "$CODE" 0

# A start can be stopped as well.
host_state vt-director >"$WORK/before-start"
spawn vt-director director "$VSTUN_BIN/vstun-director" --config "$WORK/many.toml"
wait_for "tables to be made at the start" makes_tables
stop director
expect_eq "the exit code of a director that was stopped at its start" "$CODE" 0
expect_host_state "after a start that was stopped" vt-director "$WORK/before-start"
