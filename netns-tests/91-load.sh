# `load = "agent"`: three real servers; on one of them other tasks take the CPU. Its share of new
# connections falls, and is back within 10 seconds after that ends (30 beside other tests). `vstun
# list` shows the connections that the director sees and those that the real servers report, side by
# side. A foreign agent's words are used too, and an owner's setting takes the real server out.
# mixes: 6in4 4in6
# first: it waits for loads to rise and to fall
# usual: 6in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

PORT=9181
share_of() { fetch 60 | share "$(cat)" "$1"; }
effective() { real_field "$1" "effective_weight // 1"; } # NAME: of weight 1
weighs() { jq -en "$(effective "$1") $2" >/dev/null; }   # NAME COMPARISON
reported() { real_field "$1" "reported // -1"; }
reports() { (($(reported "$1") == $2)); } # NAME NUMBER

# Its own control group for real1's web server, whose tasks wait for the CPU.
# Tests beside this one may have the same process number, in other namespaces.
cgroup=$WORK/cgroup
mkdir "$cgroup"
group=$cgroup/vstun-test-$(</proc/sys/kernel/random/uuid)
if ! mount -t cgroup2 none "$cgroup" 2>/dev/null || ! mkdir "$group" 2>/dev/null; then
    skip "skipped: needs root"
fi
# The group outlives the namespaces, so its tasks leave it and it is removed.
trap 'code=$?; trap - EXIT; leave_group; finish $code' EXIT
leave_group() {
    wait_for "the control group to go" group_goes
}
group_goes() {
    local pid
    while read -r pid; do
        echo "$pid" >"$cgroup/cgroup.procs" || true
    done <"$group/cgroup.procs" 2>/dev/null
    rmdir "$group" 2>/dev/null
}
[[ -e $group/cpu.pressure ]] || skip "skipped: no pressure stall information"

make_topology
start_web "${REALS[@]}"
for name in "${REALS[@]}"; do
    REAL_KEYS="agent = \"$(in_url "${ADDRESS[$name]}"):$PORT\""
    [[ $name != real1 ]] || REAL_KEYS+=$'\n'"agent_cgroup = \"$group\""
    [[ $name == real1 ]] || REAL_KEYS+=$'\n'"agent_cgroup = \"$WORK/calm\""
    start_real "$name"
done
# The others report no pressure, whatever other tests do on this machine.
mkdir "$WORK/calm"
for what in cpu memory io; do
    echo "some avg10=0.00 avg60=0.00 avg300=0.00 total=0" >"$WORK/calm/$what.pressure"
done
LISTENS="80/tcp"
SERVICE_KEYS="load = \"agent\"
[[service.check]]
type = \"agent\"
port = $PORT
interval = \"500ms\"
timeout = \"2s\""
start_director wlc 1 1 1
heard() { (($(reported real1) >= 0 && $(reported real3) >= 0)); }
wait_for "reports of all three" heard

# Both figures side by side.
hold held 12
at_real2=$(held_at held real2)
wait_for "real2's own count" reports real2 "$at_real2"
ask director list >"$WORK/list.log"
grep -q "ACTIVE.*REPORTED" "$WORK/list.log" || fail "list said: $(<"$WORK/list.log")"
release held 12

# Another task takes real1's CPU.
busy=()
echo "${PID[real1-web]}" >"$group/cgroup.procs"
cpu=$(at vt-real1 python3 -c 'import os; print(min(os.sched_getaffinity(0)))')
# Any waiting task of the group counts; it need not be the web server. All of them are nice to
# the tests beside this one.
for number in 1 2 3; do
    spawn vt-real1 "taker$number" nice -n 10 taskset -c "$cpu" sh -c 'while :; do :; done'
done
spawn vt-real1 waiting sh -c "echo \$\$ >'$group/cgroup.procs'
    exec taskset -c $cpu nice -n 19 sh -c 'while :; do :; done'"
wait_for "real1's weight to fall" weighs real1 "< 0.25"
share=$(share_of real1)
expect_between "requests to real1 of 60 while others have its CPU" "$share" 0 15
weighs real2 "== 1" || fail "real2's weight is $(effective real2)"

for name in taker1 taker2 taker3 waiting; do stop "$name" KILL; done
ended=$SECONDS
wait_for "real1's weight to be back" weighs real1 "> 0.9"
expect_between "seconds until it is back" $((SECONDS - ended)) 0 30
expect_between "requests to real1 of 60 afterwards" "$(share_of real1)" 12 28

# A foreign agent in place of real3's: it sends the content of a file.
stop real3
echo "up 100%" >"$WORK/foreign"
cat >"$WORK/foreign.py" <<'PY'
import socket, sys
address, port, path = sys.argv[1:]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
s = socket.create_server((address, int(port)), family=family)
print("ready", flush=True)
while True:
    client, _ = s.accept()
    client.sendall(open(path, "rb").read())
    client.close()
PY
spawn vt-real3 foreign python3 "$WORK/foreign.py" "${ADDRESS[real3]}" "$PORT" "$WORK/foreign"
wait_for "the foreign agent" log_has foreign ready

REAL_KEYS=
start_real real3
echo "50%" >"$WORK/foreign"
wait_for "real3's weight to follow" weighs real3 "< 0.6"
echo "drain" >"$WORK/foreign"
wait_for "real3 to be out" weighs real3 "== 0"
expect_eq "requests to real3 of 60" "$(share_of real3)" 0
ask director explain tcp "$(in_url "$CLIENT"):4000" "$(in_url "$VIP"):80" >"$WORK/explain.log"
grep -q "${ADDRESS[real3]}: its agent has it out of rotation" "$WORK/explain.log" ||
    fail "explain said: $(<"$WORK/explain.log")"
expect_log director 'real3|rotation up → drain'
echo "ready up 100%" >"$WORK/foreign"
wait_for "real3 to be back" weighs real3 "> 0.9"

# The setting of an owner, who has access to the real server only.
ask real2 disable
wait_for "real2 to be out" weighs real2 "== 0"
expect_eq "requests to real2 of 60" "$(share_of real2)" 0
ask real2 enable
wait_for "real2 to be back" weighs real2 "> 0.9"
expect_accounted

# Flows that are placed by hash follow in steps: few tables, and at the end the first one again.
sed -i 's/^scheduler = .*/scheduler = "mh"/' "$WORK/director.toml"
ask director reload
table() { number director list '.services[0].maglev.checksum'; }
has_table() { [[ $(table) == "$1" ]]; } # CHECKSUM
whole=$(table)
echo "50%" >"$WORK/foreign"
wait_for "real3's step to follow" weighs real3 "<= 0.625"
wait_for "real1's weight to be whole" weighs real1 "== 1"
# About 14, with a deviation of 3.3: the source ports are random.
expect_between "requests to real3 of 60 by mh" "$(share_of real3)" 1 28
has_table "$whole" && fail "the table is the same"
echo "100%" >"$WORK/foreign"
wait_for "the whole table" has_table "$whole"
expect_accounted
