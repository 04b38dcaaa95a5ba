# `vstun doctor` and the other end of the tunnel: another program, another release, a wrong clock,
# and servers that listen on another address only. Each is the first finding, and absent after its
# correction. A flood of inquiries is answered to the director alone, and 50 times a second at most.
# mixes: 4in4 6in6
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
source "$here/doctor.sh"

make_topology
start_web real1 real2
start_real real1 real2
start_echo real1 real2
LISTENS="80/tcp 9000/udp"
start_director rr 1 1
healthy director

# --- a flood --------------------------------------------------------------------------------------

flood() { # NAMESPACE SOURCE
    at "$1" python3 "$here/traffic/inquiries.py" "$2" "${ADDRESS[real1]}" "$CLIENT" "$VIP" 1.5
}
read -r answers elapsed sent < <(flood vt-director "$DIRECTOR")
expect_between "answers to $sent inquiries in $elapsed ms" "$answers" 1 $((2 + elapsed / 20))
(($(refused real1 inquiry_limit) > 0)) || fail "none was dropped for the limit"
before=$(refused real1 source)
read -r answers elapsed sent < <(flood vt-router "${LAN_ROUTERS[$OUTER]}")
expect_eq "answers to a stranger" "$answers" 0
(($(refused real1 source) > before)) || fail "its inquiries are not refused"
healthy director

# --- other ends -----------------------------------------------------------------------------------

# Servers bound to another address of the host only.
stop real2-web
mkdir -p "$WORK/elsewhere"
spawn vt-real2 elsewhere python3 -m http.server --bind "${REAL_ADDRESSES[real2/$INNER]}" 80
listens() { [[ $(at vt-real2 ss -Htln "sport = $1") == *LISTEN* ]]; } # PORT
wait_for "the other listener" listens 80
named director listener "${ADDRESS[real2]}"
[[ $(first text) == *"on another address only"* ]] || fail "it says: $(first text)"
mend vt-real2 | tee "$WORK/shown"
[[ $(<"$WORK/shown") == *"${REAL_ADDRESSES[real2/$INNER]}"* ]] ||
    fail "its command does not show where that server listens"
stop elsewhere
start_web real2
healthy director
stop "real2-echo$INNER"
spawn vt-real2 elsewhere python3 "$here/traffic/udp_echo.py" real2 \
    "${REAL_ADDRESSES[real2/$INNER]}" 9000
wait_for "the other echo server" log_has elsewhere ^ready
named director listener "${ADDRESS[real2]}"
[[ $(first text) == *"on another address only"* ]] || fail "it says: $(first text)"
stop elsewhere
start_echo real2
healthy director

# Ends that are not this release's daemon.
end_with() { # ARGUMENT...
    spawn vt-real1 end python3 "$here/traffic/plain_end.py" "$VIP" "$DIRECTOR" "$@"
    wait_for "the plain end" log_has end ^ready
}
stop real1
end_with
EXIT=0 # what it does may be right
named director version "${ADDRESS[real1]}"
[[ $(first text) == *"not this release's vstun-realserver"* ]] || fail "it says: $(first text)"
expect_eq "requests served through it" "$(fetch 4 | awk '{ n += $1 } END { print n }')" 4
stop end
end_with 0.0.1 0
named director version "${ADDRESS[real1]}"
[[ $(first text) == *"runs vstun 0.0.1"* ]] || fail "it says: $(first text)"
stop end
EXIT=1
end_with "$("$VSTUN_BIN/vstun" --version | cut -d ' ' -f 2)" 3600
named director clock "${ADDRESS[real1]}"
[[ $(first text) == *"3600 s ahead"* || $(first text) == *"3599 s ahead"* ]] ||
    fail "it says: $(first text)"
expect_eq "its command" "$(first 'mend[0]')" "timedatectl set-ntp true"
stop end
start_real real1
healthy director

# In GUE an ICMP error about the tunnel's port is not one about the service's.
stop director
SERVICE_KEYS='encap = "gue"'
start_director rr 1 1
healthy director
stop real1
named director real_server_daemon "${ADDRESS[real1]}"
[[ $(first text) == *"or its \`gue_port\` is not 6080" ]] || fail "it says: $(first text)"
