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

# A name that turns the direction of what follows it: U+202E. The next texts are still to its right.
order=$(evaluate "(() => {
    const turned = 'web\u202emoc';
    const real = {address: '10.0.0.1', state: 'down', why: turned, weight: 1, active: 0,
        inactive: 0, connections: 0, packets: 0, bytes: 0};
    list = {services: [{name: turned, listen: ['x'], scheduler: 'rr', reals: [real]}]};
    measure(Date.now());
    showServices();
    showHost({wrong: [{text: turned, since: '2026-11-29T07:30:00.000Z'}]});
    showEvent({time: '2026-11-29T07:30:01.000Z', who: turned, verb: 'drain', service: turned,
        what: 'state', before: turned, after: 'down'});
    const place = part => {
        const lines = [...part.getClientRects()], tops = lines.map(line => line.top);
        const first = Math.min(...tops), last = Math.max(...tops);
        const of = top => lines.filter(line => Math.abs(line.top - top) < 5);
        return {first, last, left: Math.min(...of(first).map(line => line.left)),
            right: Math.max(...of(last).map(line => line.right))};
    };
    const inOrder = parent => [...parent.children].map(place).every((one, at, all) =>
        at === 0 || one.first > all[at - 1].last + 5 || one.left >= all[at - 1].right - 1);
    const parents = [document.querySelector('#services summary'), $text('faults').firstChild,
        $text('events').firstChild];
    return parents.map(parent => parent.children.length > 1 && inOrder(parent));
})()")
expect_eq "whether the texts of a service, a problem and an event stay in order" \
    "$order" "[true, true, true]"

coproc_line complaints
# The page's first request for events was refused on purpose.
expect_eq "complaints of the browser" \
    "$(python3 -c 'import json, sys
print([one for one in json.loads(sys.argv[1]) if "status of 503" not in one])' "$answer")" "[]"
