# What the page says of real servers, virtual IPs and drops as their states change.
# shellcheck shell=bash

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

hold kept 4
(($(held_at kept real3) > 0)) || fail "no connection of real3 is held"
ask director remove-real "${ADDRESS[real3]}" >/dev/null
shows "a removed real server with its connections" "$text('services').innerText.includes('removed')"
release kept 4
at vt-client python3 -c "import socket, sys
sctp = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 132)
sctp.sendto(bytes(20), (sys.argv[1], 0))" "$VIP"
shows "a drop, what it means and what to do" "$text('drops').rows[0].cells.length == 6 &&
    $text('drops').rows[0].cells[4].innerText.includes('A protocol other than TCP') &&
    $text('drops').rows[0].cells[5].innerText.includes('to an address that is not a VIP')"
