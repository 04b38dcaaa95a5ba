# HTTPS by OpenSSL, with the certificate of tls.sh.
# shellcheck shell=bash

start_https() { serve "$1" 443 -www; } # NAME
check_https() { printf 'type = "https"\nport = 443\n%s\n' "$TLS_KEYS"; }

try_https() {
    stop real2-tls443 KILL
    becomes real2 down "https check failed: connection refused"
    start_https real2
    becomes real2 up "all checks pass"
}
