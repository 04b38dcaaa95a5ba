# DNS by dnsmasq, and by unbound at the third real server.
# shellcheck shell=bash

has_dns() { command -v dnsmasq >/dev/null; }
start_dns() { # NAME
    if [[ $1 == real3 ]] && command -v unbound >/dev/null; then
        start_unbound real3
    else
        spawn "vt-$1" "$1-dns" dnsmasq --no-daemon --conf-file=/dev/null --port=53 \
            --no-resolv --no-hosts --user=root --group=root \
            --pid-file="$WORK/$1.dns.pid" --address=/www.example/192.0.2.80
    fi
    wait_for "$1's name server" listens "$1" 53
}
start_unbound() { # NAME
    cat >"$WORK/unbound.conf" <<-CONF
		server:
		  interface: $VIP
		  ip-freebind: yes
		  access-control: $([[ $VIP == *:* ]] && echo ::/0 || echo 0.0.0.0/0) allow
		  do-daemonize: no
		  use-syslog: no
		  chroot: ""
		  username: ""
		  directory: "$WORK"
		  pidfile: "$WORK/unbound.pid"
		  module-config: "iterator"
		  num-threads: 1
		  local-zone: "example." static
		  local-data: "www.example. A 192.0.2.80"
		remote-control:
		  control-enable: no
	CONF
    spawn "vt-$1" "$1-dns" unbound -d -c "$WORK/unbound.conf"
}
check_dns() {
    printf 'type = "dns"\nport = 53\nquery = "www.example"\nexpect_answer = "192.0.2.80"\n'
}

try_dns() {
    stop real2-dns KILL
    becomes real2 down "dns check failed: "
    start_dns real2
    becomes real2 up "all checks pass"
}
