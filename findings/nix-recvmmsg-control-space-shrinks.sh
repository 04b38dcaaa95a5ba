#!/usr/bin/env bash
# nix 0.31.4, `recvmmsg` with a `MultiHeaders` that is kept between calls, as its documentation asks for: the room for control
# messages shrinks to what the last call received and never grows again. The kernel writes the length used into
# msg_controllen, and nix does not put the room's size back before the next call.
#
# Seen: a UDP socket with UDP_GRO. A first round of single datagrams carries no control message. From then on the segment size of
# a merged datagram is lost: MSG_CTRUNC, and `cmsgs()` is Err(ENOBUFS), although the room was made for it. A program that ignores
# that takes a merged datagram for one of 3,000 bytes. New headers for each call have it.
# Expected: each call offers the room that `preallocate` was given.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"; mkdir src
cat >Cargo.toml <<'T'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"
[dependencies]
nix = { version = "=0.31.4", features = ["socket", "uio", "net"] }
T
cat >src/main.rs <<'R'
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, setsockopt, sockopt,
};
use std::io::IoSliceMut;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

fn headers() -> MultiHeaders<SockaddrIn> {
    MultiHeaders::preallocate(1, Some(nix::cmsg_space!(i32)))
}

fn receive(name: &str, server: &UdpSocket, headers: &mut MultiHeaders<SockaddrIn>) {
    let mut bytes = [0; 9000];
    let mut slices = [[IoSliceMut::new(&mut bytes)]];
    let messages = recvmmsg(server.as_raw_fd(), headers, slices.iter_mut(), MsgFlags::empty(), None);
    for message in messages.unwrap() {
        let size = message.cmsgs().map(|all| {
            all.filter_map(|one| match one {
                ControlMessageOwned::UdpGroSegments(size) => Some(size),
                _ => None,
            })
            .collect::<Vec<_>>()
        });
        println!("{name}: {} bytes, flags {:?}, segment size {size:?}", message.bytes, message.flags);
    }
}

fn main() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    setsockopt(&server, sockopt::UdpGroSegment, &true).unwrap();
    let single = UdpSocket::bind("127.0.0.1:0").unwrap();
    let merged = UdpSocket::bind("127.0.0.1:0").unwrap();
    setsockopt(&merged, sockopt::UdpGsoSegment, &1000).unwrap();
    let to = server.local_addr().unwrap();
    let mut kept = headers();
    single.send_to(&[1; 500], to).unwrap();
    receive("single", &server, &mut kept);
    merged.send_to(&[2; 3000], to).unwrap();
    receive("merged, headers kept", &server, &mut kept);
    merged.send_to(&[2; 3000], to).unwrap();
    receive("merged, headers new", &server, &mut headers());
}
R
cargo run -q >out 2>build.log || { echo "cannot build or run:"; tail -n 5 build.log; exit 77; }
echo "Linux $(uname -r)"; cat out
diff - out <<'X' || { echo changed; exit 1; }
single: 500 bytes, flags MsgFlags(0x0), segment size Ok([])
merged, headers kept: 3000 bytes, flags MsgFlags(MSG_CTRUNC), segment size Err(ENOBUFS)
merged, headers new: 3000 bytes, flags MsgFlags(0x0), segment size Ok([1000])
X
