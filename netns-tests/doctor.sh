# Functions for the tests of `vstun doctor`: run it, compare its first finding, and run the command
# that it prints. Sourced after daemons.sh.
# shellcheck shell=bash

# Sets CODE and leaves the report in $WORK/report, without the note about a fast path that the test
# did not ask for. The fields that tests ask for most are read once: HEALTHY, and of the first
# finding CAUSE and FIRST_ADDRESS; `null` if there is none.
doctor() { # DAEMON OPTION...
    local notes='' report
    [[ $DIRECTOR_KEYS == *fast_path* ]] || notes='select(.cause == "fast_path")'
    CODE=0
    ask "$1" doctor --json "${@:2}" >"$WORK/whole-report" 2>"$WORK/doctor.err" || CODE=$?
    ((CODE < 2)) || fail "doctor ended with $CODE: $(<"$WORK/doctor.err")"
    jq -r "del(.findings[] | ${notes:-empty})
        | .healthy, .findings[0].cause, .findings[0].address, ." "$WORK/whole-report" \
        >"$WORK/parsed"
    {
        read -r HEALTHY
        read -r CAUSE
        read -r FIRST_ADDRESS
        IFS= read -r -d '' report || true
    } <"$WORK/parsed"
    echo "$report" >"$WORK/report"
}
first() { jq -r ".findings[0].$1" "$WORK/report"; } # FIELD
finds_nothing() { # DAEMON
    doctor "$1"
    [[ $CODE == 0 && $HEALTHY == true ]]
}
healthy() { # DAEMON
    wait_for "a healthy $1; the report: $(cat "$WORK/report" 2>/dev/null)" finds_nothing "$1"
}
EXIT=1 # 0 where the finding is a note
finds() { # DAEMON CAUSE [ADDRESS]
    doctor "$1"
    [[ $CODE == "$EXIT" && $CAUSE == "$2" && $FIRST_ADDRESS == "${3:-$FIRST_ADDRESS}" ]]
}
# The fault is named first; its first command, run on that host, mends it.
named() { # DAEMON CAUSE [ADDRESS]
    wait_for "$2 to be named first" finds "$@"
    say "$1: $2: $(first text)"
}
mend() { # NAMESPACE
    local command
    command=$(first 'mend[0]')
    say "    $command"
    at "$1" env PATH="$VSTUN_BIN:$PATH" sh -c "$command"
}
