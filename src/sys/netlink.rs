//! rtnetlink: requests and notifications; errors are `io::Error` with the kernel's errno.
//!
//! A task of the tokio runtime in which a connection is opened drives it. The connection stays in
//! the network namespace of the thread that opens it.

mod route_socket;

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use futures_util::{Stream, StreamExt, TryStreamExt};
use rtnetlink::packet_core::{NLM_F_REPLACE, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope, CacheInfo,
};
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::neighbour::{NeighbourFlags, NeighbourMessage, NeighbourState};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage};
use rtnetlink::packet_route::rule::RuleMessage;
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{Handle, LinkUnspec, MulticastGroup};
use socket2::{SockFilter, SockRef};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use route_socket::RouteSocket;

pub use route_socket::{RefusedRequest, RouteRequest};
pub use rtnetlink::IpVersion;
pub use rtnetlink::packet_core;
pub use rtnetlink::packet_route;

/// A connection for requests.
#[derive(Debug)]
pub struct Netlink {
    handle: Handle,
    driver: JoinHandle<()>,
    /// For dumps and changes of many routes.
    routes: Mutex<RouteSocket>,
    route_port: u32,
}

/// A change on the host.
#[derive(Debug)]
pub enum HostChange {
    /// A route was added. `replaces`: it replaced one with the same key.
    RouteMade {
        /// The route.
        route: RouteMessage,
        /// Whether it replaced another.
        replaces: bool,
    },
    /// A route was removed.
    RouteGone(RouteMessage),
    /// The interface of that index has lost an address.
    AddressGone(u32),
    /// Any other change: the caller reads the host's state again.
    Other,
    /// Messages were lost. Until this connection's queue is empty the kernel drops later ones too,
    /// without another sign. So the caller opens a new connection, then reads the host's state.
    Lost,
}

/// A connection that receives notifications.
#[derive(Debug)]
pub struct NetlinkEvents {
    messages: Messages,
    driver: JoinHandle<()>,
}

type Messages = std::pin::Pin<Box<dyn MessageStream>>;

/// Boxed, since the channel's type is not re-exported.
trait MessageStream: Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + Send {}
impl<S: Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + Send> MessageStream for S {}

impl std::fmt::Debug for dyn MessageStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MessageStream")
    }
}

impl Netlink {
    /// Opens a connection. Needs a running tokio runtime with IO.
    ///
    /// # Errors
    ///
    /// The netlink socket cannot be opened.
    pub fn open() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let routes = RouteSocket::open()?;
        let route_port = routes.port();
        let routes = Mutex::new(routes);
        Ok(Self { handle, driver: tokio::spawn(connection), routes, route_port })
    }

    /// Lists all interfaces.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub async fn links(&self) -> io::Result<Vec<LinkMessage>> {
        all(self.handle.link().get().execute()).await
    }

    /// The index of the interface of that name.
    ///
    /// # Errors
    ///
    /// `ENODEV` if there is none; other errors of the kernel.
    pub async fn index(&self, name: &str) -> io::Result<u32> {
        let request = self.handle.link().get().match_name(name.to_owned());
        let mut answers = std::pin::pin!(request.execute());
        let answer = answers.try_next().await.map_err(error)?;
        let link = answer.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))?;
        Ok(link.header.index)
    }

    /// Lists all local addresses of both families.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub async fn addresses(&self) -> io::Result<Vec<AddressMessage>> {
        all(self.handle.address().get().execute()).await
    }

    /// Calls `each` with every route of every table.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub async fn routes(
        &self,
        version: &IpVersion,
        each: impl FnMut(RouteMessage),
    ) -> io::Result<()> {
        let mut request = RouteMessage::default();
        request.header.address_family = family(version);
        self.routes.lock().await.dump(request, each).await
    }

    /// Calls `each` with the routes of one table that have that protocol number, and on an old
    /// kernel with others too.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub async fn routes_of(
        &self,
        version: &IpVersion,
        table: u32,
        protocol: u8,
        each: impl FnMut(RouteMessage),
    ) -> io::Result<()> {
        let mut request = RouteMessage::default();
        request.header.address_family = family(version);
        request.header.protocol = protocol.into();
        request.attributes.push(RouteAttribute::Table(table));
        match self.routes.lock().await.dump(request, each).await {
            // The table is made with its first route.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            other => other,
        }
    }

    /// Sends many route changes in order. A refused change does not stop the others.
    /// [`NetlinkEvents`] opened with this connection do not report them.
    ///
    /// # Errors
    ///
    /// The requests could not be sent; the kernel may have applied some.
    pub async fn change_routes(
        &self,
        requests: &[RouteRequest],
    ) -> io::Result<Vec<RefusedRequest>> {
        self.routes.lock().await.change(requests).await
    }

    /// Lists all rules of a family.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub async fn rules(&self, version: &IpVersion) -> io::Result<Vec<RuleMessage>> {
        all(self.handle.rule().get(version.clone()).execute()).await
    }

    /// Lists all proxy neighbour entries of a family.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub async fn proxies(&self, version: &IpVersion) -> io::Result<Vec<NeighbourMessage>> {
        let request = self.handle.neighbours().get().proxies();
        all(request.set_address_family(family(version)).execute()).await
    }

    /// Lists all neighbour entries of a family.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub async fn neighbours(&self, version: &IpVersion) -> io::Result<Vec<NeighbourMessage>> {
        let request = self.handle.neighbours().get();
        all(request.set_address_family(family(version)).execute()).await
    }

    /// Lets the kernel ask a host that it knows at once, and not after `delay_first_probe_time`
    /// (`ip neigh change … nud probe`).
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no entry with a link-layer address; other errors of the kernel.
    pub async fn probe_neighbour(&self, link: u32, address: IpAddr) -> io::Result<()> {
        let request = self.handle.neighbours().add(link, address).state(NeighbourState::Probe);
        done(request.replace().execute()).await
    }

    /// The route that a packet built from this request would take (`ip route get`).
    ///
    /// # Errors
    ///
    /// `ENETUNREACH`, `EHOSTUNREACH` and others if there is none.
    pub async fn lookup(&self, request: RouteMessage) -> io::Result<RouteMessage> {
        let mut answers = std::pin::pin!(self.handle.route().get(request).execute());
        let answer = answers.try_next().await.map_err(error)?;
        answer.ok_or_else(|| io::Error::other("the kernel did not answer a route lookup"))
    }

    /// Adds a route. With `replace` it replaces the route with the same destination, type of
    /// service and metric. IPv6 may have several of these: it replaces the first of the same sort
    /// (with or without a gateway), or else the first.
    ///
    /// # Errors
    ///
    /// `EEXIST` without `replace`; other errors of the kernel.
    pub async fn add_route(&self, route: RouteMessage, replace: bool) -> io::Result<()> {
        let request = self.handle.route().add(route);
        done((if replace { request.replace() } else { request }).execute()).await
    }

    /// Removes a route.
    ///
    /// # Errors
    ///
    /// `ESRCH` if there is none; other errors of the kernel.
    pub async fn remove_route(&self, route: RouteMessage) -> io::Result<()> {
        done(self.handle.route().del(route).execute()).await
    }

    /// Adds a rule.
    ///
    /// # Errors
    ///
    /// `EEXIST`; other errors of the kernel.
    pub async fn add_rule(&self, rule: RuleMessage) -> io::Result<()> {
        let mut request = self.handle.rule().add();
        *request.message_mut() = rule;
        done(request.execute()).await
    }

    /// Removes a rule.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is none; other errors of the kernel.
    pub async fn remove_rule(&self, rule: RuleMessage) -> io::Result<()> {
        done(self.handle.rule().del(rule).execute()).await
    }

    /// Adds a proxy neighbour entry. An existing one gets the new protocol number.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub async fn add_proxy(&self, link: u32, address: IpAddr, protocol: u8) -> io::Result<()> {
        use rtnetlink::packet_route::neighbour::NeighbourAttribute;
        let mut request = self.handle.neighbours().add(link, address).flags(NeighbourFlags::Proxy);
        let tag = NeighbourAttribute::Protocol(protocol.into());
        request.message_mut().attributes.push(tag);
        done(request.execute()).await
    }

    /// Removes a proxy neighbour entry.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is none; other errors of the kernel.
    pub async fn remove_proxy(&self, link: u32, address: IpAddr) -> io::Result<()> {
        // The builder of the add request also builds the message that a removal needs.
        let mut request = self.handle.neighbours().add(link, address).flags(NeighbourFlags::Proxy);
        let message = std::mem::take(request.message_mut());
        done(self.handle.neighbours().del(message).execute()).await
    }

    /// Adds an address that the host serves but should not connect from: the kernel picks it as a
    /// source address only if there is no other. An IPv6 address is deprecated (RFC 6724 rule 3)
    /// and usable at once, without duplicate address detection. An IPv4 address has host scope,
    /// which `inet_select_addr` passes over. `replace`: sets the lifetime of an existing IPv6
    /// address.
    ///
    /// # Errors
    ///
    /// `EEXIST`; other errors of the kernel.
    pub async fn add_served_address(
        &self,
        link: u32,
        address: IpAddr,
        prefix: u8,
        replace: bool,
    ) -> io::Result<()> {
        let request = self.handle.address().add(link, address, prefix);
        let mut request = if replace { request.replace() } else { request };
        let message = request.message_mut();
        if address.is_ipv6() {
            message.header.flags = AddressHeaderFlags::Nodad;
            let mut lifetime = CacheInfo::default();
            (lifetime.ifa_preferred, lifetime.ifa_valid) = (0, u32::MAX);
            message.attributes.push(AddressAttribute::CacheInfo(lifetime));
        } else {
            message.header.scope = AddressScope::Host;
        }
        done(request.execute()).await
    }

    /// Removes an address from an interface.
    ///
    /// # Errors
    ///
    /// `EADDRNOTAVAIL` if it is not there; other errors of the kernel.
    pub async fn remove_address(&self, link: u32, address: IpAddr, prefix: u8) -> io::Result<()> {
        let mut request = self.handle.address().add(link, address, prefix);
        let message = std::mem::take(request.message_mut());
        done(self.handle.address().del(message).execute()).await
    }

    /// Sets an interface up with this MTU.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub async fn raise(&self, link: u32, mtu: u32) -> io::Result<()> {
        let message = LinkUnspec::new_with_index(link).mtu(mtu).up().build();
        done(self.handle.link().set(message).execute()).await
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl NetlinkEvents {
    /// Subscribes to changes of interfaces, addresses, routes and rules, except route changes that
    /// `netlink` makes by [`Netlink::change_routes`].
    ///
    /// # Errors
    ///
    /// The netlink socket cannot be opened.
    pub fn open(netlink: &Netlink) -> io::Result<Self> {
        use MulticastGroup::{
            Ipv4Ifaddr, Ipv4Route, Ipv4Rule, Ipv6Ifaddr, Ipv6Route, Ipv6Rule, Link,
        };
        let groups = [Link, Ipv4Ifaddr, Ipv4Route, Ipv4Rule, Ipv6Ifaddr, Ipv6Route, Ipv6Rule];
        let (mut connection, _, messages) = rtnetlink::new_multicast_connection(&groups)?;
        let descriptor = connection.socket_mut().as_raw_fd();
        // SAFETY: the connection owns the descriptor and outlives this reference to it.
        let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
        let socket = SockRef::from(&descriptor);
        // Both calls are optional: they save reading the daemon's own changes and a full reread
        // after a burst.
        let _ = socket.attach_filter(&not_from(netlink.route_port));
        let _ = super::raw::force_buffer(&descriptor, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF);
        Ok(Self {
            messages: Box::pin(messages.map(|(message, _)| message)),
            driver: tokio::spawn(connection),
        })
    }

    /// Waits for a change.
    ///
    /// # Errors
    ///
    /// The connection is closed.
    pub async fn next(&mut self) -> io::Result<HostChange> {
        let Some(message) = self.messages.next().await else {
            return Err(io::Error::other("the netlink connection is closed"));
        };
        let replaces = message.header.flags & NLM_F_REPLACE != 0;
        Ok(match message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) => {
                HostChange::RouteMade { route, replaces }
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelRoute(route)) => {
                HostChange::RouteGone(route)
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelAddress(address)) => {
                HostChange::AddressGone(address.header.index)
            }
            NetlinkPayload::Overrun(_) => HostChange::Lost,
            _ => HostChange::Other,
        })
    }
}

impl Drop for NetlinkEvents {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A filter program that drops notifications caused by requests of that port (`nlmsg_pid`).
fn not_from(port: u32) -> [SockFilter; 4] {
    /// The offset of `nlmsg_pid` in `nlmsghdr`.
    const PORT: u32 = 12;
    // BPF_LD | BPF_W | BPF_ABS reads memory as big endian.
    let port = u32::from_be_bytes(port.to_ne_bytes());
    [
        SockFilter::new(0x20, 0, 0, PORT),
        SockFilter::new(0x15, 0, 1, port),
        SockFilter::new(0x06, 0, 0, 0),
        SockFilter::new(0x06, 0, 0, u32::MAX),
    ]
}

fn family(version: &IpVersion) -> AddressFamily {
    match version {
        IpVersion::V4 => AddressFamily::Inet,
        IpVersion::V6 => AddressFamily::Inet6,
    }
}

async fn all<T>(answers: impl Stream<Item = Result<T, rtnetlink::Error>>) -> io::Result<Vec<T>> {
    answers.try_collect().await.map_err(error)
}

async fn done(request: impl Future<Output = Result<(), rtnetlink::Error>>) -> io::Result<()> {
    request.await.map_err(error)
}

fn error(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}
