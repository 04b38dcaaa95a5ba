# Files of the control socket that another user may have made are neither trusted nor followed, by
# the director, the real server and `vstun cleanup`; a configuration that is not a file is refused
# without waiting for it. A file system that is full stops nothing but new changes of the host.
#
# Nothing is sent, and the files are of either family.
# mixes: 4in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

make_topology
touch "$WORK/own"
chown 4242 "$WORK/own" 2>/dev/null || skip "skipped: needs root"

start_director wrr 1
# Made by a director, so that only its owner is wrong.
sed 's|"steps": \[|&{"write":{"sysctl":"net/ipv4/conf/lo/forwarding","from":"1","to":"1"}},|' \
    "$CONTROL/director.sock.state" >"$WORK/evil"
rm "$WORK/director.toml"
mkfifo "$WORK/director.toml"
expect_fails "a reload of a FIFO" ask director reload 2>"$WORK/refused.log"
grep -q 'it is a FIFO; give a regular file' "$WORK/refused.log" ||
    fail "said: $(<"$WORK/refused.log")"
ask director status
rm "$WORK/director.toml"

# Somebody tidies up: no command reaches the daemon, and it says so where it still can.
rm "$CONTROL/director.sock"
ip -n vt-director address add 203.0.113.9/32 dev lo # the daemon looks at the host
wait_for "a warning" log_has director "WARN .*control socket $CONTROL/director.sock is gone"
stop director
expect_eq "exit code after a FIFO" "$CODE" 0

# Its file system is full: what is recorded is kept as planned, and nothing new is made until it can
# be recorded.
CONTROL=$WORK/small
mkdir "$CONTROL"
mount -t tmpfs -o size=64k tmpfs "$CONTROL"
start_real real1
head -c 1M /dev/zero 2>/dev/null >"$CONTROL/rest" || true
ignores() { [[ $(at vt-real1 sysctl -n "net.ipv4.conf.$1.arp_ignore") == "$2" ]]; } # DEVICE VALUE
at vt-real1 ip link add new0 type veth peer name new1
full() { [[ $(number real1 status '.host.wrong | map(.text) | join(" ")') == *"No space"* ]]; }
wait_for "a word about the full file system" full
at vt-real1 sysctl -qw net.ipv4.conf.eth0.arp_ignore=0
wait_for "what is recorded to be put back" ignores eth0 1
full || fail "it says nothing any more: $(number real1 status .host.wrong)"
ignores new0 0 || fail "a setting was made without a record"
rm "$CONTROL/rest"
wait_for "the new setting" ignores new0 1
grep -q new0 "$CONTROL/real1.sock.state" || fail "it is not recorded: $(cat "$CONTROL"/*.state)"
at vt-real1 ip link del new0
stop real1
expect_eq "exit code after that" "$CODE" 0

# All users may write there, as to /tmp, and another user came first.
CONTROL=$WORK/sticky
mkdir -m 1777 "$CONTROL"
for name in director real1; do
    cp "$WORK/evil" "$CONTROL/$name.sock.state"
    chown 4242 "$CONTROL/$name.sock.state"
done
start_director wrr 1
start_real real1
for name in director real1; do
    expect_log "$name" "$name.sock.state belongs to user 4242, so what it says is not believed"
    stop "$name"
    expect_eq "exit code of $name" "$CODE" 0
done
expect_eq "files that are left" "$(ls -A "$CONTROL")" ""
cp "$WORK/evil" "$CONTROL/director.sock.state"
chown 4242 "$CONTROL/director.sock.state"
expect_fails "a cleanup by another user's file" ask director cleanup 2>"$WORK/refused.log"
grep -q 'not believed' "$WORK/refused.log" || fail "said: $(<"$WORK/refused.log")"
rm "$CONTROL"/*

refused() { # WHAT PATTERN
    spawn vt-director director "$VSTUN_BIN/vstun-director" --config "$WORK/director.toml"
    exit_code director
    expect_eq "$1: exit code" "$CODE" 1
    expect_log director "$2"
}
echo precious >"$WORK/precious"
ln -s "$WORK/precious" "$CONTROL/director.sock.lock"
refused "a link in the lock's place" 'director.sock.lock is a symbolic link'
rm "$CONTROL/director.sock.lock"
mkfifo "$CONTROL/director.sock.lock"
refused "a FIFO in the lock's place" 'director.sock.lock is a FIFO'
rm "$CONTROL/director.sock.lock"
ln -s "$WORK/precious" "$CONTROL/director.sock.state.new"
start_director wrr 1
expect_eq "permissions" \
    "$(cd "$CONTROL" && stat -c '%n %a' director.sock.lock director.sock.state)" \
    $'director.sock.lock 600\ndirector.sock.state 600'
stop director
expect_eq "the file behind the links" "$(<"$WORK/precious")" precious
mkdir "$CONTROL/director.sock.state.new"
refused "a folder in the place of the state's new text" \
    'director.sock.state.new is in the way: .*; remove it'
rmdir "$CONTROL/director.sock.state.new"

# Another user's program listens there and takes no client: nothing waits for it.
mkfifo "$WORK/end"
spawn vt-director deaf sh \
    -c "exec python3 '$here/traffic/deaf.py' '$CONTROL/director.sock' <'$WORK/end'"
exec {end}>"$WORK/end"
wait_for "a full queue" log_has deaf full
refused "a listener that takes no client" 'another program listens on .*director.sock'
expect_fails "a question to it" ask director status 2>"$WORK/refused.log"
grep -q 'takes no client' "$WORK/refused.log" || fail "said: $(<"$WORK/refused.log")"
exec {end}>&-
stop deaf
rm "$CONTROL/director.sock"

chmod 777 "$CONTROL"
refused "a folder for all users" 'has mode 0777: others may write to it'
chmod 755 "$CONTROL"
chown 4242 "$CONTROL"
refused "another user's folder" 'sticky belongs to user 4242'
