//! Configuration: text → value → checked model → list of changes. Pure; imports `balancer` and `wire`.
