# Text from outside stays text, and the browser complains of nothing.
# shellcheck shell=bash

# A check's result contains text from outside: here a status line that a browser would interpret as
# markup. In one go, since the next answer replaces it.
hostile=$(evaluate "(() => {
    const hostile = {address: '<i>1</i>', state: 'down', why: '<script>alert(2)</script>',
        weight: 1, active: 0, inactive: 0, connections: 0, packets: 0, bytes: 0};
    const long = 'x'.repeat(200);
    list = {services: [{name: '<img src=x onerror=alert(1)>' + long, listen: ['<b>x</b>'],
        scheduler: 'rr', outage: long, reals: [hostile]}]};
    measure(Date.now());
    showServices();
    showEvent({time: '2026-11-29T07:30:00.000Z', who: 'operator', what: long});
    const markup = document.querySelectorAll('#services img, #services i, #services script');
    const {scrollWidth, clientWidth} = document.documentElement;
    return [markup.length, $text('services').innerText.includes('<script>alert(2)</script>'),
        scrollWidth <= clientWidth, history.size];
})()")
expect_eq "markup made from hostile names, whether they are text and fit, and servers remembered" \
    "$hostile" "[0, true, true, 1]"

coproc_line complaints
# The page's first request for events was refused on purpose.
expect_eq "complaints of the browser" \
    "$(python3 -c 'import json, sys
print([one for one in json.loads(sys.argv[1]) if "status of 503" not in one])' "$answer")" "[]"
