# A kernel that refuses offload to one daemon, by a seccomp filter, and the daemon's reaction.
# Sourced after daemons.sh.
# shellcheck shell=bash

refusing() { UNDER=(python3 "$here/traffic/refusing.py" "$1"); }
warnings() { grep -cE 'WARN.*(offload|super-frame)' "$WORK/$1.log" || true; } # DAEMON

# A client, a real server and a director that merges, without the daemons.
make_refusing_bed() {
    make_topology
    start_web real1
    gro vt-director eth0 on
    head -c 3000000 /dev/urandom >"$WORK/files/random"
}

# The device was created without offload, after one warning.
expect_without() { # DAEMON HOW
    expect_eq "$2, offload" "$(number "$1" stats .offload)" false
    expect_eq "$2, refusals counted" "$(number "$1" stats .offload_refused)" 1
    expect_eq "$2, warnings" "$(warnings "$1")" 1
    expect_log "$1" 'no TUN device with offload'
}
