# For screen readers: names of tables and rows, and what is announced. For all: colours in the dark,
# and the keyboard.
# shellcheck shell=bash

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

# Every control can be reached by the keyboard.
expect_eq "controls without the keyboard" \
    "$(evaluate \
    "[...document.querySelectorAll('summary, input')].filter(one => one.tabIndex < 0).length")" 0
