# IPVS as the director of our real server, with each --tun-type and each checksum option: web and
# datagrams, also from a client on the director's machine, whose packets have unfinished checksums.
source "$(dirname "$0")/../lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

ipvs() { at vt-director ipvsadm "$@"; }

balanced() { # TUNNEL-OPTION...
    local service flag port
    ipvs -C
    for service in "-t 80" "-u 9000"; do
        read -r flag port <<<"$service"
        ipvs -A "$flag" "$(in_url "$VIP"):$port" -s rr
        ipvs -a "$flag" "$(in_url "$VIP"):$port" -r "$(in_url "${ADDRESS[real1]}"):$port" -i "$@"
    done
}

taken() { number real1 stats ".$1 // 0"; } # ENCAP
refusals() { number real1 drops '[.drops[]] | add'; }

works() { # HOW ENCAP
    local before refused
    before=$(taken "$2") refused=$(refusals)
    expect_eq "$1, requests served" "$(share "$(fetch 10)" real1)" 10
    answers=$(at vt-client python3 "$here/traffic/udp_client.py" "$VIP" 9000 4 5 18-300)
    expect_eq "$1, flows answered" "$(share "$answers" real1)" 4
    head -c 300000 "$WORK/files/random" >"$WORK/upload"
    at vt-client curl -sSf --max-time 60 -T "$WORK/upload" "$(url /upload/up)" -o /dev/null
    cmp "$WORK/upload" "$WORK/real1/upload/up" || fail "$1: the upload differs"
    rm "$WORK/real1/upload/up"
    expect_between "$1, datagrams taken" $(($(taken "$2") - before)) 60 2000
    expect_eq "$1, refused" $(($(refusals) - refused)) 0
}

make_topology
start_web real1
head -c 1000000 /dev/urandom >"$WORK/files/random"
start_real real1
start_echo real1
ip -n vt-director address add "$(alone "$VIP")" dev lo
at vt-director sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
for family in 4 6; do
    # The router has to find the VIP, which the director's lo has.
    ip -n vt-router route replace "$(alone "${VIPS[$family]}")" via "${UPLINK_DIRECTORS[$family]}"
done
for end in wire container; do
    # As when IPVS's clients are containers: nobody completes checksums before real1's NIC.
    if [[ $end == container ]]; then
        for device in "vt-client eth0" "vt-router cl" "vt-router up-dir" "vt-director eth0" \
            "vt-director eth1" "vt-router lan-dir" "vt-router lan-real1" "vt-real1 eth0"; do
            # shellcheck disable=SC2086 # two words
            as_containers $device
        done
    fi
    balanced --tun-type ipip
    works "$end, ipip" ipip
    for sum in nocsum csum; do
        balanced --tun-type gre --tun-$sum
        works "$end, gre $sum" gre
        [[ $OUTER$sum == 6nocsum ]] && continue # RFC 6935: datagrams over IPv6 have a checksum
        balanced --tun-type gue --tun-port 6080 --tun-$sum
        works "$end, gue $sum" gue
    done
    expect_eq "$end, partial checksums" "$(($(taken partial_checksums) > 0))" \
        "$([[ $end == wire ]] && echo 0 || echo 1)"
done
