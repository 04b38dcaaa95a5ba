# What the director sends in GUE by UDP sockets, many packets in one call: the outer headers on the
# wire, how many calls there are, that small packets of different sizes arrive as they were, that
# segments of several super-frames go together; and without its ports, or on a kernel without
# UDP_SEGMENT, the same one by one. A reload names other ports. Of what waits when the link becomes
# smaller, only what does not fit is lost. Of a call that the kernel refuses nothing is lost.
# usual: 6in4 4in6
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
source "$here/refusing.sh"
source "$here/doctor.sh"

TUNNELLED+=("udp dport 6080")
REAL_KEYS='encap = "gue"'
SERVICE_KEYS='encap = "gue"'
JOINED=1

seen() { jq -sc "$1" <(grep '^{' "$WORK/sniffer.log"); } # FILTER
values() { seen "map($1) | unique"; }                    # FILTER: of each packet
calls() { number director stats .batches; }
segments() { number director stats .segments_sent; }
figure() { number director stats ".gue_$1"; } # NAME
ports() { values .source_port | jq -c '[min, max]'; }

make_topology
gro vt-director eth0 on
start_web real1
start_real real1
start_echo real1
head -c 3000000 /dev/urandom >"$WORK/files/random"
start_director rr 1
spawn vt-real1 sniffer python3 "$here/traffic/outer.py" eth0
wait_for "the sniffer" log_has sniffer '^ready'

fetch 10 >/dev/null
at vt-client python3 "$here/traffic/udp_marked.py" "$VIP" 9000 {0..255}
for size in 18 60 120 1000 18-120; do
    at vt-client python3 "$here/traffic/udp_client.py" "$VIP" 9000 10 20 "$size" >"$WORK/answers"
    expect_eq "answers to 200 datagrams of $size bytes" "$(tail -n 1 "$WORK/answers")" "answers 200"
done
all_seen() { (($(seen 'map(select(.inner_protocol == 17)) | length') >= 256)); }
wait_for "the datagrams at the real server" all_seen

expect_eq "outer protocol" "$(values .protocol)" "[17]"
expect_eq "addresses" "$(values '.source + " to " + .destination')" \
    "[\"$DIRECTOR to ${ADDRESS[real1]}\"]"
expect_eq "outer traffic class less the inner one" "$(values '.class - .inner_class')" "[0]"
expect_eq "traffic classes seen" "$(values .class | jq length)" 256
expect_eq "hop limits" "$(values .hop_limit)" "[64]"
expect_eq "source ports outside of the range" \
    "$(seen 'map(select(.source_port < 61440 or .source_port > 61455)) | length')" 0
expect_eq "source ports of each flow" \
    "$(seen 'group_by(.flow) | map(map(.source_port) | unique | length) | unique')" "[1]"
if ((OUTER == 4)); then
    expect_eq "DF" "$(values .dont_fragment)" "[true]"
else
    expect_eq "flow label less the source port" "$(values '.flow_label - .source_port')" "[0]"
fi
expect_eq "wrong checksums at the real server" \
    "$(at vt-real1 nstat -asz | awk '/^Udp6?InCsumErrors/ { n += $2 } END { print n + 0 }')" 0
stop sniffer

say "an upload"
before=($(calls) $(segments))
upload real1
sent=$(($(segments) - before[1])) made=$(($(calls) - before[0]))
expect_between "segments" "$sent" 2000 20000
((made * 4 < sent)) || fail "$made calls for $sent segments"
say "$made calls for $sent segments"
joined=$(figure joined) sends=$(figure sends)
expect_between "segments by UDP sockets" "$joined" "$sent" "$(segments)"
expect_between "calls for them" "$sends" 1 $((joined / 2))
mixed() {
    at vt-client python3 "$here/traffic/udp_client.py" "$VIP" 9000 1 40 18-120 >/dev/null
    (($(figure padding) > 0))
}
wait_for "datagrams of different sizes to go together" mixed
expect_between "bytes of padding" "$(figure padding)" 1 $((512 * $(figure joined)))

say "a smaller link while packets wait"
mkfifo "$WORK/go"
spawn vt-client udp sh -c "exec python3 '$here/traffic/udp_held.py' $VIP 9000 1 40 20 1350 1000 \
    <'$WORK/go'"
exec {go}>"$WORK/go"
wait_for "the flow" log_has udp '^held'
sends=$(figure sends)
count_tun_packets
pause_program director
echo >&"$go"
wait_for "datagrams" are_queued 40
ip -n vt-director link set dev eth1 mtu 1340
kill -CONT "${PID[director]}"
exit_code udp
exec {go}>&-
expect_eq "the client's exit code, with 20 small ones answered" "$CODE" 0
# The kernel refuses them, or the director has learnt of the smaller link before it sends them.
refused=$(number director stats .send_errors.send_too_big)
known=$(number director drops '.drops.path_mtu + .answered.path_mtu')
expect_eq "datagrams that were too big" $((refused + known)) 20
expect_eq "all errors of sends" "$(number director stats '[.send_errors[]] | add')" "$refused"
expect_eq "calls that the kernel took, of one datagram each" "$(($(figure sends) - sends))" 20
upload real1
expect_between "answers that packets are too big" "$(counter vt-client too_big)" 1 100
ip -n vt-director link set dev eth1 mtu 1500
at vt-client ip route flush cache
at vt-client ip -6 route flush cache
REFUSED_LATE=20
expect_accounted
stop director

without() { # WHAT WARNING
    start_director rr 1
    upload real1
    expect_log director "$2"
    (($(calls) > 0)) || fail "$1: nothing was sent"
    expect_eq "$1, by UDP sockets" "$(figure joined) $(figure sends) $(figure padding)" "0 0 0"
    JOINED=0 expect_accounted
}
say "another program has the source ports"
spawn vt-director squatter python3 -c 'import socket, time
ends = []
for port in range(61440, 61456):
    for family in (socket.AF_INET, socket.AF_INET6):
        end = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            end.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        end.bind(("", port))
        ends.append(end)
print("ready", flush=True)
while True:
    time.sleep(1000)'
wait_for "the ports to be taken" log_has squatter '^ready'
without "without ports" 'could not use UDP port 614'
expect_between "ports that are taken" "$(figure ports_taken)" 1 16
doctor director
jq -e 'any(.findings[]; .cause == "gue_ports")' "$WORK/report" >/dev/null ||
    fail "vstun doctor does not name the ports: $(<"$WORK/report")"

say "other ports by a reload"
spawn vt-real1 sniffer python3 "$here/traffic/outer.py" eth0
wait_for "the sniffer" log_has sniffer '^ready'
DIRECTOR_KEYS='gue_source_ports = "5000-5002"' configure "$WORK/director.toml" rr 1
ask director reload
upload real1
(($(figure joined) > 1000)) || fail "$(figure joined) segments by UDP sockets"
expect_eq "ports that are taken" "$(figure ports_taken)" 0
fetch 30 >/dev/null
other_ports() { [[ $(ports) == "[5000,5002]" ]]; }
wait_for "the three ports on the wire" other_ports
stop sniffer

say "segments of several super-frames"
mkfifo "$WORK/requests"
spawn vt-client requests sh -c "exec python3 '$here/traffic/held_requests.py' $VIP 80 20 6000 \
    <'$WORK/requests'"
exec {go}>"$WORK/requests"
wait_for "20 connections" log_has requests '^held'
# The program does not answer yet, so the client has few packets more: repeated ones, perhaps each
# in a call of its own.
frames=$(number director stats .super_frames) joined=$(figure joined) sends=$(figure sends)
pause_program real1-web
pause_program director
queued=$(tun_packets)
echo >&"$go"
wait_for "20 requests of five segments" log_has requests '^sent'
wait_for "the requests in the TUN's queue" are_queued $((queued + 20))
kill -CONT "${PID[director]}"
all_joined() { (($(figure joined) - joined >= 100)); }
wait_for "the segments of all requests" all_joined
frames=$(($(number director stats .super_frames) - frames))
# In this order: packets that come in between count as segments alone.
sends=$(($(figure sends) - sends)) joined=$(($(figure joined) - joined))
kill -CONT "${PID[real1-web]}"
exit_code requests
exec {go}>&-
log_has requests '^alive 20' || fail "of 20 connections: $(tail -n 1 "$WORK/requests.log")"
say "$frames super-frames, $joined segments, $sends calls"
expect_between "super-frames" "$frames" 20 100
expect_between "segments of these" "$joined" 100 300
((2 * (sends - (joined - 100)) < frames)) || fail "$sends calls for $frames super-frames"
stop director
stop squatter

say "a kernel without UDP_SEGMENT"
refusing segment
without "without UDP_SEGMENT" 'this kernel has no UDP_SEGMENT'
expect_eq "warnings" "$(grep -c 'UDP_SEGMENT' "$WORK/director.log")" 1
stop director

refused_together() { # WHAT WARNINGS
    refusing "$1"
    start_director rr 1
    upload real1
    expect_eq "$1, send errors" "$(number director stats '[.send_errors[]] | add')" 0
    expect_eq "$1, calls that the kernel took" "$(figure sends)" "$(figure joined)"
    expect_eq "$1, warnings" "$(grep -c 'WARN.*UDP_SEGMENT' "$WORK/director.log")" "$2"
    expect_accounted
}
say "a kernel that says each call is too long"
refused_together length 0
expect_between "packets by UDP sockets" "$(figure joined)" 1000 100000
stop director

say "a kernel that refuses each call of several packets"
refused_together joined 1
before=$(figure joined)
upload real1
expect_eq "packets by UDP sockets" $(($(figure joined) - before)) 0
stop director
