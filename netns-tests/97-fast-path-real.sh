# The real server's fast path: uploads, merged and not, datagrams and short connections are taken
# out of the tunnel by the kernel; strangers, other addresses and fragments come to the daemon, and
# so do merged datagrams; tagged frames and plain packets under an IPsec policy reach nothing; a
# reload changes what is admitted, and addresses and interfaces that the host gets later count at
# once; `vstun doctor` and `vstun cleanup` name the program; a killed daemon leaves none.
# mixes: 4in4 6in6 6in4 4in6
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
source "$here/refusing.sh"

SIZE=8000000
carried() { number real1 stats .carried; }
attached() { at vt-real1 python3 "$here/traffic/tcx_programs.py" "${1:-eth0}"; } # [INTERFACE]
is_attached() { [[ $(attached "$1") == 1 ]]; }
by_the_daemon() { echo $(($(number real1 stats .read) - $(carried))); }
# What doctor says of the fast path at real1: severity, text and evidence.
diagnosed() {
    ask real1 doctor --json >"$WORK/report" || true # other findings are no matter here
    jq -r '(.findings[] | select(.cause == "fast_path") | "\(.severity): \(.text) \(.evidence)"),
        (.well[] | select(contains("fast path")))' "$WORK/report"
}
# Whether the kernel takes out packets to another address of real1, to which the director moves.
moved_is_carried() { # ADDRESS
    local before; before=$(by_the_daemon)
    sed -i "s|^address = .*|address = \"$1\"|" "$WORK/director.toml"
    ask director reload >/dev/null
    expect_eq "requests served at $1" "$(share "$(fetch 5)" real1)" 5
    expect_eq "packets that came to the daemon" $(($(by_the_daemon) - before)) 0
}
adds_up() {
    expect_eq "packets read, delivered and dropped" \
        "$(number real1 stats '.read == .delivered + ([.dropped[].count] | add)')" true
}

make_topology
start_web real1
gro vt-director eth0 on
head -c "$SIZE" /dev/urandom >"$WORK/files/random"
REAL_KEYS='fast_path = "auto"'
start_real real1
spawn vt-real1 echo python3 "$here/traffic/udp_echo.py" real1 "$VIP" 9000 gro
wait_for "the echo server" log_has echo '^ready'
log_has real1 'fast path: the kernel takes' ||
    skip "no fast path here: $(grep -o 'no fast path.*' "$WORK/real1.log" || true)"
expect_eq "programs at the real server" "$(attached)" 1
start_director rr 1

for merging in off on; do
    gro vt-real1 eth0 $merging
    before=$(carried) merged=$(number real1 stats .super_packets)
    at vt-client curl -sSf --max-time 60 -T "$WORK/files/random" "$(url "/upload/$merging")" \
        -o /dev/null
    cmp "$WORK/files/random" "$WORK/real1/upload/$merging" || fail "the upload differs"
    expect_between "packets of the upload that are carried, GRO $merging" \
        $(($(carried) - before)) 100 $((SIZE / 400))
    merged=$(($(number real1 stats .super_packets) - merged))
    [[ $merging == off ]] && expect_eq "merged ones" $merged 0 ||
        expect_between "merged ones" $merged 50 $((SIZE / 400))
done
before=$(carried) read=$(number real1 stats .read)
answered=$(at vt-client python3 "$here/traffic/udp_turns.py" "$VIP" 9000 60)
expect_eq "datagrams answered" "$answered" 60
expect_eq "requests served on short connections" "$(share "$(fetch 10)" real1)" 10
expect_eq "packets that came to the daemon" \
    $(($(number real1 stats .read) - read - ($(carried) - before))) 0
adds_up

# The tag of a VLAN is not in the data of such frames, but they are of another network.
before=$(carried)
at vt-router python3 "$here/traffic/tagged.py" lan-real1 \
    "$(at vt-real1 cat /sys/class/net/eth0/address)" "$CLIENT" 40000 "$VIP" 9000 10 \
    "$DIRECTOR" "${ADDRESS[real1]}"
send_tunnelled vt-director "$DIRECTOR" "$VIP" 5
carried_since() { (($(carried) >= before + $1)); } # N
wait_for "packets behind the tagged ones" carried_since 5
expect_eq "carried of both" $(($(carried) - before)) 5

# Merged datagrams, even if all of them are shorter than a frame.
before=$(by_the_daemon)
send_tunnelled vt-director "$DIRECTOR" "$VIP" 100 short
by_the_daemon_since() { (($(by_the_daemon) > before)); }
wait_for "merged datagrams at the daemon" by_the_daemon_since
adds_up

# What is not admitted comes to the daemon, which refuses it.
before=$(carried)
sed -i "s|^directors = .*|directors = [\"$(alone "${LAN_ROUTERS[$OUTER]}")\"]|" "$WORK/real1.toml"
ask real1 reload >/dev/null
strangers() { (($(refused real1 source) > 0)); }
at vt-client timeout 1 curl -sS "$(url /)" >/dev/null 2>&1 || true
wait_for "a director that is a stranger now" strangers
expect_eq "packets of it that are carried" $(($(carried) - before)) 0
adds_up
sed -i "s|^directors = .*|directors = [\"$(alone "$DIRECTOR")\"]|" "$WORK/real1.toml"
ask real1 reload >/dev/null
expect_eq "requests served again" "$(share "$(fetch 5)" real1)" 5
expect_direct_replies 100

# The kernel refuses plain packets under an IPsec policy, and the program asks for no policy.
policy=(dir in src "$(alone "$DIRECTOR")" dst "$(alone "${ADDRESS[real1]}")")
at vt-real1 ip xfrm policy add "${policy[@]}" \
    tmpl src "$DIRECTOR" dst "${ADDRESS[real1]}" proto esp mode transport
under_policy() { [[ $(number real1 stats '.fast_path_state.missing[]') == *"IPsec policy"* ]]; }
wait_for "the policy to be seen" under_policy
before=$(carried) read=$(number real1 stats .read)
at vt-client timeout 1 curl -sS "$(url /)" >/dev/null 2>&1 || true
expect_eq "plain packets taken" "$(($(carried) - before)) $(($(number real1 stats .read) - read))" \
    "0 0"
at vt-real1 ip xfrm policy delete "${policy[@]}"
no_policy() { [[ $(number real1 stats '.fast_path_state.missing | length') == 0 ]]; }
wait_for "the end of the policy to be seen" no_policy
expect_eq "requests served without it" "$(share "$(fetch 5)" real1)" 5

# An address and an interface that the host gets now.
moved=$([[ $OUTER == 6 ]] && echo 2001:db8:a::111 || echo 10.0.0.111)
ip -n vt-real1 address add "$(alone "$moved")" dev eth0 $([[ $OUTER != 6 ]] || echo nodad)
ip -n vt-real1 link add later type veth peer name behind
wait_for "the program at the later interface" is_attached later
moved_is_carried "$moved"
moved_is_carried "${ADDRESS[real1]}"
diagnosed | grep -q 'note: the fast path takes packets out of the tunnel at .*eth0.* later: ' ||
    fail "doctor: $(<"$WORK/report")"
ip -n vt-real1 link del later

stop real1 KILL
ask real1 cleanup >"$WORK/cleaned"
grep -q '^fast path of a real server: attached nowhere' "$WORK/cleaned" ||
    fail "cleanup: $(<"$WORK/cleaned")"
expect_eq "programs at the host of a killed daemon" "$(attached)" 0

# Without the right to load it, and without the key.
UNDER=(setpriv --bounding-set -bpf,-sys_admin,-perfmon --inh-caps -bpf,-sys_admin,-perfmon)
start_real real1
diagnosed | grep -q 'warning: there is no fast path, though .*not permitted.*CAP_BPF' ||
    fail "doctor: $(<"$WORK/report")"
stop real1
sed -i 's|^fast_path = .*|fast_path = "on"|' "$WORK/real1.toml"
spawn vt-real1 real1 "${UNDER[@]}" "$VSTUN_BIN/vstun-realserver" --config "$WORK/real1.toml"
exit_code real1
expect_eq "exit code without the right to a fast path that is asked for" "$CODE" 1
expect_log real1 'CAP_BPF'

# On a kernel without tcx.
refusing tcx
spawn vt-real1 real1 "${UNDER[@]}" "$VSTUN_BIN/vstun-realserver" --config "$WORK/real1.toml"
exit_code real1
expect_eq "exit code without tcx" "$CODE" 1
expect_log real1 'the kernel has no tcx'
start_real real1
diagnosed | grep -q 'warning: there is no fast path, though .*no tcx' ||
    fail "doctor: $(<"$WORK/report")"
expect_fails "says that the kernel takes packets" log_has real1 'the kernel takes packets out'
stop real1
UNDER=() REAL_KEYS='fast_path = "off"'
start_real real1
diagnosed | grep -q 'the fast path is off: all packets come to the daemon' ||
    fail "doctor: $(<"$WORK/report")"
