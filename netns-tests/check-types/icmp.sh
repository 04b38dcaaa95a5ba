# An echo request, which the real server's kernel answers while it has the virtual IP: what fails
# here fails together with all other checks.
# shellcheck shell=bash

start_icmp() { :; }
check_icmp() { echo 'type = "icmp"'; }
try_icmp() { :; }
