# Schedulers that count connections, with some that stay open: the shares are exact, and the listing
# counts them as active.
# first: seven schedulers
# usual: 6in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

held() { # SCHEDULER WEIGHTS SHARES
    local weights expected name index=0
    read -ra weights <<<"$2"
    read -ra expected <<<"$3"
    start_director "$1" "${weights[@]}"
    hold held 60
    for name in "${REALS[@]}"; do
        expect_eq "$1, open at $name of weight ${weights[$index]}" "$(held_at held "$name")" \
            "${expected[$index]}"
        expect_eq "$1, active at $name in vstun list" "$(real_field "$name" active)" \
            "${expected[$index]}"
        index=$((index + 1))
    done
    expect_eq "connections in the table" "$(number director list .connections.current)" 60
    release held 60
    expect_accounted
    stop director
}

make_topology
start_web "${REALS[@]}"
start_real "${REALS[@]}"
held lc  "1 1 1" "20 20 20"
held lc  "1 5 0" "30 30 0"
held wlc "1 2 3" "10 20 30"
held sed "1 2 3" "10 20 30"
held nq  "1 2 3" "10 20 30"
# One more than its weight, as in IPVS.
held ovf "10 30 20" "8 31 21"
held fo  "10 30 20" "0 60 0"
expect_direct_replies 1000
