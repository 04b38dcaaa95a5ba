# Text from outside stays text, and the browser complains of nothing.
# shellcheck shell=bash

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

coproc_line complaints
# The page's first request for events was refused on purpose.
expect_eq "complaints of the browser" \
    "$(python3 -c 'import json, sys
print([one for one in json.loads(sys.argv[1]) if "status of 503" not in one])' "$answer")" "[]"
