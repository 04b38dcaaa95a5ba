# Shared by every test: namespaces, processes, waiting, counting, asserting. Sourced first by each
# NN-name.sh.
# shellcheck shell=bash
set -euo pipefail
here=$(cd "${BASH_SOURCE[0]%/*}" && pwd)

# Never on the host itself: `run` creates the namespaces.
if [[ ${VSTUN_NETNS:-} != private ]]; then
    VERBOSE=1 exec "$here/run" "$(basename "$0" .sh)${MIX:+@$MIX}"
fi

WORK=/run/test      # logs, configuration, web content; gone with the mount namespace
CONTROL=/run/vstun  # control sockets
WAIT=120            # seconds until a wait fails: generous, since a busy machine is no fault
ulimit -n "$(ulimit -Hn)" # thousands of connections to one web server

# jq 1.6 takes ten times as long to start as gojq, and the tests call it very often. An alias, since
# a function in a pipeline costs a process of its own.
shopt -s expand_aliases
! command -v gojq >/dev/null || alias jq=gojq

umask 022           # a control socket's folder is its owner's alone
mount -t tmpfs tmpfs /run
[[ ! -d /var/lib ]] || mount -t tmpfs tmpfs /var/lib # directors keep their seed there
mkdir -p /run/netns "$WORK" "$CONTROL"
ip link set dev lo up

declare -A PID=()     # by the process's name
declare -A RELEASE=() # our ends of the pipes that processes read, by the process's name
trap 'code=$?; trap - EXIT; finish $code' EXIT
trap 'exit 130' INT TERM

# --- namespaces and processes ---------------------------------------------------------------------

# NAMESPACE COMMAND... The function is for arguments, as of `wait_for`.
at() { ip netns exec "$@"; }
alias at='ip netns exec'

# Starts COMMAND in the background; its output goes to $WORK/NAME.log. `ip netns exec` becomes the
# command, so PID[NAME] is the command's own.
spawn() { # NAMESPACE NAME COMMAND...
    local namespace=$1 name=$2
    shift 2
    # Emptied here, not by the background process: a test must not read the output of an earlier
    # process of that name.
    : >"$WORK/$name.log"
    (
        # Otherwise the reader of a pipe would not see its end while this process lives.
        for end in "${RELEASE[@]}"; do exec {end}>&-; done
        exec ip netns exec "$namespace" "$@" >>"$WORK/$name.log" 2>&1
    ) &
    PID[$name]=$!
}

is_running() { kill -0 "${PID[$1]}" 2>/dev/null; } # NAME

# Signals the process, waits for its end and prints its exit code.
stop() { # NAME [SIGNAL]
    kill "-${2:-TERM}" "${PID[$1]}" 2>/dev/null || true
    exit_code "$1"
}

# Waits for the process to end by itself; sets CODE.
exit_code() { # NAME
    local name=$1
    wait_for "the end of $name" has_ended "$name"
    CODE=0
    wait "${PID[$name]}" || CODE=$?
    unset "PID[$name]"
}

has_ended() { # NAME
    local state
    { read -r state <"/proc/${PID[$1]}/stat"; } 2>/dev/null || return 0
    [[ ${state##*) } == Z* ]]
}

# Where the threads of the process are: name, state, kernel function, system call.
threads() { # NAME
    local task
    echo "--- threads of $1"
    for task in /proc/"${PID[$1]}"/task/*; do
        cut -d ' ' -f 1-3 "$task/stat"
        cat "$task/wchan" "$task/stack" "$task/syscall"
        echo
    done
}

finish() { # EXIT-CODE
    local name log
    for name in "${!PID[@]}"; do
        (($1 == 0 || $1 == 77)) || ! is_running "$name" || threads "$name" 2>/dev/null || true
    done
    for name in "${!PID[@]}"; do
        kill -KILL "${PID[$name]}" 2>/dev/null || true
        wait "${PID[$name]}" 2>/dev/null || true
    done
    if (($1 != 0 && $1 != 77)); then
        for log in "$WORK"/*.log; do
            [[ -s $log ]] || continue
            echo "--- last lines of $(basename "$log")"
            tail -n 12 "$log"
        done
        [[ -z ${KEEP_LOGS:-} ]] || cp "$WORK"/*.log "$WORK"/*.toml "$KEEP_LOGS" 2>/dev/null || true
    fi
    exit "$1"
}

# --- waiting --------------------------------------------------------------------------------------

# Until COMMAND succeeds, up to $WAIT seconds. The pauses grow with the time waited, up to half a
# second: each check costs CPU that other tests need.
wait_for() { # WHAT COMMAND...
    local what=$1 deadline=$((SECONDS + WAIT)) milliseconds=20 length
    shift
    until "$@"; do
        ((SECONDS < deadline)) || fail "waited $WAIT s for $what"
        printf -v length '0.%03d' "$milliseconds"
        pause "$length"
        milliseconds=$((milliseconds < 250 ? milliseconds * 2 : 500))
    done
}

# Without a process: nothing is ever written into this pipe.
pause() { # SECONDS
    [[ -p $WORK/never ]] || mkfifo "$WORK/never"
    read -r -t "$1" <>"$WORK/never" || true
}

# Without a process, unless the log is long: tests look for lines very often.
log_has() { # NAME PATTERN
    local line lines
    mapfile -t -n 400 lines <"$WORK/$1.log" || return 1
    ((${#lines[@]} < 400)) || { grep -qE -- "$2" "$WORK/$1.log"; return; }
    for line in "${lines[@]}"; do
        [[ ! $line =~ $2 ]] || return 0
    done
    return 1
}

# --- saying and asserting -------------------------------------------------------------------------

say() { echo "$*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
skip() { echo "$*"; exit 77; }

expect_eq() { # WHAT IS EXPECTED
    [[ $2 == "$3" ]] || fail "$1: is '$2', expected '$3'"
    say "$1: $2"
}

expect_between() { # WHAT IS LOW HIGH
    (($2 >= $3 && $2 <= $4)) || fail "$1: is $2, expected $3 to $4"
    say "$1: $2"
}

expect_fails() { # WHAT COMMAND...
    local what=$1
    shift
    if "$@"; then fail "$what: succeeded"; fi
}

expect_log() { # NAME PATTERN
    log_has "$1" "$2" || fail "$1 did not say '$2'"
}
