//! The control socket's requests and replies, and how they print. Pure; imports `balancer` and `wire`.
