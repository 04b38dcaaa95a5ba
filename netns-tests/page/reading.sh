# The page changes while it is read: what is selected, scrolled or focused stays. A phone's width
# makes the table scroll.
# shellcheck shell=bash

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
