# Unanswered SYNs bring a real server's check forward, long before it is due: the daemon runs and a
# firewall there drops them. If the check passes nevertheless, the real server stays up, and an
# event reports the unanswered SYNs.
# usual: 6in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"


# A firewall of the real server from now on: SYNs to port 80 are dropped, only those of WHO if it is
# given.
drops() { # NAME [WHO]
    local who=
    [[ $# == 1 ]] || who="ip${FAMILY_OF_NFT} saddr $2"
    echo "table inet drops { chain in { type filter hook input priority 0;
        $who tcp dport 80 tcp flags syn drop; }; }" >"$WORK/$1.nft"
    echo "ip netns exec vt-$1 nft -f $WORK/$1.nft"
}
FAMILY_OF_NFT=
[[ $(family "$VIP") == 4 ]] || FAMILY_OF_NFT=6

flows() { # COMMAND: prints what new_flows.py does
    # shellcheck disable=SC2086 # a command
    at vt-client python3 "$here/traffic/new_flows.py" "$VIP" 80 100 "$SECONDS_OF_FLOWS" $1
}

make_topology
start_web "${REALS[@]}"
start_real "${REALS[@]}"
SERVICE_KEYS='[[service.check]]
type = "tcp"
interval = "10m"
fast_interval = "100ms"
timeout = "300ms"'
start_director rr 1 1 1
wait_for "probes of all three" all_probed 3

# 100 ms of silence, three timeouts, and time for other tests.
SECONDS_OF_FLOWS=3
read -r last lost all < <(flows "$(drops real2)")
say "the last of $lost lost flows of $all began after $last ms"
((last <= 2000)) || fail "flows went to real2 for $last ms"
state_is real2 down || fail "real2 is $(real_field real2 state)"
expect_eq "real2 is down" "$(real_field real2 why)" "tcp check failed: no answer within 300ms"
expect_eq "probes of real1" "$(runs real1)" 1

# The probes are not dropped: one more in the interval, and the real server stays.
SECONDS_OF_FLOWS=6
read -r last lost all < <(flows "$(drops real1 "$CLIENT")")
state_is real1 up || fail "real1 is $(real_field real1 state)"
expect_eq "probes of real1" "$(runs real1)" 2
expect_log director \
    "web ${ADDRESS[real1]}: unanswered, [0-9]+ SYNs in ([3-9]|[1-9][0-9]) s and no handshake ended"
stop director
expect_eq "the director's exit code" "$CODE" 0
