# The pictures of the documentation in the folder SHOTS: clients for a minute.
# shellcheck shell=bash

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
