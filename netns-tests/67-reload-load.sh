# Fifty reloads with changing servers, weights and schedulers under 1,000 busy keep-alive
# connections: none is broken, and each stays with its first server. `vstun plan` shows the last
# one's changes beforehand.
# usual: 6in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

CONNECTIONS=1000
make_topology
start_web "${REALS[@]}"
start_real "${REALS[@]}"
start_director wrr 1 1 1
at vt-client sysctl -qw net.ipv4.ip_local_port_range="10000 60000"
mkfifo "$WORK/release"
spawn vt-client load sh \
    -c "exec python3 '$here/traffic/keepalive.py' $VIP 80 $CONNECTIONS <'$WORK/release'"
exec {release}>"$WORK/release"
wait_for "$CONNECTIONS open connections" log_has load '^open'
expect_eq "connections that the director knows" "$(number director list .connections.current)" \
    "$CONNECTIONS"

schedulers=(rr wrr lc wlc)
for n in $(seq 50); do
    # Servers are removed and added; one that is added again has its connections; now and then no
    # server takes new ones.
    case $((n % 4)) in
        0) weights=("$((n % 7))" 0 "$((n % 5))") ;;
        1) weights=("$((n % 3 + 1))") ;;
        2) weights=("$((n % 5))" 2) ;;
        3) weights=(0 0 0) ;;
    esac
    configure "$WORK/director.toml" "${schedulers[$((n % ${#schedulers[@]}))]}" "${weights[@]}"
    if ((n == 49)); then
        code=0
        ask director plan "$WORK/director.toml" --json >"$WORK/plan.json" || code=$?
        expect_eq "exit code of a plan that changes something" "$code" 3
        ask director plan "$WORK/director.toml" || true
    fi
    ask director reload >>"$WORK/reloads"
    if ((n == 49)); then
        changed=$(tail -n 1 "$WORK/reloads" | sed 's/.*: \([0-9]*\) changes/\1/')
        expect_eq "changes of the reload, as planned" "$changed" \
            "$(jq '.changes | length' "$WORK/plan.json")"
        drained=$(number director list \
            '[.services[0].reals[] | select(.state == "draining") | .active + .inactive] | add')
        expect_eq "drained connections, as planned" "$drained" \
            "$(jq .connections_drained "$WORK/plan.json")"
        ask director plan "$WORK/director.toml" >"$WORK/plan" ||
            fail "exit code $? of a plan of what runs"
        expect_eq "a plan of what runs" "$(cat "$WORK/plan")" "nothing would change"
    fi
done
expect_eq "reloads" "$(grep -c reloaded "$WORK/reloads")" 50

sed 's/scheduler = "[a-z]*"/scheduler = "wrx"/; s/weight = [0-9]*/weight = -1/' \
    "$WORK/director.toml" >"$WORK/bad.toml"
expect_fails "a plan of a bad file" ask director plan "$WORK/bad.toml" 2>"$WORK/faults"
grep -q 'bad.toml:.*scheduler' "$WORK/faults" && grep -q 'bad.toml:.*weight' "$WORK/faults" ||
    fail "faults: $(cat "$WORK/faults")"
exec {release}>&-
exit_code load
tail -n 2 "$WORK/load.log"
expect_eq "broken connections" "$(sed -n 's/^broken //p' "$WORK/load.log")" 0
requests=$(sed -n 's/^requests //p' "$WORK/load.log")
((requests >= 2 * CONNECTIONS)) || fail "only $requests requests"
expect_accounted

# A plan is refused because of a fault in the file: the director's own address as a real server.
sed "s/^address = .*${ADDRESS[real1]}.*/address = \"$DIRECTOR\"/" "$WORK/director.toml" \
    >"$WORK/own.toml"
expect_fails "a plan with the director as a real server" ask director plan "$WORK/own.toml" \
    2>"$WORK/faults"
grep -q "$DIRECTOR" "$WORK/faults" || fail "the host's fault: $(cat "$WORK/faults")"
