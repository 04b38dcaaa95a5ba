# Web traffic with each scheduler: how many requests each real server served, that all of them
# passed the director, and that no reply did.
# first: fourteen schedulers
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

# Requests are sent one after the other. rr and wrr give exact shares, and so do sed, nq, fo and
# ovf, which ignore closed connections. lc, wlc and twos give them a small weight, so the shares may
# differ by a few; mh places each request as a new flow, by its port.
shares() { # SCHEDULER SLACK WEIGHTS SHARES
    local scheduler=$1 slack=$2 served name index=0 weights expected
    read -ra weights <<<"$3"
    read -ra expected <<<"$4"
    start_director "$scheduler" "${weights[@]}"
    served=$(fetch 120)
    for name in "${REALS[@]}"; do
        expect_between "$scheduler, requests to $name of weight ${weights[$index]}" \
            "$(share "$served" "$name")" \
            $((expected[index] - slack)) $((expected[index] + slack))
        expect_eq "$scheduler, connections of $name in vstun list" \
            "$(real_field "$name" connections)" \
            "$(share "$served" "$name")"
        index=$((index + 1))
    done
    # At least SYN, ACK, request and FIN for each.
    expect_between "$scheduler, packets through the director" "$(packets_given)" 480 100000
    expect_accounted
    expect_between "$scheduler, milliseconds until the next timer" \
        "$(number director stats .timers.next_milliseconds)" 0 120000
    stop director
    expect_eq "$scheduler, the director's exit code" "$CODE" 0
}

# One client and one virtual address: all requests go to one real server.
at_one() { # SCHEDULER
    local served
    start_director "$1" 1 2 3
    served=$(fetch 60)
    expect_eq "$1, real servers that answered" "$(wc -l <<<"$served")" 1
    expect_eq "$1, connections given" "$(connections_given)" 60
    expect_accounted
    stop director
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
shares sed 0 "1 2 3" "0 0 120"
shares nq  0 "0 1 3" "0 120 0"
shares fo  0 "1 3 2" "0 120 0"
shares ovf 0 "1 3 2" "0 120 0"
shares twos 12 "1 1 1" "40 40 40"
shares mh  25 "1 2 3" "20 40 60"
at_one sh
at_one dh
expect_direct_replies 2500
