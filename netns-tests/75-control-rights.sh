# Access to the control socket: its owner, its group and root may make changes, every user who can
# connect may read, and neither many readers nor clients that never read keep others out. A unix
# socket of HTTP admits the same clients.
# usual: 6in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
source "$here/host_state.sh"

state() {
    ask director list --json | jq -c '[.services[].reals[] | {address, weight, state}] + .vips'
}

make_topology
start_director wrr 1 1
expect_eq "mode of the socket" "$(stat -c %a "$CONTROL/director.sock")" 660
stop director

# A user namespace may have one user and one group only.
can_be_others() {
    touch "$WORK/own" && chgrp 4242 "$WORK/own" &&
        setpriv --reuid 1000 --regid 1000 --clear-groups true
}
if ! can_be_others 2>/dev/null; then
    say "there is no other user here: the right to make changes is not tested"
    exit 0
fi
DIRECTOR_KEYS=$'control_mode = "0666"\ncontrol_group = "4242"'
start_director wrr 1 1
expect_eq "mode and group of the socket" "$(stat -c '%a %g' "$CONTROL/director.sock")" "666 4242"
cp "$VSTUN_BIN/vstun" "$WORK/vstun" # where every user can run it
as() { # "FLAG..." VERB...
    # shellcheck disable=SC2086 # flags
    at vt-director setpriv --reuid 1000 --regid 1000 $1 "$WORK/vstun" \
        --socket "$CONTROL/director.sock" "${@:2}"
}
as --clear-groups list >"$WORK/stranger.log"
before=$(state)
expect_fails "a stranger's change" as --clear-groups set-weight "${ADDRESS[real1]}" --weight 9 \
    2>"$WORK/stranger.log"
grep -q 'uid 1000 gid 1000 .*may read but not change' "$WORK/stranger.log" ||
    fail "the stranger was told: $(cat "$WORK/stranger.log")"
expect_log director 'set-weight: uid 1000'
expect_eq "after the stranger's change" "$(state)" "$before"
expect_fails "a stranger's plan, which takes work" as --clear-groups plan "$WORK/director.toml" \
    2>"$WORK/stranger.log"
grep -q 'uid 1000 gid 1000 .*may read but not' "$WORK/stranger.log" ||
    fail "the stranger was told: $(cat "$WORK/stranger.log")"
for _ in {1..20}; do
    as --clear-groups set-weight "${ADDRESS[real1]}" --weight 9 2>/dev/null || :
done
expect_eq "lines about refused strangers" "$(grep -c 'may read but not' "$WORK/director.log")" 1
# Root is served although strangers hold every connection that they may have.
spawn vt-director crowd python3 "$here/traffic/crowd.py" "$CONTROL/director.sock"
wait_for "the crowd of strangers" log_has crowd '^served'
expect_eq "strangers served, each instead of an idle one" "$(cat "$WORK/crowd.log")" "served 40"
ask director enable "${ADDRESS[real1]}"
stop crowd
as "--groups 4242" set-weight "${ADDRESS[real1]}" --weight 9
expect_eq "weight after a member's change" "$(real_field real1 weight)" 9
expect_log director 'weight 1 → 9 .set-weight by operator, uid 1000 gid 1000 pid'

# Root's own clients take all slots again and again, and never read.
spawn vt-director stuck python3 "$here/traffic/stuck.py" "$CONTROL/director.sock"
wait_for "clients that do not read" log_has stuck '^stuck'
for _ in {1..5}; do
    ask director enable "${ADDRESS[real1]}"
done
stop stuck
expect_log director 'control socket: 32 clients have connected, and some of them do not send'

# HTTP, where the daemon may give the socket's file to the group and where it may not.
http() { # FLAG...: the status, 000 without a connection
    at vt-director setpriv --reuid 1000 --regid 1000 "$@" curl -s --max-time 30 -o /dev/null \
        -w '%{http_code}' --unix-socket "$CONTROL/http.sock" http://localhost/healthz || :
}
DIRECTOR_KEYS=$'control_group = "4242"\nhttp = "'$CONTROL/http.sock$'"'
for under in "env" "setpriv --bounding-set=-chown --inh-caps=-chown"; do
    stop director
    read -r -a UNDER <<<"$under"
    start_director wrr 1 1
    case ${UNDER[0]} in
        env) mode=660 status=000 ;;
        *) mode=666 status=403 ;;
    esac
    for name in director http; do
        expect_eq "mode of the $name's socket" "$(stat -c %a "$CONTROL/$name.sock")" "$mode"
    done
    expect_eq "what HTTP answers to a member" "$(http --groups 4242)" 200
    expect_eq "what HTTP answers to a stranger" "$(http --clear-groups)" "$status"
done
UNDER=()

# A group that does not exist is refused before the host is changed.
stop director
host_state vt-director >"$WORK/before"
DIRECTOR_KEYS='control_group = "no-such-group"'
configure "$WORK/director.toml" wrr 1
spawn vt-director director "$VSTUN_BIN/vstun-director" --config "$WORK/director.toml"
exit_code director
expect_eq "exit code with a group that is not there" "$CODE" 1
expect_log director 'control_group: there is no group "no-such-group"'
expect_host_state "after that" vt-director "$WORK/before"
