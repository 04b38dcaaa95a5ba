# The log: an operator's mistake is not an error; under systemd lines have priorities and no time
# stamps; as JSON each line is an object with origin and change. `events --since` shows the same
# afterwards.
# mixes: 4in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

run_director() { # FLAG...
    # The journal's variable names the stream that standard error is, which here is a file.
    # shellcheck disable=SC2016 # for the inner shell
    spawn vt-director director sh \
        -c 'JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2) exec "$@"' sh \
        "$VSTUN_BIN/vstun-director" --config "$WORK/director.toml" "$@"
    wait_ready director
}
mistakes() {
    local -a mistake
    for mistake in "set-weight ${ADDRESS[real3]} --weight 1" \
        "drain ${ADDRESS[real1]} --service wob" "announce $CLIENT" \
        "flush --service wob" "explain tcp 80 81" "check $CLIENT"; do
        # shellcheck disable=SC2086 # words
        expect_fails "vstun $mistake" ask director $mistake 2>/dev/null
    done
    sed 's/^scheduler = .*/scheduler = "none"/' "$WORK/director.toml" >"$WORK/bad.toml"
    expect_fails "a faulty plan" ask director plan "$WORK/bad.toml" 2>/dev/null
    cp "$WORK/director.toml" "$WORK/good.toml"
    cp "$WORK/bad.toml" "$WORK/director.toml"
    expect_fails "a faulty reload" ask director reload 2>/dev/null
    cp "$WORK/good.toml" "$WORK/director.toml"
}
lines() { grep -cE -- "$1" "$WORK/director.log" || true; } # PATTERN

make_topology
printf '#!/bin/sh\n[ "$VSTUN_AFTER" != disabled ] ||\n%s set-weight %s --weight 7 >/dev/null\n' \
    "exec '$VSTUN_BIN/vstun' --socket '$CONTROL/director.sock'" "${ADDRESS[real2]}" >"$WORK/hook"
chmod +x "$WORK/hook"
DIRECTOR_KEYS="hooks = [\"$WORK/hook\"]"
SERVICE_KEYS='[[service.check]]
type = "exec"
command = ["/bin/true"]'
configure "$WORK/director.toml" wrr 1 1

run_director
mistakes
ask director set-weight "${ADDRESS[real1]}" --weight 3 >/dev/null
stop director
expect_eq "lines without a priority" \
    "$(grep -cvE '^<[0-7]>[^<0-9[]' "$WORK/director.log" || true)" 0
expect_eq "errors after mistakes" "$(lines '^<[0-3]>')" 0
# The word on forwarding, and on a busy machine the one on late checks.
EXPECTED_WARNINGS='forwarding is turned on|health checks run up to'
expect_eq "other warnings" \
    "$(grep '^<4>' "$WORK/director.log" | grep -vcE "$EXPECTED_WARNINGS" || true)" 0
expect_eq "start, readiness and stop" \
    "$(lines '^<6>.*(director [0-9.]+ starts|: ready$|stopping: SIGTERM|has stopped)')" 4
expect_eq "who has changed the weight" \
    "$(lines '^<6>.*weight 1 → 3 \(set-weight by operator, uid 0 gid 0 pid [0-9]+\)')" 1

since=$(date -u +%Y-%m-%dT%H:%M:%SZ)
run_director --log-format json
mistakes
ask director set-weight "${ADDRESS[real1]}" --weight 3 >/dev/null
ask director disable "${ADDRESS[real1]}" >/dev/null
kill -HUP "${PID[director]}"
log_of() { sed 's/^<[0-7]>//' "$WORK/director.log" | jq -c "$1"; } # FILTER
has_logged() { [[ -n $(log_of "select($1)") ]]; }                  # CONDITION
wait_for "the hook's change" has_logged \
    '.who == "hook" and .what == "weight" and .after == "7" and .pid > 0'
wait_for "the reload" has_logged '.who == "signal" and .verb == "reload" and .what == "weight"'
expect_eq "lines without time, level, module or text" \
    "$(log_of 'select((.time and .level and .module and .text) | not)' | wc -l)" 0
expect_eq "modules of changes" "$(log_of 'select(.what) | .module' | sort -u)" '"vstun::events"'
expect_eq "errors and warnings after mistakes" \
    "$(log_of 'select(.level == "error" or .level == "warn") | .text
    | select(test("'"$EXPECTED_WARNINGS"'") | not)')" ""
expect_eq "who has changed the weight" "$(log_of 'select(.what == "weight" and .after == "3")
    | "\(.who) \(.uid) \(.gid) \(.pid > 0) \(.verb) \(.service) \(.address) \(.before)"')" \
    "\"operator 0 0 true set-weight web ${ADDRESS[real1]} 1\""
expect_eq "refused verbs" \
    "$(log_of 'select(.what == null and .who == "operator") | .verb' | sort -u | xargs)" \
    "announce drain flush reload set-weight"

fields='[.time, .who, .uid, .gid, .pid, .verb, .what, .service, .address, .before, .after, .why]'
logged=$(log_of "select(.what) | $fields" | sort)
expect_eq "events since the start" \
    "$(ask director events --since "$since" --until-now | jq -c "$fields" | sort)" "$logged"
expect_eq "events of the last hour" "$(ask director events --since 1h --until-now | wc -l)" \
    "$(wc -l <<<"$logged")"
expect_eq "events of the future" \
    "$(ask director events --since 2999-01-01T00:00:00Z --until-now)" ""
spawn vt-director listener "$VSTUN_BIN/vstun" --socket "$CONTROL/director.sock" events --since 1h
wait_for "past events and then new ones" eval \
    '(($(grep -c "^{" "$WORK/listener.log") >= $(wc -l <<<"$logged")))'
ask director enable "${ADDRESS[real1]}" >/dev/null
wait_for "the new one" log_has listener '"verb":"enable"'
stop director
echo 'nonsense = 1' >>"$WORK/director.toml"
spawn vt-director director "$VSTUN_BIN/vstun-director" --config "$WORK/director.toml" \
    --log-format json
exit_code director
expect_eq "exit code with a fault" "$CODE" 2
expect_eq "the fault" \
    "$(log_of '.level + " " + .module + " " + (.text | contains("nonsense") | tostring)')" \
    '"error vstun true"'
