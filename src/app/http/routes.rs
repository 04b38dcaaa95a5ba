//! The paths and their answers.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName,
    HeaderValue, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request as HttpRequest, Response, StatusCode, Version};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::body::{self, Body};
use super::connection::ClientLimits;
use super::query::{self, ConnectionQuery};
use crate::app::serve::{Peer, RequestHandler};
use crate::control::{self, Readiness, Request};
use crate::metrics::Format;
use crate::sys::random;

/// The time limit of an answer, or of the next page of connections.
const ANSWER: Duration = Duration::from_secs(10);

/// The time limit for an answer of the packet thread that shows that it works.
const ALIVE: Duration = Duration::from_secs(2);

/// The most HTTP clients that listen to events: fewer than all listeners, so that status pages
/// leave slots for `vstun events`.
const LISTENERS: usize = 8;

/// The paths of every daemon, for the error about an unknown one.
const PATHS: &str = "/ (a status page), /metrics, /healthz, /readyz, /api/v1/stats, /api/v1/drops";

/// Those of a daemon that keeps services.
const SERVICE_PATHS: &str = ", /api/v1/list, /api/v1/connections, /api/v1/checks";

/// The status page; `{NONCE}` is replaced in its scripts and styles.
const PAGE: &str = include_str!("page.html");

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const JSON_LINES: &str = "application/x-ndjson";
const EVENTS: &str = "text/event-stream";
const PLAIN: &str = "text/plain; charset=utf-8";

/// The state shared by all clients.
#[derive(Debug)]
pub(super) struct HttpService<D> {
    handler: Arc<D>,
    /// Whether only processes of this host can connect.
    loopback: bool,
    listeners: Arc<Semaphore>,
    keep_alive: Duration,
}

impl<D> HttpService<D> {
    pub(super) fn new(handler: Arc<D>, loopback: bool, limits: ClientLimits) -> Self {
        let listeners = Arc::new(Semaphore::new(LISTENERS));
        Self { handler, loopback, listeners, keep_alive: limits.keep_alive }
    }
}

/// Answers a request.
pub(super) async fn answer<D: RequestHandler>(
    served: &HttpService<D>,
    request: &HttpRequest<Incoming>,
) -> Response<Body> {
    let host = match host_of(request) {
        Ok(host) => host,
        Err(why) => return failure(StatusCode::BAD_REQUEST, why),
    };
    if served.loopback && !names_this_host(host) {
        let text = "this address serves requests to localhost or to an IP address only";
        return failure(StatusCode::MISDIRECTED_REQUEST, text);
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = failure(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    route(served, request).await
}

async fn route<D: RequestHandler>(
    served: &HttpService<D>,
    request: &HttpRequest<Incoming>,
) -> Response<Body> {
    let handler = &served.handler;
    match request.uri().path() {
        "/" => page(),
        "/metrics" => metrics(handler.as_ref(), request).await,
        "/healthz" => healthz(handler.as_ref()).await,
        "/readyz" => readyz(handler.as_ref()).await,
        "/api/v1/list" if D::KEEPS_SERVICES => json(handler.as_ref(), Request::List).await,
        "/api/v1/checks" if D::KEEPS_SERVICES => json(handler.as_ref(), Request::Checks).await,
        "/api/v1/stats" => json(handler.as_ref(), Request::Stats).await,
        "/api/v1/drops" => json(handler.as_ref(), Request::Drops).await,
        "/api/v1/connections" if D::KEEPS_SERVICES => {
            connections(handler, request.uri().query()).await
        }
        "/api/v1/events" => events(served, request.uri().query()),
        path => {
            let (of, more) =
                if D::KEEPS_SERVICES { ("", SERVICE_PATHS) } else { (" of a real server", "") };
            let why =
                format!("there is no {path:?}{of}; there are {PATHS}{more} and /api/v1/events");
            failure(StatusCode::NOT_FOUND, &why)
        }
    }
}

/// The status page. Its policy lets the browser run and display only elements with this answer's
/// nonce, and connect only to this daemon (<https://www.w3.org/TR/CSP3/>).
fn page() -> Response<Body> {
    let Ok([first, second]) = random::words::<2>() else {
        return failure(StatusCode::SERVICE_UNAVAILABLE, "no random numbers from the kernel");
    };
    let nonce = format!("{first:016x}{second:016x}");
    let mut response = found(HTML, body::text(PAGE.replace("{NONCE}", &nonce)));
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'"
    );
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// The host to which the request is addressed: that of an absolute target, else the `Host` header
/// (RFC 9112 section 3.2.2). HTTP/1.1 needs exactly one such header, and HTTP/1.0 has one at most.
fn host_of<B>(request: &HttpRequest<B>) -> Result<Option<&[u8]>, &'static str> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let header = hosts.next().map(HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err("the request has several Host headers");
    }
    if header.is_none() && request.version() >= Version::HTTP_11 {
        return Err("the request has no Host header, which HTTP/1.1 needs");
    }
    Ok(request.uri().authority().map(|authority| authority.as_str().as_bytes()).or(header))
}

/// Whether a host's name is one of this host. A web page that points its own name here (DNS
/// rebinding) sends that name, which is refused.
fn names_this_host(host: Option<&[u8]>) -> bool {
    let Some(host) = host else { return true };
    let Ok(host) = str::from_utf8(host) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

async fn metrics<D: RequestHandler>(
    handler: &D,
    request: &HttpRequest<Incoming>,
) -> Response<Body> {
    let accepts = request.headers().get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let open = accepts.map(Format::accepted).any(|format| format == Format::OpenMetrics);
    let format = if open { Format::OpenMetrics } else { Format::Prometheus };
    match timeout(ANSWER, handler.metrics(format)).await {
        Ok(Ok(page)) => {
            let mut response = found(format.content_type(), body::text(page));
            response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
            response
        }
        Ok(Err(error)) => failure(StatusCode::SERVICE_UNAVAILABLE, &format!("{error:#}")),
        Err(_) => late(ANSWER),
    }
}

async fn json<D: RequestHandler>(handler: &D, request: Request) -> Response<Body> {
    match timeout(ANSWER, handler.answer(request, Vec::new(), &Peer::of_http())).await {
        Ok(Ok(text)) => found(JSON, body::text(text)),
        Ok(Err(error)) => failure(StatusCode::SERVICE_UNAVAILABLE, &format!("{error:#}")),
        Err(_) => late(ANSWER),
    }
}

/// The connections that a query selects, as JSON lines.
async fn connections<D: RequestHandler>(handler: &Arc<D>, query: Option<&str>) -> Response<Body> {
    let ConnectionQuery { which, limit } = match query::connections(query) {
        Ok(wanted) => wanted,
        Err(why) => return failure(StatusCode::BAD_REQUEST, &why),
    };
    match timeout(ANSWER, handler.select(which)).await {
        Ok(Ok(which)) => found(JSON_LINES, body::connections(Arc::clone(handler), limit, which)),
        Ok(Err(error)) => failure(StatusCode::BAD_REQUEST, &format!("{error:#}")),
        Err(_) => late(ANSWER),
    }
}

/// Whether the packet thread works: it counts drops, so it is asked for them.
async fn healthz<D: RequestHandler>(handler: &D) -> Response<Body> {
    match timeout(ALIVE, handler.answer(Request::Drops, Vec::new(), &Peer::of_http())).await {
        Ok(Ok(_)) => found(PLAIN, body::text("ok\n".to_owned())),
        Ok(Err(error)) => failure(StatusCode::SERVICE_UNAVAILABLE, &format!("{error:#}")),
        Err(_) => late(ALIVE),
    }
}

/// Whether clients' packets would be served.
async fn readyz<D: RequestHandler>(handler: &D) -> Response<Body> {
    let readiness = match timeout(ALIVE, handler.readiness()).await {
        Ok(Ok(readiness)) => readiness,
        Ok(Err(error)) => Readiness::unless(vec![format!("{error:#}")]),
        Err(_) => return late(ALIVE),
    };
    let mut response = found(JSON, body::text(control::encode(&readiness)));
    if !readiness.ready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

fn events<D: RequestHandler>(served: &HttpService<D>, query: Option<&str>) -> Response<Body> {
    let span = match query::events(query) {
        Ok(span) => span,
        Err(why) => return failure(StatusCode::BAD_REQUEST, &why),
    };
    let Ok(slot) = Arc::clone(&served.listeners).try_acquire_owned() else {
        let text = format!("busy: {LISTENERS} clients of HTTP listen to events; end one of them");
        return failure(StatusCode::SERVICE_UNAVAILABLE, &text);
    };
    match served.handler.listen(span) {
        Ok(listener) => found(EVENTS, body::events(listener, slot, served.keep_alive)),
        Err(error) => failure(StatusCode::SERVICE_UNAVAILABLE, &format!("{error:#}")),
    }
}

fn late(limit: Duration) -> Response<Body> {
    let text = format!("no answer within {} seconds", limit.as_secs());
    failure(StatusCode::SERVICE_UNAVAILABLE, &text)
}

fn failure(status: StatusCode, why: &str) -> Response<Body> {
    let mut response = found(JSON, body::text(control::encode_error(why)));
    *response.status_mut() = status;
    response
}

fn found(content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let fixed: [(HeaderName, &'static str); 3] = [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    for (name, value) in fixed {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_this_one_or_an_address() {
        for (host, expected) in [
            ("localhost", true),
            ("LocalHost:9180", true),
            ("127.0.0.1:9180", true),
            ("[::1]:9180", true),
            ("[::1]", true),
            ("10.0.0.1", true),
            ("attacker.example", false),
            ("attacker.example:9180", false),
            ("localhost.attacker.example", false),
            ("", false),
        ] {
            assert_eq!(names_this_host(Some(host.as_bytes())), expected, "{host}");
        }
        assert!(names_this_host(None));
    }
}
