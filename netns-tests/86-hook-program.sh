# `hooks`: a program runs for each change, in order, with the change in its environment. A run that
# hangs is killed with its children, and the program still runs for the next change. If the programs
# of hooks and checks are on a file system that does not answer, nothing else waits for them.
# usual: 6in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

told() { cat "$WORK/told" 2>/dev/null || true; }
has_told() { told | grep -qxF -- "$1"; } # LINE

make_topology
start_web real1 real2
start_real real1 real2
cat >"$WORK/hook" <<'SH'
#!/bin/sh
printf '%s' "$VSTUN_JSON" >"$1.json"
change="$VSTUN_EVENT|$VSTUN_SERVICE|$VSTUN_ADDRESS|$VSTUN_BEFORE|$VSTUN_AFTER"
echo "$change|$VSTUN_WHY|$VSTUN_WHO|$VSTUN_LOST|$NOTIFY_SOCKET" >>"$1"
if [ "$VSTUN_EVENT|$VSTUN_AFTER" = "state|disabled" ]; then
    trap '' TERM
    (trap '' TERM; exec sleep 987) &
    wait
fi
SH
chmod +x "$WORK/hook"
DIRECTOR_KEYS="hooks = [\"$WORK/hook\", \"$WORK/told\"]
withdraw_without_quorum = true"
SERVICE_KEYS='[[service.check]]
type = "tcp"
port = 80
interval = "200ms"
fast_interval = "50ms"
timeout = "5s"
[[service.check]]
type = "exec"
command = ["'$WORK/check'"]
interval = "200ms"
timeout = "2s"'
printf '#!/bin/sh\n' >"$WORK/check"
chmod +x "$WORK/check"
start_director rr 1 1

stop real1-web KILL
wait_for "real1's end to be told" has_told \
    "health|web|${ADDRESS[real1]}|up|down|tcp check failed: connection refused|health|0|"
expect_eq "the event in JSON" "$(jq -r '"\(.what) \(.address)"' "$WORK/told.json")" \
    "health ${ADDRESS[real1]}"
stop real2-web KILL
wait_for "the withdrawal to be told" has_told \
    "announced||$VIP|true|false|none of its services has its quorum|health|0|"
expect_eq "what was told, in order" "$(told | cut -d'|' -f1,4,5 | tr '\n' ' ')" \
    "health|up|down health|up|down quorum|reached|lost announced|true|false "
start_web real1
wait_for "the return to be told" has_told \
    "announced||$VIP|false|true|a service of it has its quorum|health|0|"

# A hook that hangs delays only the changes behind it, and only for its time limit.
ask director disable "${ADDRESS[real1]}"
ask director enable "${ADDRESS[real1]}"
expect_eq "requests served meanwhile" "$(fetch 10 | wc -l)" 1
wait_for "the hook that hangs" has_told "state|web|${ADDRESS[real1]}|up|disabled||operator|0|"
wait_for "what came after it" has_told "state|web|${ADDRESS[real1]}|disabled|up||operator|0|"
expect_eq "what it has started" "$(pgrep -f 'sleep 987' | wc -l)" 0
hooks_counted() { number director stats '.hooks | "\(.failed) \(.killed) \(.dropped)"'; }
wait_for "the last one to be counted" eval '[[ $(hooks_counted) == "1 1 0" ]]'

# The file system with the programs does not answer.
mkfifo "$WORK/keep"
spawn vt-director lease sh -c \
    "exec python3 '$here/traffic/leased.py' '$WORK/hook' '$WORK/check' <'$WORK/keep'"
exec {keep}>"$WORK/keep"
wait_for "the check to be started" log_has lease 'wanted .*/check'
wait_for "the hook to be started for its failure" log_has lease 'wanted .*/hook'
ask director status >/dev/null
passing='[.checks[] | select(.state == "up") | .check] | unique | join(" ")'
expect_eq "checks that pass meanwhile" "$(number director checks "$passing")" tcp
exec {keep}>&-
stop lease
is_up() { [[ $(real_field real1 state) == up ]]; }
wait_for "the real server to pass its checks again" is_up

# A director that stops does not wait for a hook that hangs.
ask director disable "${ADDRESS[real1]}"
wait_for "the hook that hangs again" eval '(($(told | grep -c "|disabled|") >= 2))'
stop director
expect_eq "exit code" "$CODE" 0
expect_log director 'the hook program has not run for every event: the director stops'
expect_eq "what it has started" "$(pgrep -f 'sleep 987' | wc -l)" 0
