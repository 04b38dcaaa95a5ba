# The director estimates the latency of each real server from its clients' packets alone: the median
# is within 30 % of what the clients measure, and the order of the servers is right.
# mixes: 4in4 6in6
# usual: 4in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

declare -A DELAY=([real1]=12 [real2]=30 [real3]=75)
estimate() { real_field "$1" "latency.response.p50_microseconds // 0"; } # NAME
samples() { real_field "$1" "latency.$2.samples // 0"; }               # NAME KIND

make_topology
start_real "${REALS[@]}"
for name in "${REALS[@]}"; do
    spawn "vt-$name" "slow-$name" python3 "$here/traffic/slow_web.py" "$VIP" 80 "$name" \
        "${DELAY[$name]}"
    wait_for "$name to listen" log_has "slow-$name" listening
done
DIRECTOR_KEYS='http = "127.0.0.1:9180"'
start_director rr 1 1 1
expect_eq "a latency before the first connection" "$(real_field real1 latency)" null

at vt-client python3 "$here/traffic/timed_requests.py" "$VIP" 80 24 40 >"$WORK/truth.log"
say "clients measured: $(tr '\n' ' ' <"$WORK/truth.log")"
# Carried packets are no samples. What is left are the two or three first requests of each
# connection, of four connections at a time, and the median of so few is coarse.
fast_by_default && least=8 below=5 above=15 || least=60 below=7 above=13
for name in "${REALS[@]}"; do
    truth=$(share "$(awk '{ print $2, $1 }' "$WORK/truth.log")" "$name")
    say "$name: estimated $(estimate "$name") of $(samples "$name" response) samples"
    expect_between "samples of $name's responses" "$(samples "$name" response)" $least 320
    expect_between "samples of $name's handshakes" "$(samples "$name" handshake)" 1 8
    expect_between "$name's median" "$(estimate "$name")" $((truth * below / 10)) \
        $((truth * above / 10))
done
expect_between "real1 below real2" "$(estimate real1)" 1 "$(estimate real2)"
expect_between "real2 below real3" "$(estimate real2)" 1 "$(estimate real3)"

ask director list >"$WORK/list.log"
grep -q "BYTES.*LATENCY" "$WORK/list.log" || fail "list: $(<"$WORK/list.log")"
series="vstun_real_response_seconds_count{service=\"web\",real=\"${ADDRESS[real2]}\"}"
at vt-director curl -sS http://127.0.0.1:9180/metrics >"$WORK/metrics.log"
expect_eq "samples in the metrics" \
    "$(awk -v series="$series" 'index($0, series " ") == 1 { print $NF }' "$WORK/metrics.log")" \
    "$(samples real2 response)"
