# The page follows what happens, and catches up with what it could not follow.
# shellcheck shell=bash

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

# The page, and the first answers that it asks for.
first_view=$(evaluate "(() => {
    const loaded = performance.getEntries().filter(one => one.transferSize > 0);
    const named = path => loaded.find(one => one.name.endsWith(path));
    const all = [loaded.find(one => one.entryType == 'navigation'), named('/list'),
        named('/stats'), named('/drops'), named('/checks')];
    return all.reduce((sum, one) => sum + (one ? one.transferSize : 0), 0);
})()")
expect_between "bytes of the first view" "$first_view" 10000 100000
