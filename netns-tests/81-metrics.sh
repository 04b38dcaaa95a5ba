# HTTP agrees with the control socket: metrics in both formats, which promtool and a Prometheus
# server accept, JSON, health and readiness. The alert rules pass their cases.
# mixes: 6in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

at_director() { at vt-director curl -sS --max-time 20 "$@"; }
get() { # PATH CURL-FLAG...
    at_director "http://127.0.0.1:9180$1" "${@:2}"
}
status() { # PATH CURL-FLAG...
    get "$1" -o /dev/null -w '%{http_code}' "${@:2}"
}
of_real() { # PATH CURL-FLAG...
    at vt-real1 curl -sS --max-time 20 --unix-socket "$CONTROL/real1-http.sock" \
        "http://localhost$1" "${@:2}"
}
value() { get /metrics | awk -v series="$1" 'index($0, series " ") == 1 { print $NF }'; } # SERIES

# Everything that a Prometheus server of this configuration has scraped, as the answer to a query.
query() { # QUERY
    at vt-director curl -sS --max-time 20 --get --data-urlencode "query=$1" \
        http://127.0.0.1:9190/api/v1/query |
        jq -r '.data.result[0].value[1] // empty'
}
has_scraped() {
    [[ $(query 'count(up == 1)') == 2 && -n $(query 'rate(vstun_real_connections_total[10s])') ]]
}

# Every query of the dashboard, with Grafana's variables filled in.
dashboard_queries() {
    jq -r '.panels[].targets[]?.expr' "$here/../dist/grafana/vstun.json" |
        sed 's/\$__rate_interval/10s/g; s/\$instance/.*/g; s/\$service/.*/g'
}

make_topology
start_web "${REALS[@]}"
REAL_KEYS="http = \"$CONTROL/real1-http.sock\"" start_real real1
REAL_KEYS="http = \"$(in_url "${ADDRESS[real2]}"):9181\"" start_real real2
start_real real3
SERVICE_KEYS='[[service.check]]
type = "http"
interval = "500ms"'
DIRECTOR_KEYS='http = "127.0.0.1:9180"'
start_director rr 1 1 1
fetch 30 >"$WORK/fetched.log"

expect_eq "alive" "$(get /healthz)" ok
expect_eq "ready" "$(status /readyz)" 200
expect_eq "connections by /api/v1/list" \
    "$(get /api/v1/list | jq '[.services[0].reals[].connections] | add')" 30
expect_eq "connections in the metrics" \
    "$(value "vstun_real_connections_total{service=\"web\",real=\"${ADDRESS[real2]}\"}")" 10
expect_eq "packets by stats and metrics" "$(get /api/v1/stats | jq .packets.tunnelled)" \
    "$(value vstun_packets_tunnelled_total)"
expect_eq "rows of /api/v1/connections" \
    "$(get '/api/v1/connections?limit=7' | jq -s '[.[].connections[]] | length')" 7
counted() { get "/api/v1/connections?$1" | jq -s '[.[].connections[]] | length'; } # QUERY
expect_eq "connections of one real server" "$(counted "real=${ADDRESS[real2]}")" 10
expect_eq "and of a client, of a service" "$(counted "client=$CLIENT&service=web")" 30
expect_eq "and in a state" "$(counted "client=$CLIENT&state=UDP")" 0
expect_eq "connections of an address that is not a real server" \
    "$(status "/api/v1/connections?real=$CLIENT")" 400
expect_eq "a real server's packets" \
    "$(of_real /metrics | awk '/^vstun_packets_received_total/ { print ($NF > 0) }')" 1
expect_eq "a real server has no list" "$(of_real /api/v1/list -o /dev/null -w '%{http_code}')" 404
expect_eq "it answers by stats" "$(of_real /api/v1/stats | jq -r .role)" realserver
expect_eq "what changes something" "$(status /api/v1/list -X POST)" 405

ask director disable "${ADDRESS[real1]}" >/dev/null
expect_eq "a disabled real server" \
    "$(value "vstun_real_up{service=\"web\",real=\"${ADDRESS[real1]}\"}")" 0
expect_eq "ready with two" "$(status /readyz)" 200
ask director disable "${ADDRESS[real2]}" >/dev/null
ask director disable "${ADDRESS[real3]}" >/dev/null
expect_eq "ready with none" "$(status /readyz)" 503
get /readyz | grep -q "no service has a real server" || fail "/readyz says: $(get /readyz)"

if command -v promtool >/dev/null; then
    get /metrics >"$WORK/director.metrics"
    of_real /metrics >"$WORK/real.metrics"
    for page in director real; do
        promtool check metrics <"$WORK/$page.metrics" >"$WORK/promtool.log" 2>&1 ||
            fail "promtool: $(<"$WORK/promtool.log")"
        expect_eq "lint of the $page's page" "$(<"$WORK/promtool.log")" ""
    done
    promtool test rules "$here/../dist/prometheus/vstun.rules.test.yml" >"$WORK/rules.log" 2>&1 ||
        fail "$(<"$WORK/rules.log")"
fi
if command -v prometheus >/dev/null; then
    mkdir "$WORK/prometheus"
    cat >"$WORK/prometheus.yml" <<CONFIG
global: { scrape_interval: 1s, scrape_timeout: 1s }
scrape_configs:
  - job_name: vstun
    static_configs: [{ targets: ["127.0.0.1:9180", "$(in_url "${ADDRESS[real2]}"):9181"] }]
CONFIG
    spawn vt-director prometheus prometheus --config.file="$WORK/prometheus.yml" \
        --storage.tsdb.path="$WORK/prometheus" \
        --web.listen-address=127.0.0.1:9190 --web.console.templates="$WORK" \
        --web.console.libraries="$WORK"
    wait_for "Prometheus to scrape" has_scraped
    # A scrape that is late leaves no value until the next one.
    has_all() { [[ $(query 'sum(vstun_real_connections_total)') == 30 ]]; }
    wait_for "30 connections in Prometheus" has_all
    has_answer() { [[ -n $(query "$1") ]]; } # EXPRESSION
    queries=0
    while read -r expression; do
        wait_for "an answer to the dashboard's query: $expression" has_answer "$expression"
        queries=$((queries + 1))
    done < <(dashboard_queries)
    expect_between "queries of the dashboard" "$queries" 30 100
    stop prometheus
fi

# A reload moves the server. If it cannot listen there, the reload is refused and the server stays.
DIRECTOR_KEYS='http = "127.0.0.1:9182"'
configure "$WORK/director.toml" rr 1 1 1
ask director reload >/dev/null
expect_eq "alive at the new address" "$(at_director http://127.0.0.1:9182/healthz)" ok
expect_fails "an answer at the old one" get /healthz
DIRECTOR_KEYS='http = "203.0.113.9:9182"'
configure "$WORK/director.toml" rr 1 1 1
expect_fails "another host's address" ask director reload 2>"$WORK/refused"
grep -q 'http: could not listen on 203.0.113.9:9182' "$WORK/refused" ||
    fail "refused: $(<"$WORK/refused")"
expect_eq "alive where it was" "$(at_director http://127.0.0.1:9182/healthz)" ok
# A real server too.
sed -i "s|real1-http.sock|real1-other.sock|" "$WORK/real1.toml"
ask real1 reload
at_other() {
    at vt-real1 curl -sS --max-time 20 --unix-socket "$CONTROL/real1-other.sock" \
        "http://localhost/healthz"
}
expect_eq "a real server is alive at the new address" "$(at_other)" ok
of_real /healthz && fail "it listens at the former address too"
sed -i '/^http = /d' "$WORK/real1.toml"
ask real1 reload
at_other && fail "it listens without an address"
expect_accounted
stop director
expect_eq "the socket's file after the end" \
    "$(stop real1; ls "$CONTROL" | grep -c "real1-.*sock$" || true)" 0
