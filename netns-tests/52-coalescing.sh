# If the real server's NIC does not merge, simultaneous segments of one stream are merged into one
# frame for the TUN: an upload arrives whole, UDP keeps its datagrams, and the kernel still finds a
# wrong checksum.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

SIZE=20000000
tcp_wrong() { at vt-real1 cat /proc/net/snmp | awk '/^Tcp:/ && $2 ~ /^[0-9]/ { print $NF }'; }
delivered_all() { (($(number real1 stats .delivered) >= $1)); }

# Alternating segments and datagrams, sent while the daemon is stopped, so that it reads them as one
# batch.
in_one_batch() { # COUNT [WRONG]
    local before arrived
    before=$(number real1 stats .delivered)
    arrived=$(tunnelled_packets)
    pause_program real1
    at vt-director python3 "$here/traffic/segments.py" "$DIRECTOR" "${ADDRESS[real1]}" "$CLIENT" \
        "$VIP" 9000 "$@"
    wait_for "the batch to arrive" have_arrived $((arrived + 2 * $1))
    kill -CONT "${PID[real1]}"
    wait_for "the batch to be delivered" delivered_all $((before + 2 * $1))
}

make_topology
count_tunnelled_packets
start_web real1
head -c "$SIZE" /dev/urandom >"$WORK/files/random"
start_real real1
start_director rr 1
upload real1
expect_eq "super-packets from the NIC" "$(number real1 stats .super_packets)" 0
packets=$(number real1 stats .coalesced_packets)
expect_between "packets coalesced" "$packets" $((SIZE / MSS / 4)) $((SIZE / 400))
expect_between "frames of them" "$(number real1 stats .coalesced_frames)" 1 $((packets / 2))
expect_eq "writes that the kernel refused" "$(number real1 stats '[.write_errors[]] | add')" 0
expect_eq "segments with a wrong checksum" "$(tcp_wrong)" 0
expect_accounted
expect_direct_replies 1

start_echo real1
before=$(counter vt-router replies)
in_one_batch 8
expect_eq "segments of a batch coalesced" "$(number real1 stats .coalesced_packets)" \
    $((packets + 8))
answers() { echo $(($(counter vt-router replies) - before)); }
answered() { (($(answers) >= 8 + 1)); }
wait_for "eight answers from the echo server and a reset" answered
expect_eq "answers to eight datagrams and a frame" "$(answers)" 9

# Its neighbours are merged, this segment is not.
in_one_batch 8 3
expect_eq "segments coalesced around a wrong one" "$(number real1 stats .coalesced_packets)" \
    $((packets + 8 + 7))
wrong_seen() { [[ $(tcp_wrong) == 1 ]]; }
wait_for "the kernel to count the wrong checksum" wrong_seen
stop real1

REAL_KEYS='coalesce = false'
start_real real1
upload real1
in_one_batch 8
expect_eq "packets coalesced" "$(number real1 stats .coalesced_packets)" 0
expect_eq "whether it may" "$(number real1 stats .coalesce)" false
stop real1

REAL_KEYS='offload = false'
start_real real1
upload real1
expect_eq "packets coalesced" "$(number real1 stats .coalesced_packets)" 0
expect_eq "whether it may" "$(number real1 stats .coalesce)" false
