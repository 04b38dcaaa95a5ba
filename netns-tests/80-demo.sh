# `vstun demo` ends successfully and prints each server's share. Ctrl-C in its middle ends it, and
# it leaves nothing behind.
# mixes: dual
source "$(dirname "$0")/lib.sh"

demo() { # as at a terminal: in a process group of its own
    : >"$WORK/demo.log"
    setsid "$VSTUN_BIN/vstun" demo >"$WORK/demo.log" 2>&1 &
    PID[demo]=$!
}

demo
exit_code demo
expect_eq "the demo's exit code" "$CODE" 0
expect_log demo \
    'real3, tunnelled to over IPv6, served 250 requests over IPv4 and 250 requests over IPv6'
expect_log demo 'IPv6: [0-9]+ reply packets reached the client, 0 of them through the director'

demo
wait_for "requests to be sent" log_has demo 'sending'
kill -INT -- "-${PID[demo]}"
exit_code demo
expect_eq "the exit code after Ctrl-C" "$CODE" 130
expect_log demo '^interrupted'
expect_eq "processes left" "$(pgrep -c 'vstun|nginx' || true)" 0
