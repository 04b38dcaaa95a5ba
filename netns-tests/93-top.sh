# `vstun top` in a terminal of 80 by 24: rates while traffic flows, a real server that goes down,
# keys; `q` and SIGTERM leave the terminal as it was. This and other commands that run until they
# are ended go when their terminal or their reader has gone.
# mixes: 6in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
command -v tmux >/dev/null || skip "skipped: no tmux here: apt-get install tmux"

export LANG=C.UTF-8 TERM=screen TMUX_TMPDIR=$WORK
terminal() { tmux -u -f /dev/null -L top "$@"; }
screen() { terminal capture-pane -p; }
shows() { screen | grep -E -- "$1" >/dev/null; }              # PATTERN
lacks() { if shows "$1"; then return 1; fi; }                 # PATTERN
see() { wait_for "$1 on the screen" shows "$1"; say "seen: $1"; } # PATTERN
press() { terminal send-keys "$@"; }

make_topology
start_web "${REALS[@]}"
start_real "${REALS[@]}"
SERVICE_KEYS='[[service.check]]
type = "http"
interval = "200ms"
fast_interval = "50ms"
timeout = "500ms"'
start_director wlc 1 1 1

# Each top runs in this shell, which prints the terminal's settings afterwards.
cat >"$WORK/shell.sh" <<SHELL
while read -r command; do
    stty -a >$WORK/before
    \$command
    echo "ended with \$?"
    stty -a >$WORK/after
done
SHELL
at vt-director tmux -u -f /dev/null -L top new-session -d -x 80 -y 24 "sh $WORK/shell.sh"
top="$VSTUN_BIN/vstun --socket $CONTROL/director.sock top --interval 200ms"
ended() { # HOW: the terminal is as before
    see "ended with 0"
    wait_for "the shell" test -s "$WORK/after"
    expect_eq "$1, other screen" "$(terminal display -p '#{alternate_on}')" 0
    expect_eq "$1, cursor" "$(terminal display -p '#{cursor_flag}')" 1
    cmp "$WORK/before" "$WORK/after" || fail "$1: the terminal's modes differ"
}

press "$top" Enter
see "SERVICE, REAL SERVER"
see "web .*3 of 3 up"
see "${ADDRESS[real1]} +up"
expect_eq "other screen meanwhile" "$(terminal display -p '#{alternate_on}')" 1
hold held 9
see "^conns 9/"
stop real2-web KILL
see "web .*2 of 3 up"
see "${ADDRESS[real2]} +down"
press s
wait_for "what is down first" sh \
    -c "tmux -L top capture-pane -p | sed -n 5p | grep '${ADDRESS[real2]}' >/dev/null"
press j Enter
see "${ADDRESS[real2]} of service web"
see "why .*http"
press Escape 2
see "LAST RESULT"
press 3
see "MEANING"
press 4
see "up → down"
press 1 /
press -l "${ADDRESS[real3]}"
press Enter
wait_for "the filter" lacks "${ADDRESS[real1]}"
see "${ADDRESS[real3]} +up"
press q
ended "after q"

# A terminal that goes while the library waits for a key.
for gone in gone1 gone2 gone3; do
    at vt-director tmux -u -f /dev/null -L "$gone" new-session -d -x 80 -y 24 "$top"
    wait_for "top" sh -c "tmux -L $gone capture-pane -p | grep 'SERVICE, REAL SERVER' >/dev/null"
    tmux -L "$gone" kill-server
done
no_top() { if pgrep -f 'vstun .* top' >/dev/null; then return 1; fi; }
wait_for "the end of each top without a terminal" no_top
python3 "$here/traffic/hangup.py" "$VSTUN_BIN/vstun" "$CONTROL/director.sock" >"$WORK/hangup.log"
grep 'lives' "$WORK/hangup.log" && fail "a command outlives its terminal or its reader"
expect_eq "commands and ways in which they end" "$(grep -c 'ended$' "$WORK/hangup.log")" 15

rm "$WORK/after"
terminal clear-history
press clear Enter
press "$top" Enter
see "SERVICE, REAL SERVER"
stop director
see "no news: no daemon answers"
pkill -TERM -n -f 'vstun .* top'
ended "after SIGTERM"
terminal kill-server
