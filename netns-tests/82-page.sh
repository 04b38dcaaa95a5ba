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
read -r -t 90 -u "${BROWSER[0]}" answer || fail "no browser: $(<"$WORK/browser.log")"
shows "live" "$text('live').textContent == 'live'"
shows "a real server" "$text('services').innerText.includes('${ADDRESS[real2]}')"
shows "all three up" "$text('services').innerText.includes('3 of 3 up')"
shows "its checks" "$text('checks').rows.length == 3"
shows "that events cannot be followed" "$text('following').innerText.includes('trying again')"
ask director set-weight "${ADDRESS[real1]}" --weight 2 >/dev/null
for n in 1 2 3 4 5 6 7 8; do stop "listener$n" KILL; done
shows "what has happened before the page could follow" \
    "$text('events').innerText.includes('set-weight')"
shows "a sparkline that moves" "(() => {
    const line = document.querySelector('#services svg[role=img][aria-label] polyline');
    return line && line.getAttribute('points').split(' ').length > 2;
})()"
shows "since when" "/since \\d{4}-\\d\\d-\\d\\d/.test($text('services').innerText)"

# The page changes while it is read: what is selected, scrolled or focused stays. A phone's width
# makes the table scroll.
coproc_line shot 390 "$WORK/phone.png"
expect_eq "fits a phone" "$answer" true
evaluate "(() => {
    const scroll = document.querySelector('#services .scroll');
    scroll.scrollLeft = 150;
    scroll.focus();
    getSelection().selectAllChildren(scroll.querySelector('tbody th'));
    window.announced = 0;
    const count = changes => { window.announced += changes.length; };
    for (const status of document.querySelectorAll('[role=status]')) {
        new MutationObserver(count).observe(status,
            {childList: true, characterData: true, subtree: true});
    }
    window.seen = $text('summary').innerText;
})()" >/dev/null
shows "a later answer" "$text('summary').innerText != window.seen"
expect_eq "what is left after a new answer: scrolling, selection, focus, and what was announced" \
    "$(evaluate "(() => {
    const scroll = document.querySelector('#services .scroll');
    return [scroll.scrollLeft, String(getSelection()).trim(), document.activeElement == scroll,
        window.announced];
})()")" "[150, \"${ADDRESS[real1]}\", true, 0]"
evaluate "getSelection().removeAllRanges()" >/dev/null

# For screen readers: names of tables and rows, and what is announced.
expect_eq "tables without a name, rows without a head, regions that scroll without the keyboard" \
    "$(evaluate "[[...document.querySelectorAll('table')].filter(one => !(one.ariaLabel ||
        document.getElementById(one.getAttribute('aria-labelledby')))).length,
    document.querySelectorAll('#services tbody tr:not(:has(th[scope=row]))').length,
    document.querySelectorAll('.scroll:not([tabindex])').length]")" "[0, 0, 0]"
expect_eq "what is announced" "$(evaluate "['live', 'shown', 'following'].map(
    id => $text(id).getAttribute('role')).concat($text('events').getAttribute('aria-live'))")" \
    '["status", "status", "status", "polite"]'
colours='["--good", "--bad", "--odd", "--soft", "--accent"].map(
    name => getComputedStyle(document.documentElement).getPropertyValue(name))'
coproc_line scheme light
light=$(evaluate "[...$colours, getComputedStyle(document.body).color]")
coproc_line scheme dark
dark=$(evaluate "[...$colours, getComputedStyle(document.body).color]")
expect_eq "colours that are the same in the dark" "$(evaluate "(() => {
    const dark = $dark;
    return $light.filter((colour, at) => colour == dark[at]).length;
})()")" 0
coproc_line scheme light
# The page, and the first answers that it asks for.
first_view=$(evaluate "(() => {
    const loaded = performance.getEntries().filter(one => one.transferSize > 0);
    const named = path => loaded.find(one => one.name.endsWith(path));
    const all = [loaded.find(one => one.entryType == 'navigation'), named('/list'),
        named('/stats'), named('/drops'), named('/checks')];
    return all.reduce((sum, one) => sum + (one ? one.transferSize : 0), 0);
})()")
expect_between "bytes of the first view" "$first_view" 10000 100000

stop real2-web KILL
shows "a real server that is down, and why" \
    "$text('services').innerText.includes('connection refused')"
# Its checks' time is not that of the verb.
ask director disable "${ADDRESS[real1]}" >/dev/null
set_at=$(ask director list --json | jq -r '.services[0].reals[0].wanted_since' |
    sed 's/T/ /; s/\..*//')
[[ $set_at == 20*:* ]] || fail "when it was disabled: $set_at"
shows "since when one is disabled, and its checks apart" \
    "(text => text.includes('disabled since ') && !text.includes('disabled, all checks pass') &&
        text.includes('checks: all checks pass since '))($text('services').innerText)"
evaluate "$text('services').innerText.match(/disabled since ([^Z]*)Z/)[1]" >"$WORK/shown"
# Both round the age of the change, so they may differ by a second.
expect_between "seconds between that and what \`list\` says" \
    $(($(date -d "$(jq -r . "$WORK/shown")" +%s) - $(date -d "$set_at" +%s))) -1 1
ask director disable "${ADDRESS[real3]}" >/dev/null
shows "why no real server serves" "$text('services').innerText.includes(
    'no real server takes connections: 1 down, 2 disabled')"
ask director enable "${ADDRESS[real1]}" >/dev/null
ask director enable "${ADDRESS[real3]}" >/dev/null
ask director withdraw "$VIP" >/dev/null
shows "a withdrawn virtual IP" \
    "!$text('withdrawn').hidden && $text('withdrawn').innerText.endsWith('director: $VIP')"
ask director announce "$VIP" >/dev/null
shows "an announced one" "$text('withdrawn').hidden"
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
shows "a drop, what it means and what to do" "$text('drops').rows[0].cells.length == 6 &&
    $text('drops').rows[0].cells[4].innerText.includes('A protocol other than TCP') &&
    $text('drops').rows[0].cells[5].innerText.includes('to an address that is not a VIP')"

if [[ -n $SHOTS ]]; then # the pictures of the documentation: clients for a minute
    spawn vt-client clients sh -c 'for n in 1 2 3 4 5 6 7 8; do
        curl -s -H "Connection: close" -o /dev/null "$1?[1-400]"; sleep $((n % 3)); done' sh \
        "$(url /)"
    exit_code clients
    evaluate "document.activeElement.blur();
        document.querySelectorAll('.scroll').forEach(one => { one.scrollLeft = 0; })" >/dev/null
    coproc_line shot 390 "$SHOTS/page-phone.png"
    coproc_line scheme dark
    coproc_line shot 1200 "$SHOTS/page-dark.png"
    coproc_line scheme light
    coproc_line shot 1200 "$SHOTS/page.png"
fi

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
coproc_line complaints
# The listeners above were refused on purpose.
expect_eq "complaints of the browser" \
    "$(python3 -c 'import json, sys
print([one for one in json.loads(sys.argv[1]) if "status of 503" not in one])' "$answer")" "[]"

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
    const pace = performance.now() - start < 10000 ? 'quick' : 'slow';
    return count('details') + ' services, ' + count('tbody tr') + ' rows, ' + pace;
})()" )
expect_eq "drawn of 1,000 services of 20" "$drawn" '"1000 services, 0 rows, quick"'
