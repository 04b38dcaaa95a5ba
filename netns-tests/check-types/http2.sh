# HTTP/2 by nginx, with the certificate of tls.sh.
# shellcheck shell=bash

has_http2() { command -v nginx >/dev/null; }
start_http2() { # NAME
    mkdir -p "$WORK/$1-http2/temp"
    cat >"$WORK/$1-http2/nginx.conf" <<-CONF
		daemon off; master_process off; user root root; error_log stderr error;
		pid $WORK/$1-http2/nginx.pid;
		events { worker_connections 64; }
		http {
		    access_log off; ssl_protocols TLSv1.3;
		    ssl_certificate $WORK/cert.pem; ssl_certificate_key $WORK/key.pem;
		$(for kind in client_body proxy fastcgi uwsgi scgi; do
                    echo "${kind}_temp_path temp/$kind;"
                done)
		    server {
		        listen $(in_url "$VIP"):9443 ssl http2;
		        location / { return 200 "\$server_protocol \$ssl_protocol"; }
		    }
		}
	CONF
    spawn "vt-$1" "$1-http2" nginx -e stderr -p "$WORK/$1-http2" -c nginx.conf
    wait_for "$1's HTTP/2" listens "$1" 9443
}
check_http2() {
    printf 'type = "https"\nport = 9443\nhttp_version = "2"\nhost = "www.example"\n'
    printf 'expect_body = "^HTTP/2.0 TLSv1.3$"\n%s\n' "$TLS_KEYS"
}

try_http2() {
    stop real2-http2 KILL
    becomes real2 down "https check failed: connection refused"
    start_http2 real2
    becomes real2 up "all checks pass"
}
