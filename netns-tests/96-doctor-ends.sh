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
if [[ $INNER == 4 ]]; then
    # nginx: `listen [::]:80;` alone.
    spawn vt-real2 elsewhere python3 -c '
import socket
server = socket.socket(socket.AF_INET6)
server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
server.bind(("::", 80))
server.listen()
server.accept()'
    wait_for "the listener for IPv6" listens 80
    named director listener "${ADDRESS[real2]}"
    [[ $(first text) == *"for IPv6 only"* ]] || fail "it says: $(first text)"
    stop elsewhere
fi
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

# --- GUE at the real server -----------------------------------------------------------------------

# Its configuration names no encapsulation, and its firewall lets only IP in IP in.
at vt-real1 nft -f - <<-NFT
	table inet filter {
	    chain input {
	        type filter hook input priority 0; policy drop
	        ct state established,related accept
	        meta l4proto { 1, 4, 41, 58 } accept
	        iifname "vstun0" accept
	    }
	}
	NFT
start_real real1
named real1 firewall
[[ $(first severity) == warning ]] || fail "it is a $(first severity)"
mend vt-real1
healthy director
healthy real1
stop real1
at vt-real1 nft delete table inet filter

# Another program has the port; the daemon takes it when it is free.
spawn vt-real1 taker python3 -c '
import socket
end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end.bind(("0.0.0.0", 6080))
print("ready", flush=True)
while True: end.recv(2000)'
wait_for "the other program" log_has taker ^ready
start_real real1
named real1 gue_ports
mend vt-real1 | tee "$WORK/shown"
[[ $(<"$WORK/shown") == *python3* ]] || fail "its command does not show the program"
expect_eq "what the daemon reports" "$(ask real1 stats --json | jq -c '[.host.wrong[].what]')" \
    '["gue"]'
stop taker
healthy real1
healthy director
