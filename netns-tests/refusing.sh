# A kernel that refuses offload to one daemon, by a seccomp filter, and the daemon's reaction.
# Sourced after daemons.sh.
# shellcheck shell=bash

refusing() { UNDER=(python3 "$here/traffic/refusing.py" "$1"); }
warnings() { grep -cE 'WARN.*(offload|super-frame)' "$WORK/$1.log" || true; } # DAEMON

both_ways() { # HOW
    at vt-client curl -sSf --max-time 60 -T "$WORK/files/random" "$(url /upload/up)" -o /dev/null
    cmp "$WORK/files/random" "$WORK/real1/upload/up" || fail "$1: the upload differs"
    at vt-client curl -sSf --max-time 60 "$(url /files/random)" | cmp - "$WORK/files/random" ||
        fail "$1: the download differs"
    rm "$WORK/real1/upload/up"
    expect_accounted
}

# The device was created without offload, after one warning.
expect_without() { # DAEMON HOW
    expect_eq "$2, offload" "$(number "$1" stats .offload)" false
    expect_eq "$2, refusals counted" "$(number "$1" stats .offload_refused)" 1
    expect_eq "$2, warnings" "$(warnings "$1")" 1
    expect_log "$1" 'no TUN device with offload'
}
