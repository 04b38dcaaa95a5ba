# A thousand clients of the HTTP server that are slow, silent, greedy or endless: packets, the
# control socket and the listening itself go on, health is answered meanwhile, and afterwards no
# client is left.
# mixes: 4in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

answers() { [[ $(at vt-director curl -sS --max-time 5 http://127.0.0.1:9180/healthz) == ok ]]; }
# Kubernetes takes three failures in a row for a dead daemon; a machine that stands still for two
# seconds makes one.
looks_alive() { # PATH
    local answer
    for _ in 1 2 3; do
        answer=$(at vt-director curl -sS --max-time 20 -w ' %{http_code}' \
            "http://127.0.0.1:9180$1") || answer+=" (curl: $?)"
        [[ $answer != *" 200" ]] || return 0
        say "$1 answered: $answer"
    done
    fail "$1 failed three times in a row"
}
open_files() { ls "/proc/${PID[director]}/fd" | wc -l; }
resident() { awk '/^VmRSS/ { print $2 }' "/proc/${PID[director]}/status"; } # KiB

make_topology
start_web real1
start_real real1
DIRECTOR_KEYS='http = "127.0.0.1:9180"'
start_director rr 1
wait_for "HTTP" answers
files=$(open_files) memory=$(resident)

mkfifo "$WORK/hostile.release"
spawn vt-director hostile sh -c "exec python3 '$here/traffic/hostile_http.py' 127.0.0.1 9180 1000 \
    <'$WORK/hostile.release'"
exec {RELEASE[hostile]}>"$WORK/hostile.release"
wait_for "a thousand clients" log_has hostile '^held'
for _ in 1 2 3; do
    expect_eq "served meanwhile" "$(share "$(fetch 20)" real1)" 20
    expect_eq "the control socket meanwhile" "$(number director stats .role)" director
    # What Kubernetes and keepalived poll: a healthy director must not look like a dead one.
    looks_alive /healthz
    looks_alive /readyz
done
expect_between "open files more than before" $(($(open_files) - files)) 1 80
expect_between "memory more than before, MiB" $((($(resident) - memory) / 1024)) -100 64
exec {RELEASE[hostile]}>&-
exit_code hostile
wait_for "HTTP again" answers
few() { (($(open_files) <= files + 2)); }
wait_for "their descriptors closed" few
expect_eq "log lines about them" "$(grep -c 'http: ' "$WORK/director.log" || true)" 0
expect_accounted
