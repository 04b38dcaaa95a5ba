# A real server becomes unreachable in the middle of its traffic: without a route, and by a
# firewall's EPERM. The director counts those packets and sends the rest of each batch; the stalled
# upload completes once the path is free. UDP in addition, since lost datagrams are not sent again.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

make_topology
start_web "${REALS[@]}"
start_real "${REALS[@]}"
start_echo "${REALS[@]}"
start_director rr 1 1 1
count_tun_packets
head -c 9000000 /dev/urandom >"$WORK/files/random"

DATAGRAMS=100   # to each real server; all three's fit into the TUN's queue of 500
mkfifo "$WORK/go"
datagrams() { # HOW BLOCK-FUNCTION UNBLOCK-FUNCTION
    local errors batches before name go
    spawn vt-client udp sh -c "exec python3 '$here/traffic/udp_held.py' \
        $VIP 9000 3 $DATAGRAMS $((2 * DATAGRAMS)) <'$WORK/go'"
    exec {go}>"$WORK/go"
    wait_for "a flow to each real server" log_has udp '^held'
    "$2"
    errors=$(send_errors)
    batches=$(number director stats .batches)
    # The daemon finds all of them at once, and so sends them in full batches.
    before=$(tun_packets)
    pause_program director
    echo >&"$go"
    wait_for "datagrams" are_queued $((before + 3 * DATAGRAMS))
    kill -CONT "${PID[director]}"
    exit_code udp
    exec {go}>&-
    expect_eq "$1, the client's exit code" "$CODE" 0
    for name in real1 real3; do
        expect_eq "$1, datagrams answered by $name" "$(share "$(cat "$WORK/udp.log")" "$name")" \
            "$DATAGRAMS"
    done
    expect_eq "$1, send errors" $(($(send_errors) - errors)) "$DATAGRAMS"
    # Of three datagrams two are sent in one call, and the third fails in another. Without batches
    # there would be three calls.
    expect_between "$1, calls" $(($(number director stats .batches) - batches)) "$DATAGRAMS" \
        $((2 * DATAGRAMS + 10))
    "$3"
}

send_errors() { number director stats '[.send_errors[]] | add // 0'; }

uploads() { # HOW BLOCK-FUNCTION UNBLOCK-FUNCTION
    local name errors before
    errors=$(send_errors)
    # One connection each, in the order of rr; the datagrams' flows count as well.
    for name in "${REALS[@]}"; do
        before=$(real_field "$name" connections)
        spawn vt-client "up-$name" curl -sSf --max-time 400 --limit-rate 3M \
            -T "$WORK/files/random" "$(url "/upload/$1")"
        wait_for "the connection to $name" connected "$name" "$before"
        # It stands still, so that the upload is not over before its way is closed.
        [[ $name != real2 ]] || kill -STOP "${PID[up-real2]}"
    done
    "$2"
    kill -CONT "${PID[up-real2]}"
    wait_for "send errors ($1)" more_errors "$errors"
    for name in real1 real3; do
        exit_code "up-$name"
        expect_eq "$1, upload to $name" "$CODE" 0
    done
    is_running up-real2 || fail "$1: the upload to real2 ended although its packets cannot leave"
    "$3"
    exit_code up-real2
    expect_eq "$1, upload to real2 after the way was free" "$CODE" 0
    for name in "${REALS[@]}"; do
        cmp "$WORK/files/random" "$WORK/$name/upload/$1" || fail "$1: the upload to $name differs"
        rm "$WORK/$name/upload/$1"
    done
}
connected() { (($(real_field "$1" connections) > $2)); } # NAME BEFORE
more_errors() { (($(send_errors) > $1 + 3)); }

unreachable() { ip -n vt-director route add unreachable "${ADDRESS[real2]}"; }
reachable() { ip -n vt-director route del unreachable "${ADDRESS[real2]}"; }
forbidden() {
    at vt-director nft "add table inet firewall;
        add chain inet firewall output { type filter hook output priority 0; };
        add rule inet firewall output ${NFT_IP[$OUTER]} daddr ${ADDRESS[real2]} drop"
}
allowed() { at vt-director nft delete table inet firewall; }

datagrams no-route unreachable reachable
# The next flows use other ports: those before are still in the table.
at vt-client sysctl -qw net.ipv4.ip_local_port_range="20000 29999"
datagrams firewall forbidden allowed
uploads no-route unreachable reachable
# No rule of a firewall sees carried packets.
fast_by_default || uploads firewall forbidden allowed
expect_direct_replies 500
expect_accounted
