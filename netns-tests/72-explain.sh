# `explain` names the real server that then gets the connection, and why.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

explained() { # PORT
    ask director explain tcp "$(in_url "$CLIENT"):$1" "$(in_url "$VIP"):80" --json
}

make_topology
start_web real1 real2
start_real real1 real2
start_director wrr 1 1
for port in 40001 40002 40003 40004; do
    said=$(explained $port | jq -r .address)
    got=$(at vt-client curl -sS --local-port $port "$(url /)")
    expect_eq "the server of the connection from port $port, as explained" "${ADDRESS[$got]}" \
        "$said"
    expect_eq "and again, by its entry" \
        "$(explained $port | jq -r '"\(.service) \(.address) \(.why)"')" "web $said entry"
done
expect_eq "why a port without a service" \
    "$(ask director explain tcp "$(in_url "$CLIENT"):1" "$(in_url "$VIP"):81" --json |
    jq -r .why)" no_service
