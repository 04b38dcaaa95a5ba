//! The tunnel's other end: which tunnelled packets are let in, and what becomes of them. Pure; imports only `wire`.
