# Checks of all kinds through the tunnel, against common servers. Each detects that its own server
# is down, reports that, and detects its return. One run has all kinds: `check-types/KIND.sh` starts
# the servers of a kind, has the check's keys, and tries it. A kind is left out where the host lacks
# its program (has_KIND).
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

state_and_why() { # NAME
    number director list ".services[0].reals[] | select(.address == \"${ADDRESS[$1]}\")
        | \"\(.state): \(.why)\""
}
is_because() { # NAME STATE WHY
    became=$(state_and_why "$1")
    [[ $became == "$2: "*"$3"* ]]
}
becomes() { # NAME STATE WHY
    wait_for "$1 to be $2 because: $3" is_because "$@"
    say "$1 is $became"
}
listens() { at "vt-$1" ss -Hltn "sport = :$2" | grep -q .; }    # NAME PORT
is_here() { [[ $(type -t "has_$1") != function ]] || "has_$1"; } # KIND

make_topology
start_real "${REALS[@]}"
kinds=()
for kind in tls https udp icmp exec dns http2 grpc; do
    source "$here/check-types/$kind.sh"
    is_here "$kind" || continue
    kinds+=("$kind")
    for name in "${REALS[@]}"; do "start_$kind" "$name"; done
    SERVICE_KEYS+=$'[[service.check]]\ninterval = "500ms"\nfast_interval = "200ms"\n'
    SERVICE_KEYS+=$'timeout = "2s"\n'$("check_$kind")$'\n'
done
for name in "${REALS[@]}"; do
    wait_for "$name's TLS" listens "$name" 8443
    wait_for "$name's HTTPS" listens "$name" 443
done
start_director rr 1 1 1
for name in "${REALS[@]}"; do becomes "$name" up "all checks pass"; done
expect_eq "packets of probes in the service's counts" "$(packets_given)" 0
for kind in "${kinds[@]}"; do
    say "checks of kind $kind"
    "try_$kind"
done

# Without the virtual IP no echo comes back: a check of type icmp tests only the path.
stop real3
becomes real3 down "check failed"
# s_server serves one connection at a time, and waits for ever for the rest of one that was cut off
# with the tunnel.
stop real3-tls8443 KILL
stop real3-tls443 KILL
start_real real3
start_tls real3
start_https real3
becomes real3 up "all checks pass"
