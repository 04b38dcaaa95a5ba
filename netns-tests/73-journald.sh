# A real journald takes the log of a daemon whose standard error is its stream, as under systemd:
# each line has the priority of its level, and neither prefix nor time stamp is left in it.
# mixes: 4in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

journald=/lib/systemd/systemd-journald
if [[ ! -x $journald || ! -s /etc/machine-id ]]; then
    say "no systemd-journald here: not tried"
    exit 0
fi
entries() { # FILTER: of jq, on each entry
    journalctl --directory=/run/log/journal --no-pager -o json -t vstun-director |
        jq -r "select(.MESSAGE | type == \"string\") | $1"
}
has() { [[ -n $(entries "select(.MESSAGE | test(\"$1\")) | .MESSAGE") ]]; }                # PATTERN
priorities() { entries "select(.MESSAGE | test(\"$1\")) | .PRIORITY" | sort -u | xargs; } # PATTERN

make_topology
mkdir -p /run/systemd/journal{,d.conf.d} "/run/log/journal/$(</etc/machine-id)"
printf '[Journal]\nReadKMsg=no\n' >/run/systemd/journald.conf.d/quiet.conf
# It asks for its control group, which a namespace's own /sys lacks.
spawn vt-director journald sh -c "mount -t cgroup2 none /sys/fs/cgroup && exec $journald"
wait_for "the journal" systemd-cat true 2>"$WORK/waiting.log"

configure "$WORK/director.toml" rr 1
# systemd sets the variable for a unit; systemd-cat does not.
# shellcheck disable=SC2016 # for the inner shell
spawn vt-director director systemd-cat --level-prefix=true -t vstun-director sh \
    -c 'JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2) exec "$@"' sh \
    "$VSTUN_BIN/vstun-director" --config "$WORK/director.toml"
wait_for "readiness in the journal" has ': ready$'
ask director set-weight "${ADDRESS[real1]}" --weight 3 >/dev/null
echo 'nonsense = 1' >>"$WORK/director.toml"
kill -HUP "${PID[director]}"
wait_for "the refused reload" has nonsense
stop director
wait_for "the end" has 'has stopped'

expect_eq "priority of readiness" "$(priorities ': ready$')" 6
expect_eq "of a warning" "$(priorities 'forwarding is turned on')" 4
expect_eq "of a refused reload" "$(priorities nonsense)" 3
expect_eq "of a change, with who did it" \
    "$(priorities 'weight 1 → 3 .set-weight by operator, uid 0 gid 0 pid [0-9]+.')" 6
expect_eq "lines with a prefix or a time stamp" \
    "$(entries 'select(.MESSAGE | test("^<[0-7]>|^\\[?20[0-9][0-9]-")) | .MESSAGE')" ""
expect_eq "where they come from" "$(entries '._TRANSPORT' | sort -u)" stdout
