# The fast path: uploads and datagrams with checksums, which packets are carried, and which take
# flows back.
# mixes: 4in4 6in6 6in4 4in6
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
source "$here/refusing.sh"

SIZE=20000000
carried() { number director stats .packets.carried; }
carries_more_than() { (($(carried) > $1)); }
maps() { ls -l /proc/"${PID[$1]}"/fd | grep -c 'bpf-map' || true; } # DAEMON
attached() { at vt-director python3 "$here/traffic/tcx_programs.py" eth0; }

make_topology
start_web real1
gro vt-director eth0 on
gro vt-real1 eth0 on
head -c "$SIZE" /dev/urandom >"$WORK/files/random"

DIRECTOR_KEYS='fast_path = "auto"'
start_real real1
start_echo real1
start_director rr 1
needs_fast_path
expect_log director 'no firewall rule sees'
expect_eq "programs at the uplink" "$(attached)" 1

# A few frames of an upload come to the director.
before=$(packets_given)
at vt-client curl -sSf --max-time 60 -T "$WORK/files/random" "$(url /upload/up)" -o /dev/null
cmp "$WORK/files/random" "$WORK/real1/upload/up" || fail "the upload differs"
expect_between "packets of the upload" $(($(packets_given) - before)) $((SIZE / MSS)) \
    $((SIZE / 400))
expect_between "frames carried" "$(carried)" 100 $((SIZE / 400))
expect_between "frames that came to the director" "$(number director stats .reads)" 5 1000
idle() { [[ $(real_field real1 active) == 0 ]]; }
wait_for "the end of the upload to be seen" idle

before=$(carried)
expect_eq "requests served on short connections" "$(share "$(fetch 20)" real1)" 20
expect_eq "frames of theirs that are carried" $(($(carried) - before)) 0

# Each datagram follows the answer to the previous one.
answered=$(at vt-client python3 "$here/traffic/udp_turns.py" "$VIP" 9000 60)
expect_eq "datagrams answered" "$answered" 60
expect_between "datagrams carried" $(($(carried) - before)) 45 52
expect_accounted

# A deadline ends a connection that is carried when it begins.
before=$(carried)
spawn vt-client slow curl -sS --limit-rate 2M -T "$WORK/files/random" "$(url /upload/slow)" \
    -o /dev/null
wait_for "the slow upload to be carried" carries_more_than $((before + 20))
# A super-frame of it that is too long for an outer header's length field: nearly 64 KB.
port=$(ask director connections --json |
    jq -rs '[.[].connections[] | select(.carried) | .client | sub(".*:"; "")] | last')
as_containers vt-router up-dir
at vt-router python3 "$here/traffic/super_frame.py" up-dir \
    "$(at vt-director cat /sys/class/net/eth0/address)" "$CLIENT" "$port" "$VIP" 80 65520
too_large() { (($(number director stats .not_carried.too_large) == 1)); }
wait_for "a super-frame of nearly 64 KB at the director" too_large
as_a_wire vt-router up-dir
ask director drain "${ADDRESS[real1]}" --deadline 1s
exit_code slow
((CODE != 0)) || fail "the upload went on past the deadline"
expect_between "connections ended" "$(number director stats .packets.ended)" 1 2
expect_accounted
# The state would outlast the kill.
ask director enable "${ADDRESS[real1]}"

stop director KILL
expect_eq "programs at the uplink of a killed director" "$(attached)" 0
DIRECTOR_KEYS='fast_path = "off"'
start_director rr 1
expect_eq "programs at the uplink without the fast path" "$(attached)" 0
expect_eq "whether there is a fast path" "$(number director stats .fast_path)" false
stop director

# With the capabilities that the documentation names, and no others.
UNDER=(setpriv --bounding-set=-all,+net_admin,+net_raw,+bpf --inh-caps=-all --no-new-privs)
DIRECTOR_KEYS='fast_path = "on"'
start_director rr 1
expect_eq "datagrams answered" \
    "$(at vt-client python3 "$here/traffic/udp_turns.py" "$VIP" 9000 60)" 60
expect_between "datagrams carried" "$(carried)" 45 52
stop director

# Without them.
UNDER=(setpriv --bounding-set -bpf,-sys_admin,-perfmon --inh-caps -bpf,-sys_admin,-perfmon)
DIRECTOR_KEYS='fast_path = "auto"'
start_director rr 1
expect_log director 'no fast path, all packets come to the director: .*not permitted.*CAP_BPF'
expect_eq "requests served without the right to a fast path" "$(share "$(fetch 5)" real1)" 5
stop director
DIRECTOR_KEYS='fast_path = "on"'
configure "$WORK/director.toml" rr 1
spawn vt-director director "${UNDER[@]}" "$VSTUN_BIN/vstun-director" --config "$WORK/director.toml"
exit_code director
expect_eq "exit code without the right to a fast path that is asked for" "$CODE" 1
expect_log director 'CAP_BPF'

# On a kernel that has no tcx, and would take the program and its maps all the same.
refusing tcx
DIRECTOR_KEYS='fast_path = "auto"'
start_director rr 1
expect_log director 'no fast path, all packets come to the director: the kernel has no tcx'
expect_eq "maps of the director without tcx" "$(maps director)" 0
expect_eq "requests served without tcx" "$(share "$(fetch 5)" real1)" 5
stop director
DIRECTOR_KEYS='fast_path = "on"'
configure "$WORK/director.toml" rr 1
spawn vt-director director "${UNDER[@]}" "$VSTUN_BIN/vstun-director" --config "$WORK/director.toml"
exit_code director
expect_eq "exit code without tcx" "$CODE" 1
expect_log director 'the kernel has no tcx'
