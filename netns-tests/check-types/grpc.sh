# grpc.health.v1 by Google's library: its messages are two bytes, so they need no generated code.
# shellcheck shell=bash

cat >"$WORK/health.py" <<'PY'
import concurrent.futures, os, sys, grpc
address, sick = sys.argv[1:]
check = lambda request, context: b"\x08\x02" if os.path.exists(sick) else b"\x08\x01"
server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
method = grpc.unary_unary_rpc_method_handler(check)
handler = grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": method})
server.add_generic_rpc_handlers((handler,))
assert server.add_insecure_port(f"{address}:50051")
server.start()
server.wait_for_termination()
PY

has_grpc() { /usr/bin/python3 -c 'import grpc' 2>/dev/null; }
start_grpc() { # NAME
    spawn "vt-$1" "$1-grpc" /usr/bin/python3 "$WORK/health.py" "$(in_url "$VIP")" \
        "$WORK/not-serving-$1"
    wait_for "$1's gRPC" listens "$1" 50051
}
check_grpc() { printf 'type = "grpc"\nport = 50051\n'; }

try_grpc() {
    touch "$WORK/not-serving-real2"
    becomes real2 down "grpc check failed: NOT_SERVING"
    rm "$WORK/not-serving-real2"
    becomes real2 up "all checks pass"
    stop real2-grpc KILL
    becomes real2 down "grpc check failed: connection refused"
    start_grpc real2
    becomes real2 up "all checks pass"
}
