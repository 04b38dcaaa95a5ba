# A real server that does not read for a while loses packets in a full socket. It counts those that
# the kernel counts there, no more and no fewer; together with the packets that it has read they are
# all that arrived. Its log and `vstun drops` name them.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

make_topology
start_real real1
count_tunnelled_packets
kernel_lost() { at vt-real1 awk 'FNR > 1 { n += $NF } END { print n + 0 }' /proc/net/raw{,6}; }
stat() { number real1 stats ".$1"; } # FIELD
expect_eq "lost by the kernel before" "$(kernel_lost)" 0

# 20 MB, and the memory of the buffers that they lie in, are more than a socket has room for.
COUNT=20000
pause_program real1
at vt-director python3 "$here/traffic/burst.py" "$DIRECTOR" "${ADDRESS[real1]}" "$CLIENT" "$VIP" \
    "$COUNT"
wait_for "all packets to arrive" have_arrived "$COUNT"
lost=$(kernel_lost)
kill -CONT "${PID[real1]}"
all_read() { (($(stat read) + lost == $(tunnelled_packets))); }
wait_for "all other packets to be read" all_read
expect_eq "packets that arrived" "$(tunnelled_packets)" "$COUNT"
expect_between "lost by the kernel" "$lost" 1 $((COUNT - 1))
expect_eq "lost by the kernel since then" "$(($(kernel_lost) - lost))" 0
expect_eq "socket_dropped" "$(stat socket_dropped)" "$lost"
expect_eq "socket_dropped in vstun drops" "$(refused real1 socket_dropped)" "$lost"
expect_log real1 'tunnelled packets lost because the receive buffer was full'
