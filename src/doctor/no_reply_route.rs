//! Replies from a virtual IP that have no route to clients.

use std::net::IpAddr;

use super::{Cause, Finding, Severity};

/// The finding that a host has no route for replies; `host`: `this host has`.
pub(super) fn finding(vip: IpAddr, host: &str) -> Finding {
    let (ip, far) =
        if vip.is_ipv4() { ("ip", "203.0.113.1") } else { ("ip -6", "2001:db8:ffff::1") };
    let text = format!(
        "{host} no default route for replies from {vip}: clients outside of its own networks get \
         no answer"
    );
    Finding::new(Cause::ReplyPath, Severity::Warning, text)
        .seen(format!("the kernel has no route to {far} from {vip}"))
        .about(vip)
        .mended_by(format!("{ip} route add default via ROUTER"))
        .mended_by(format!("{ip} route get {far} from {vip}"))
}

/// What a real server cannot see of the path of its replies.
pub(super) fn unseen(vips: &[IpAddr]) -> String {
    let from: Vec<String> = vips.iter().map(|vip| format!("src {vip}")).collect();
    format!(
        "what the network does with replies is not seen from here: `tcpdump -c 5 -ni any '{}'` \
         shows those that leave",
        from.join(" or ")
    )
}
