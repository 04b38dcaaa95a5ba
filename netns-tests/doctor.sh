# Functions for the tests of `vstun doctor`: run it, compare its first finding, and run the command
# that it prints. Sourced after daemons.sh.
# shellcheck shell=bash

# Sets CODE and leaves the report in $WORK/report, without the note about a fast path that the test
# did not ask for.
doctor() { # DAEMON OPTION...
    local notes=''
    [[ $DIRECTOR_KEYS == *fast_path* ]] || notes='select(.cause == "fast_path")'
    CODE=0
    ask "$1" doctor --json "${@:2}" >"$WORK/whole-report" 2>"$WORK/doctor.err" || CODE=$?
    jq "del(.findings[] | ${notes:-empty})" "$WORK/whole-report" >"$WORK/report"
    ((CODE < 2)) || fail "doctor ended with $CODE: $(<"$WORK/doctor.err")"
}
first() { jq -r ".findings[0].$1" "$WORK/report"; } # FIELD
finds_nothing() { # DAEMON
    doctor "$1"
    [[ $CODE == 0 && $(jq .healthy "$WORK/report") == true ]]
}
healthy() { # DAEMON
    wait_for "a healthy $1; the report: $(cat "$WORK/report" 2>/dev/null)" finds_nothing "$1"
}
EXIT=1 # 0 where the finding is a note
finds() { # DAEMON CAUSE [ADDRESS]
    doctor "$1"
    [[ $CODE == "$EXIT" && $(first cause) == "$2" &&
        $(first address) == "${3:-$(first address)}" ]]
}
# The fault is named first; its first command, run on that host, mends it.
named() { # DAEMON CAUSE [ADDRESS]
    wait_for "$2 to be named first" finds "$@"
    say "$1: $2: $(first text)"
}
mend() { # NAMESPACE
    say "    $(first 'mend[0]')"
    at "$1" env PATH="$VSTUN_BIN:$PATH" sh -c "$(first 'mend[0]')"
}
