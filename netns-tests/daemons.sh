# The programs under test on the topology, the servers behind them, and their figures. Sourced after
# lib.sh and topology.sh.
# shellcheck shell=bash

# --- director and real servers --------------------------------------------------------------------

DIRECTOR_KEYS=  # further lines of [director]
SERVICE_KEYS=   # further lines of [[service]]
LISTENS="80/tcp 9000/tcp 9000/udp"
SERVED=()       # the VIPs, if not just $VIP
UNDER=()        # a command and its arguments that become the daemon

# Writes the director's configuration: a service `web` with the real servers of the given weights,
# in order.
configure() { # FILE SCHEDULER WEIGHT...
    local file=$1 scheduler=$2 weight index=0 listens='' vip port
    shift 2
    for vip in "${SERVED[@]:-$VIP}"; do
        [[ $vip != *:* ]] || vip="[$vip]"
        for port in $LISTENS; do listens+="\"$vip:$port\","; done
    done
    {
        printf '[director]\ncontrol = "%s/director.sock"\n%s\n' "$CONTROL" "$DIRECTOR_KEYS"
        [[ -z ${FAST_PATH:-} || $DIRECTOR_KEYS == *fast_path* ]] ||
            printf 'fast_path = "%s"\n' "$FAST_PATH"
        printf '[[service]]\nname = "web"\nlisten = [%s]\nscheduler = "%s"\n%s\n' "${listens%,}" \
            "$scheduler" "$SERVICE_KEYS"
        for weight in "$@"; do
            printf '[[service.real]]\naddress = "%s"\nweight = %d\n' \
                "${ADDRESS[${REALS[$index]}]}" "$weight"
            index=$((index + 1))
        done
    } >"$file"
}

start_director() { # SCHEDULER WEIGHT...
    configure "$WORK/director.toml" "$@"
    at vt-director nft reset counter inet sent sent >/dev/null
    spawn vt-director director "${UNDER[@]}" "$VSTUN_BIN/vstun-director" \
        --config "$WORK/director.toml"
    wait_ready director
}

REAL_KEYS=      # further lines of [realserver]
TRUSTED=()      # the directors, if not just $DIRECTOR
start_real() { # NAME...
    local name vips director directors='' length
    printf -v vips '"%s",' "${SERVED[@]:-$VIP}"
    for director in "${TRUSTED[@]:-$DIRECTOR}"; do
        length=32
        [[ $director != *:* ]] || length=128
        directors+="\"$director/$length\","
    done
    for name in "$@"; do
        printf '[realserver]\nvips = [%s]\ndirectors = [%s]\ncontrol = "%s/%s.sock"\n%s\n' \
            "${vips%,}" "${directors%,}" "$CONTROL" "$name" "$REAL_KEYS" >"$WORK/$name.toml"
        spawn "vt-$name" "$name" "${UNDER[@]}" "$VSTUN_BIN/vstun-realserver" \
            --config "$WORK/$name.toml"
    done
    for name in "$@"; do wait_ready "$name"; done
}

# Another director beside the first, on a host created by `make_other`, with the same configuration.
start_other() {
    sed "s|$CONTROL/director.sock|$CONTROL/other.sock|" "$WORK/director.toml" >"$WORK/other.toml"
    spawn vt-other other "$VSTUN_BIN/vstun-director" --config "$WORK/other.toml"
    wait_ready other
}

# A daemon logs once that it is ready; one that ends instead fails at once.
wait_ready() { # NAME
    wait_for "$1 to be ready" ready_or_ended "$1"
    log_has "$1" '\bready\b' || fail "$1 ended before it was ready"
}

ready_or_ended() { has_ended "$1" || log_has "$1" '\bready\b'; } # NAME

# Stops a program until `kill -CONT`. The kernel stops the threads once one of them has taken the
# signal, which lasts a moment on a busy machine.
pause_program() { # NAME
    kill -STOP "${PID[$1]}"
    wait_for "$1 to stop" is_stopped "$1"
}
is_stopped() { ! grep -hq '^State:.[^T]' "/proc/${PID[$1]}/task/"*/status; } # NAME

# Counts the packets that enter the TUN's queue. A paused director has to go on after that: what a
# client has sent may still be on the wire, above all on a busy machine.
count_tun_packets() {
    at vt-director nft -f - <<-NFT
	table inet tun {
	    counter queued {}
	    chain postrouting {
	        type filter hook postrouting priority 300
	        oifname "vstun*" counter name queued
	    }
	}
	NFT
}
tun_packets() { counter vt-director queued tun; }
are_queued() { (($(tun_packets) >= $1)); } # TUN-PACKETS

# The same of the tunnelled packets that reach real1's sockets.
count_tunnelled_packets() {
    at vt-real1 nft -f - <<-NFT
	table inet tunnelled {
	    counter arrived {}
	    chain input {
	        type filter hook input priority 0
	        $(tunnel_match "$INNER" "$OUTER") counter name arrived
	    }
	}
	NFT
}
tunnelled_packets() { counter vt-real1 arrived tunnelled; }
have_arrived() { (($(tunnelled_packets) >= $1)); } # TUNNELLED-PACKETS

# Times that any of its threads was put on a CPU, from the scheduler's own count.
wakeups() { awk '{ n += $3 } END { print n }' /proc/"${PID[$1]}"/task/*/schedstat; } # NAME

# A second without wake-ups, if there is one: the IPv6 set-up of fresh interfaces has to end first.
quiet_second() { # NAME
    local before
    before=$(wakeups "$1")
    pause 1
    (($(wakeups "$1") == before))
}

# --- what they say --------------------------------------------------------------------------------

# A control socket is reached from every namespace, but some commands look at the host as well.
ask() { # DAEMON COMMAND...
    local daemon=$1 where=()
    shift
    case $1 in check | cleanup | doctor) where=(at "vt-$daemon" "${UNDER[@]}") ;; esac
    "${where[@]}" "$VSTUN_BIN/vstun" --socket "$CONTROL/$daemon.sock" "$@"
}

# Starts a listener to the director's events; they are lines in $WORK/events.log.
listen_to_events() {
    spawn vt-director events sh \
        -c "exec '$VSTUN_BIN/vstun' --socket '$CONTROL/director.sock' events 2>'$WORK/listening'"
    wait_for "a listener to events" grep -qs listening "$WORK/listening"
    changes=0
}

# What follows from such a change, and what the host has changed, has other origins.
asked_for() { grep '"who":"operator"' "$WORK/events.log" || true; }

# One change was made, and caused one event. Elapsed seconds do not count.
changed() { # VERB WHAT BEFORE AFTER
    changes=$((changes + 1))
    has_event() { (($(asked_for | wc -l) >= changes)); }
    wait_for "event $changes" has_event
    expect_eq "event $changes" "$(asked_for | tail -n +"$changes" | jq -rs '.[0]
        | "\(.who) \(.uid) \(.verb) \(.what) \(.before // "-") \(.after // "-")"
        | gsub("9m5[0-9]s"; "9m5_s")')" \
        "operator 0 $1 $2 $3 $4"
}

# Opens N connections from the client and holds them until `release NAME`; the shares are lines of
# NAME's log.
hold() { # NAME N
    mkfifo "$WORK/$1.release"
    spawn vt-client "$1" sh -c "exec python3 '$here/traffic/hold.py' $VIP 80 $2 <'$WORK/$1.release'"
    exec {RELEASE[$1]}>"$WORK/$1.release"
    wait_for "$2 open connections" log_has "$1" '^held'
}

# Ends them; all must be alive.
release() { # NAME N
    exec {RELEASE[$1]}>&-
    rm "$WORK/$1.release"
    exit_code "$1"
    log_has "$1" "^alive $2" ||
        fail "not all open connections lived on: $(tail -n 1 "$WORK/$1.log")"
}

held_at() { share "$(<"$WORK/$1.log")" "$2"; } # NAME REAL

# Opens N connections from the client, with requests on each in turn until `end_busy`.
start_busy() { # N
    mkfifo "$WORK/busy.release"
    spawn vt-client busy \
        sh -c "exec python3 '$here/traffic/busy.py' $VIP 80 $1 <'$WORK/busy.release'"
    exec {RELEASE[busy]}>"$WORK/busy.release"
    wait_for "$1 open connections" log_has busy '^held'
}

turns() { grep -c '^turn' "$WORK/busy.log" || true; }
turn_after() { (($(turns) > $1)); } # TURNS

# Waits for the end of the turn that is under way, and for a whole one.
whole_turn() { # WHEN
    wait_for "a turn of all connections $1" turn_after "$(($(turns) + 1))"
}

# Ends them; none may have been broken.
end_busy() {
    exec {RELEASE[busy]}>&-
    exit_code busy
    expect_eq "broken connections" "$(sed -n 's/^broken //p' "$WORK/busy.log")" 0
}

# A number from a daemon's JSON. `vstun` directly: a function in a pipeline costs more processes.
number() { # DAEMON COMMAND JQ-FILTER
    "$VSTUN_BIN/vstun" --socket "$CONTROL/$1.sock" "$2" --json | jq -r "$3"
}

real_field() { # NAME FIELD: of the service `web`
    number director list ".services[0].reals[] | select(.address == \"${ADDRESS[$1]}\") | .$2"
}

state_is() { [[ $(real_field "$1" state) == "$2" ]]; }          # NAME STATE
why_has() { real_field "$1" why | grep -F -- "$2" >/dev/null; } # NAME TEXT

# Whether N checks have had a probe and are up.
all_probed() { # N
    [[ $(number director checks \
        '[.checks[] | select(.runs > 0 and .state == "up")] | length') == "$1" ]]
}

# How many probes the first check of a real server has had.
runs() { # NAME
    number director checks "[.checks[] | select(.address == \"${ADDRESS[$1]}\")][0].runs"
}

dropped() { number director list ".drops.$1"; }     # REASON
refused() { number "$1" drops ".drops.$2"; }        # REAL REASON
connections_given() { number director list '[.services[0].reals[].connections] | add'; }
protocol_unreachable() { # REAL...: from these together
    local name sum=0
    for name in "$@"; do
        sum=$((sum + $(number director stats \
            "[.tunnel_errors[] | select(.address == \"${ADDRESS[$name]}\")
                | .protocol_unreachable] | add // 0")))
    done
    echo "$sum"
}
packets_given() { number director list '[.services[0].reals[].packets] | add'; }
packets_carried() { # by the fast path
    number director list '[.services[0].reals[].carried_packets // 0] | add'
}

# Every packet that the director read was tunnelled, answered, dropped for a reason or is a fragment
# that is held, and every packet that it made of those was sent or refused. One that ends a
# connection counts as answered, and the reset to its real server counts as sent there. `reads`,
# `segments_sent` and the kernel's own counter are counted separately. The most packets that the
# kernel has counted and then not sent, because they are too big for their path.
REFUSED_LATE=0
expect_accounted() {
    wait_for "packets that are accounted for" accounted_for
    say "accounted for: $(head -n 1 "$WORK/accounts.log")"
}

JOINED=0 # 1: packets in GUE, of which many are one to the packet filter

# Writes the numbers to $WORK/accounts.log, and whether they agree: with a lost packet, never. The
# kernel's counter is read before and after the others: checks may go on meanwhile.
accounted_for() {
    local left_before left_after stats list
    left_before=$(counter vt-director sent sent)
    list=$("$VSTUN_BIN/vstun" --socket "$CONTROL/director.sock" list --json)
    stats=$("$VSTUN_BIN/vstun" --socket "$CONTROL/director.sock" stats --json)
    left_after=$(counter vt-director sent sent)
    jq -ce --argjson left "$left_before" --argjson left_now "$left_after" \
        --argjson late "$REFUSED_LATE" --argjson joined "$JOINED" '
        [.services[0].reals[]] as $reals | input
        | .packets + {reads, answers: ([.answered[]] | add), tunnel_errors_received, segments_sent,
            past: ([$reals[].carried_packets // 0] | add), given: ([$reals[].packets] | add),
            out: (.segments_sent - .segments_fragmented + .outer_fragments),
            failed: [.send_errors[]] | add, $left, $left_now, $late}
        | ., (.read > 0
            and .read == .tunnelled + .replied + .dropped + .held
            and .answers == .replied
            and .read + .probes == .reads + .tunnel_errors_received + .carried
            and .given + .replied + .probes == .segments_sent + .failed + .past
            and (.out <= .left_now or $joined == 1) and .left <= .out + .late)' \
        <<<"$list$stats" >"$WORK/accounts.log"
}

# Replies went straight from the real servers to the client.
expect_direct_replies() { # AT-LEAST
    local direct
    direct=$(counter vt-router replies)
    ((direct >= $1)) || fail "the router forwarded $direct replies, expected at least $1"
    expect_eq "replies through the director" "$(counter vt-director replies)" 0
}

# --- servers --------------------------------------------------------------------------------------

# A web server on each real server: its name at /, files at /files/, PUT to /upload/.
start_web() { # NAME...
    local name root
    for name in "$@"; do
        root=$WORK/$name
        mkdir -p "$root/upload" "$root/temp" "$WORK/files"
        ln -sfn "$WORK/files" "$root/files"
        echo "$name" >"$root/index.html"
        if command -v nginx >/dev/null; then
            nginx_configuration "$name" >"$root/nginx.conf"
            spawn "vt-$name" "$name-web" nginx -e stderr -p "$root" -c nginx.conf
        else
            spawn "vt-$name" "$name-web" python3 "$here/traffic/web.py" "$root"
        fi
    done
    for name in "$@"; do wait_for "$name's web server" listens_on_80 "$name-web"; done
}

# Whether a socket listens on [::]:80 in its namespace: the server opens that one last.
listens_on_80() { # NAME
    local sockets='' any=00000000000000000000000000000000
    ! has_ended "$1" || fail "$1 ended before it listened"
    read -r -d '' sockets <"/proc/${PID[$1]}/net/tcp6" || true
    [[ $sockets == *" $any:0050 $any:0000 0A "* ]]
}

nginx_configuration() { # NAME
    local root=$WORK/$1 kind
    # One process, since a worker would change its user, which a user namespace does not allow.
    echo 'daemon off; master_process off; user root root; error_log stderr error;'
    echo "pid $root/nginx.pid; events { worker_connections 4096; }"
    echo 'http { access_log off; client_max_body_size 0; sendfile on;'
    # Its usual 60 and 75 seconds would end connections that a slow test holds open.
    echo 'client_header_timeout 1h; client_body_timeout 1h; send_timeout 1h; keepalive_timeout 1h;'
    for kind in client_body proxy fastcgi uwsgi scgi; do
        echo "${kind}_temp_path $root/temp/$kind;"
    done
    echo "server { listen 80; listen [::]:80; root $root;"
    echo "location /upload/ { dav_methods PUT; } } }"
}

# An upload and a download of files/random by real1, which arrive unchanged.
both_ways() { # HOW
    at vt-client curl -sSf --max-time 60 -T "$WORK/files/random" "$(url /upload/up)" -o /dev/null
    cmp "$WORK/files/random" "$WORK/real1/upload/up" || fail "$1: the upload differs"
    at vt-client curl -sSf --max-time 60 "$(url /files/random)" | cmp - "$WORK/files/random" ||
        fail "$1: the download differs"
    rm "$WORK/real1/upload/up"
    expect_accounted
}

# Skips the test where the running director cannot have a fast path.
needs_fast_path() {
    log_has director 'INFO .*fast path at' ||
        skip "no fast path here: $(grep -o 'no fast path.*' "$WORK/director.log" || true)"
}

# Whether the directors' configurations have a fast path unless a test says otherwise.
fast_by_default() { [[ ${FAST_PATH:-off} != off ]]; }

# Answers each datagram at port 9000 of the VIPs with its own name and the datagram.
start_echo() { # NAME...
    local name vip
    for name in "$@"; do
        for vip in "${SERVED[@]:-$VIP}"; do
            spawn "vt-$name" "$name-echo$(family "$vip")" python3 "$here/traffic/udp_echo.py" \
                "$name" "$vip" 9000
        done
    done
    for name in "$@"; do
        for vip in "${SERVED[@]:-$VIP}"; do
            wait_for "$name's echo server" log_has "$name-echo$(family "$vip")" '^ready'
        done
    done
}

# Fetches http://VIP/ N times, each on a connection of its own, and prints `COUNT NAME` for each
# server that answered.
fetch() { # N
    at vt-client curl -sS --fail-early --max-time 60 -H 'Connection: close' "$(url "/?[1-$1]")" |
        sort | uniq -c
}

# Uploads a file to http://VIP/; REAL has to get it as it is.
upload() { # REAL [CURL-OPTION...]
    local real=$1
    shift
    rm -f "$WORK/$real/upload/up"
    at vt-client curl -sSf --max-time 60 "$@" -T "$WORK/files/random" "$(url /upload/up)" \
        -o /dev/null
    cmp "$WORK/files/random" "$WORK/$real/upload/up" || fail "the upload to $real differs"
}

share() { # SHARES NAME
    local count name n=0
    while read -r count name; do [[ $name != "$2" ]] || n=$count; done <<<"$1"
    echo "$n"
}
