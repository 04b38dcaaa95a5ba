# SIGHUP: new weights and real servers apply to new connections, open ones stay. A faulty
# configuration changes nothing, and the fault is logged, whatever caused the reload. Services that
# are split, merged and renamed lose no connection.
# usual: 6in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

make_topology
start_web "${REALS[@]}"
start_real "${REALS[@]}"
start_director wrr 1 1
hold held 10

configure "$WORK/director.toml" wrr 0 1 3
kill -HUP "${PID[director]}"
has_three() { [[ $(number director list '.services[0].reals | length') == 3 ]]; }
wait_for "the third real server" has_three
served=$(fetch 40)
expect_eq "requests to real1, now of weight 0" "$(share "$served" real1)" 0
expect_eq "requests to real2 of weight 1" "$(share "$served" real2)" 10
expect_eq "requests to real3 of weight 3" "$(share "$served" real3)" 30
expect_eq "open connections of real1" "$(real_field real1 active)" 5

ask director list --json | jq '[.services[].reals[] | {address, weight}]' >"$WORK/before"
sed 's/scheduler = "wrr"/scheduler = "wrx"/' "$WORK/director.toml" >"$WORK/bad" &&
    cp "$WORK/bad" "$WORK/director.toml"
kill -HUP "${PID[director]}"
wait_for "the fault in the log" log_has director 'scheduler'
ask director list --json | jq '[.services[].reals[] | {address, weight}]' | cmp - "$WORK/before" ||
    fail "a bad reload changed something"
expect_eq "requests served after a bad reload" "$(fetch 40 | awk '{ n += $1 } END { print n }')" 40

expect_fails "vstun reload of a bad configuration" ask director reload
faults() { grep -c 'reload: .*scheduler' "$WORK/director.log"; }
expect_eq "faults in the log, by SIGHUP and by vstun reload" "$(faults)" 2
configure "$WORK/director.toml" wrr 1 1 1
ask director reload
expect_eq "reloads in the log" "$(grep -c 'reloaded ' "$WORK/director.log")" 2

release held 10
expect_direct_replies 200
expect_accounted

# Services are split and merged: connections follow their port, whatever the services are called.
layout() { # NAME PORTS...
    local port listens
    configure "$WORK/web.toml" wrr 1 1 1
    sed '/^\[\[service/,$d' "$WORK/web.toml" >"$WORK/director.toml"
    while (($#)); do
        listens=$(for port in $2; do printf '"%s:%s/tcp",' "$(in_url "$VIP")" "$port"; done)
        sed -n '/^\[\[service\]\]/,$p' "$WORK/web.toml" |
            sed "s|^name = .*|name = \"$1\"|; s|^listen = .*|listen = [$listens]|" \
                >>"$WORK/director.toml"
        shift 2
    done
}
of_service() { # NAME: its active connections
    number director list "[.services[] | select(.name == \"$1\") | .reals[].active] | add"
}
hold kept 10
layout web "80 81"
ask director reload
layout web 81 split 80
ask director reload
expect_eq "open connections of the service split off" "$(of_service split)" 10
layout split "80 81"
ask director plan "$WORK/director.toml" >"$WORK/plan" || true # it exits 3 for any change
grep ' 0 lost' "$WORK/plan" || fail "a merge loses connections"
ask director reload
layout merged "79-90" other "91"
ask director reload
expect_eq "open connections of the merged service" "$(of_service merged)" 10
release kept 10
