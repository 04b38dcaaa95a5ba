# The packet thread of a director panics: the latest decisions are in a file of its state folder,
# which tshark reads and `replay` agrees with, and the next start serves again. A program that is
# not built for tests cannot be made to panic: then it is skipped.
# mixes: 6in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

make_topology
start_web real1
start_real real1
# `state` is /var/lib/vstun by default, which is this test's own.
DIRECTOR_KEYS='recorder = 8'
# The message is a line of JSON as well, and the file is written after it.
UNDER=(env VSTUN_PANIC_AT_DECISION=20 sh -c 'exec "$@" --log-format json' sh)
start_director rr 1
kept=/var/lib/vstun/recorder.pcapng
expect_fails "a file before the panic" test -e "$kept"

fetches=0
fetch_until() {
    at vt-client curl -s --max-time 2 -o /dev/null "$(url /)" || true
    fetches=$((fetches + 1))
    # A request takes six packets.
    ((fetches < 20)) || skip "not built for tests: it does not panic"
    has_ended director
}
wait_for "the panic" fetch_until
exit_code director
expect_eq "how it ends: SIGABRT" "$CODE" 134
expect_log director '^[{].*decision 20: on purpose.*[}]$'
expect_log director "the latest decisions are in $kept"
expect_eq "the file is its owner's" "$(stat -c %a "$kept")" 600
if command -v tshark >/dev/null; then
    tshark -r "$kept" -T fields -e frame.comment >"$WORK/comments" 2>"$WORK/tshark.err" ||
        fail "tshark: $(<"$WORK/tshark.err")"
    expect_eq "decisions in the file" "$(grep -c "web → ${ADDRESS[real1]}" "$WORK/comments")" 8
fi
"$VSTUN_BIN/vstun" replay "$kept" --config "$WORK/director.toml" >"$WORK/replayed" ||
    fail "replay: $(<"$WORK/replayed")"

UNDER=()
start_director rr 1
expect_eq "served after the next start" "$(share "$(fetch 3)" real1)" 3
expect_eq "what the panic has left is kept" "$(stat -c %a "$kept")" 600
