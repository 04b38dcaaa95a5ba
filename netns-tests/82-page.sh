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
    echo "$*" >&"${BROWSER[1]}"; read -r -t 90 -u "${BROWSER[0]}" answer ||
        fail "the browser has not answered to: $*"
}
evaluate() { coproc_line eval "${1//$'\n'/ }"; echo "$answer"; }            # EXPRESSION
shows() { # WHAT EXPRESSION
    coproc_line wait "${2//$'\n'/ }"
    [[ $answer == true ]] ||
        fail "$1: not seen within a minute; the page says: $(evaluate document.body.innerText)"
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

mkdir "$WORK/home"
export HOME=$WORK/home
coproc BROWSER { at vt-director python3 "$here/traffic/browser.py" http://127.0.0.1:9180/ \
    "$WORK/home/profile" 2>"$WORK/browser.log"; }
read -r -t 90 -u "${BROWSER[0]}" answer || fail "no browser: $(<"$WORK/browser.log")"
shows "live" "$text('live').textContent == 'live'"
shows "a real server" "$text('services').innerText.includes('${ADDRESS[real2]}')"
shows "all three up" "$text('services').innerText.includes('3 of 3 up')"
shows "its checks" "$text('checks').rows.length == 3"
# The page, and the first answers that it asks for.
first_view=$(evaluate "(() => {
    const loaded = performance.getEntries().filter(one => one.transferSize > 0);
    const named = path => loaded.find(one => one.name.endsWith(path));
    const all = [loaded.find(one => one.entryType == 'navigation'), named('/list'),
        named('/stats'), named('/drops'), named('/checks')];
    return all.reduce((sum, one) => sum + (one ? one.transferSize : 0), 0);
})()")
expect_between "bytes of the first view" "$first_view" 10000 100000
[[ -z $SHOTS ]] ||
    { fetch 3000 >/dev/null; pause 5; coproc_line shot 1200 "$SHOTS/page.png"
coproc_line shot 390 "$SHOTS/page-phone.png"; coproc_line shot 1200 "$SHOTS/page.png"; }

stop real2-web KILL
shows "a real server that is down, and why" \
    "$text('services').innerText.includes('connection refused')"
shows "two up" "$text('services').innerText.includes('2 of 3 up')"
shows "the event" "$text('events').innerText.includes('up → down')"
evaluate "$text('problems').click()" >/dev/null
shows "only what needs attention" "document.querySelectorAll('#services tbody tr').length == 1"
evaluate "$text('problems').click()" >/dev/null
evaluate "$text('search').value = '${ADDRESS[real3]}';
    $text('search').dispatchEvent(new Event('input'))" >/dev/null
shows "only what is searched" "document.querySelectorAll('#services tbody tr').length == 1"
evaluate "$text('search').value = ''; $text('search').dispatchEvent(new Event('input'))" >/dev/null

ask director remove-real "${ADDRESS[real3]}" >/dev/null
shows "a removed real server with its connections" "$text('services').innerText.includes('removed')"
at vt-client python3 -c "import socket, sys
sctp = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 132)
sctp.sendto(bytes(20), (sys.argv[1], 0))" "$VIP"
shows "a drop and what it means" "$text('drops').rows[0].cells.length == 4 &&
    $text('drops').rows[0].cells[3].innerText.length > 10"

# A check's result contains text from outside: here a status line that a browser would interpret as
# markup. In one go, since the next answer replaces it.
hostile=$(evaluate "(() => {
    const hostile = {address: '<i>1</i>', state: 'down', why: '<script>alert(2)</script>',
        weight: 1, active: 0, inactive: 0, connections: 0, packets: 0, bytes: 0};
    list = {services: [{name: '<img src=x onerror=alert(1)>', listen: ['<b>x</b>'],
        scheduler: 'rr', reals: [hostile]}]};
    measure(Date.now());
    showServices();
    const markup = document.querySelectorAll('#services img, #services i, #services script');
    return [markup.length, $text('services').innerText.includes('<script>alert(2)</script>')];
})()")
expect_eq "markup made from hostile names, and whether they are text" "$hostile" "[0, true]"

# Every control can be reached by the keyboard.
expect_eq "controls without the keyboard" \
    "$(evaluate \
    "[...document.querySelectorAll('summary, input')].filter(one => one.tabIndex < 0).length")" 0
coproc_line shot 390 "$WORK/phone.png"
expect_eq "fits a phone" "$answer" true
coproc_line complaints
expect_eq "complaints of the browser" "$answer" "[]"

# A thousand services of twenty: the page is drawn in a moment, with closed services. In one go,
# since the next answer replaces them.
drawn=$(evaluate "(() => {
    const real = r => ({address: '10.0.' + r + '.1', state: 'up', weight: 1, active: 1,
        inactive: 0, connections: 5, packets: 5, bytes: 5});
    const service = n => ({name: 'service-' + n, listen: ['192.0.2.10:' + n + '/tcp'],
        scheduler: 'wlc', reals: Array.from({length: 20}, (_, r) => real(r))});
    list = {services: Array.from({length: 1000}, (_, n) => service(n))};
    const start = performance.now();
    measure(Date.now());
    showServices();
    const count = what => document.querySelectorAll('#services ' + what).length;
    const pace = performance.now() - start < 2000 ? 'quick' : 'slow';
    return count('details') + ' services, ' + count('tbody tr') + ' rows, ' + pace;
})()" )
expect_eq "drawn of 1,000 services of 20" "$drawn" '"1000 services, 0 rows, quick"'
