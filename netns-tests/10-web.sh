# Web traffic over each scheduler: who served how many, that it all passed the director, and that no reply did.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

# Each request is over before the next: rr and wrr give exact shares. For lc and wlc closed connections count little but
# do count, which evens the shares out to a few.
shares() { # SCHEDULER SLACK WEIGHTS SHARES
    local scheduler=$1 slack=$2 served name index=0 weights expected
    read -ra weights <<<"$3"
    read -ra expected <<<"$4"
    start_director "$scheduler" "${weights[@]}"
    served=$(fetch 120)
    for name in "${REALS[@]}"; do
        expect_between "$scheduler, requests to $name of weight ${weights[$index]}" "$(share "$served" "$name")" \
            $((expected[index] - slack)) $((expected[index] + slack))
        expect_eq "$scheduler, connections of $name in vstun list" "$(real_field "$name" connections)" \
            "$(share "$served" "$name")"
        index=$((index + 1))
    done
    # SYN, ACK, request and FIN at least, for each.
    expect_between "$scheduler, packets through the director" "$(packets_given)" 480 100000
    expect_accounted
    expect_between "$scheduler, milliseconds until the next timer" "$(number director stats .timers.next_milliseconds)" 0 120000
    stop director
    expect_eq "$scheduler, the director's exit code" "$CODE" 0
}

make_topology
start_web "${REALS[@]}"
start_real "${REALS[@]}"
shares rr  0 "1 1 1" "40 40 40"
shares wrr 0 "1 2 3" "20 40 60"
shares lc  3 "1 1 1" "40 40 40"
shares wlc 3 "1 2 3" "20 40 60"
shares wrr 0 "0 1 2" "0 40 80"
shares wlc 3 "2 0 1" "80 0 40"
expect_direct_replies 1200
