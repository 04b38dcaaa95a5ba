# The status page in a browser: services and real servers as they come and go, drops, checks and
# events, hostile names as text, and no violation of its content policy. Without Chromium the test
# is skipped.
# mixes: 6in4
# first: a browser starts slowly
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
command -v chromium >/dev/null || skip "no chromium here: apt-get install chromium"

SHOTS=${SHOTS:-}  # a folder for pictures of the page

coproc_line() {
    echo "$*" >&"${BROWSER[1]}"; read -r -t 180 -u "${BROWSER[0]}" answer ||
        fail "the browser has not answered to: $*"
}
evaluate() { coproc_line eval "${1//$'\n'/ }"; echo "$answer"; }            # EXPRESSION
shows() { # WHAT EXPRESSION
    coproc_line wait "${2//$'\n'/ }"
    [[ $answer == true ]] ||
        fail "$1: not seen within two minutes; the page says: $(evaluate document.body.innerText)"
}
text='document.getElementById'

make_topology
start_web "${REALS[@]}"
start_real "${REALS[@]}"
DIRECTOR_KEYS='http = "127.0.0.1:9180"'
SERVICE_KEYS='[[service.check]]
type = "http"
interval = "200ms"
fast_interval = "50ms"
timeout = "500ms"'
start_director wlc 1 1 1
fetch 30 >"$WORK/fetched.log"

# As many listeners to events as the daemon serves: the page is refused at first.
for n in 1 2 3 4 5 6 7 8; do
    spawn vt-director "listener$n" curl -sN http://127.0.0.1:9180/api/v1/events
done
for n in 1 2 3 4 5 6 7 8; do
    wait_for "listener $n" grep -q 'events follow' "$WORK/listener$n.log"
done

mkdir "$WORK/home"
export HOME=$WORK/home
coproc BROWSER { at vt-director python3 "$here/traffic/browser.py" http://127.0.0.1:9180/ \
    "$WORK/home/profile" 2>"$WORK/browser.log"; }
read -r -t 180 -u "${BROWSER[0]}" answer || fail "no browser: $(<"$WORK/browser.log")"

# In one browser, since it starts slowly. `foreign` and `many` replace the page's data.
parts=(live reading readers states foreign many)
[[ -z $SHOTS ]] || parts=(live reading readers states pictures foreign many)
for part in "${parts[@]}"; do
    say "$part"
    source "$here/page/$part.sh"
done
