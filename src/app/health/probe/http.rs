//! An HTTP request: checks the status and, if configured, the first part of the body.

use std::net::{IpAddr, SocketAddr};

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, Version};
use tokio::io::{AsyncRead, AsyncWrite};

use super::exchange::ReplyEnd;
use super::tls::{self, Alpn};
use super::{ProbeAnswer, ProbeOutcome, exchange};
use crate::app::health::TakesChanges;
use crate::app::health::socket::{ProbeTarget, Sends};
use crate::app::health::trace::ANSWERED;
use crate::health::spec::{HttpProbe, HttpVersion, MAX_BODY};

pub(super) async fn probe<B: TakesChanges>(
    target: &mut ProbeTarget<'_, B>,
    http: &HttpProbe,
) -> ProbeOutcome {
    let request = request(target, http)?;
    match &http.tls {
        None => {
            let sends = match http.version {
                HttpVersion::Http2 => Sends::Messages,
                HttpVersion::Http10 | HttpVersion::Http11 => Sends::Request,
            };
            let mut stream = target.connect(sends).await?;
            if http.version == HttpVersion::Http2 {
                return Box::pin(ask2(target, http, stream, request)).await;
            }
            let outcome = ask(target, http, &mut stream, request).await;
            if outcome.as_ref().is_ok_and(|answer| answer.passed) {
                target.keep(stream);
            }
            outcome
        }
        Some(secure) => {
            let http2 = http.version == HttpVersion::Http2;
            let alpn = if http2 { Alpn::Http2 } else { Alpn::Http11 };
            // Boxed: these futures are large, and a plain request does not need them.
            let stream = tls::connect(target, secure, http.host.as_deref(), alpn);
            let mut stream = Box::pin(stream).await?;
            match http2 {
                true => Box::pin(ask2(target, http, stream, request)).await,
                false => Box::pin(ask(target, http, &mut stream, request)).await,
            }
        }
    }
}

/// Sends the request on a connection, and judges the answer.
async fn ask<B: TakesChanges>(
    target: &ProbeTarget<'_, B>,
    http: &HttpProbe,
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin + Send),
    request: Request<Empty<Bytes>>,
) -> ProbeOutcome {
    let ends = if http.tls.is_some() { ReplyEnd::Closed } else { ReplyEnd::Reset };
    let judge = async |response| judge(target, http, response).await;
    exchange::http1(stream, ends, request, judge).await?
}

/// The same by HTTP/2.
async fn ask2<B: TakesChanges>(
    target: &ProbeTarget<'_, B>,
    http: &HttpProbe,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
) -> ProbeOutcome {
    let judge = async |response| judge(target, http, response).await;
    exchange::http2(stream, request, judge).await?
}

async fn judge<B: TakesChanges>(
    target: &ProbeTarget<'_, B>,
    http: &HttpProbe,
    response: Response<Incoming>,
) -> ProbeOutcome {
    target.trace.step(ANSWERED);
    let status = response.status().as_u16();
    if !http.expects(status) {
        return Ok(ProbeAnswer::fail(format!("status {status}")));
    }
    match &http.expect_body {
        None => Ok(ProbeAnswer::pass(format!("status {status}"))),
        Some(pattern) => body(target, response, pattern).await,
    }
}

fn request<B: TakesChanges>(
    target: &ProbeTarget<'_, B>,
    http: &HttpProbe,
) -> Result<Request<Empty<Bytes>>, String> {
    let host = http.host.clone();
    let host = host.unwrap_or_else(|| host_of(target.destination(), http.tls.is_some()));
    let (version, scheme) = match http.version {
        HttpVersion::Http10 => (Version::HTTP_10, None),
        HttpVersion::Http11 => (Version::HTTP_11, None),
        // HTTP/2 has the host in `:authority` (RFC 9113 8.3.1).
        HttpVersion::Http2 if http.tls.is_some() => (Version::HTTP_2, Some("https")),
        HttpVersion::Http2 => (Version::HTTP_2, Some("http")),
    };
    let uri = match scheme {
        None => http.path.clone(),
        Some(scheme) => format!("{scheme}://{host}{}", http.path),
    };
    let cannot = |what: &str| format!("{what} of the check cannot be sent");
    let method = Method::from_bytes(http.method.as_bytes()).map_err(|_| cannot("the method"))?;
    let mut request = Request::builder()
        .method(method)
        .uri(uri)
        .version(version)
        .header(USER_AGENT, concat!("vstun/", env!("CARGO_PKG_VERSION")))
        .body(Empty::new())
        .map_err(|_| cannot("the path"))?;
    if scheme.is_none() {
        let host = HeaderValue::from_str(&host).map_err(|_| cannot("the host"))?;
        request.headers_mut().insert(HOST, host);
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    for (name, value) in &http.headers {
        let header = HeaderName::from_bytes(name.as_bytes()).ok();
        let header = header.zip(HeaderValue::from_str(value).ok());
        let (header, value) = header.ok_or_else(|| cannot("a header"))?;
        request.headers_mut().insert(header, value);
    }
    Ok(request)
}

/// The host of a request to that address (RFC 9110 7.2): without the port that its scheme implies.
fn host_of(destination: SocketAddr, tls: bool) -> String {
    let usual = if tls { 443 } else { 80 };
    match (destination.port() == usual, destination.ip()) {
        (true, IpAddr::V6(address)) => format!("[{address}]"),
        (true, IpAddr::V4(address)) => address.to_string(),
        (false, _) => destination.to_string(),
    }
}

/// Reads the body to its end, at most [`MAX_BODY`] bytes: an expression may name the end.
async fn body<B: TakesChanges>(
    target: &ProbeTarget<'_, B>,
    response: Response<Incoming>,
    pattern: &str,
) -> ProbeOutcome {
    let status = response.status().as_u16();
    let pattern = target.patterns.get(pattern).map_err(|error| error.to_string())?;
    let mut body = response.into_body();
    let mut read = Vec::new();
    while read.len() < MAX_BODY {
        match body.frame().await {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    let room = MAX_BODY - read.len();
                    read.extend_from_slice(data.get(..room.min(data.len())).unwrap_or_default());
                }
            }
            // The part read so far is matched, since servers close in different ways.
            None | Some(Err(_)) => break,
        }
    }
    if pattern.is_match(&read) {
        return Ok(ProbeAnswer::pass(format!("status {status}, the body matches")));
    }
    let len = read.len();
    Ok(ProbeAnswer::fail(format!("status {status}, the body does not match ({len} bytes read)")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_address_has_brackets_and_the_port_that_is_not_implied() {
        for (destination, tls, host) in [
            ("192.0.2.10:80", false, "192.0.2.10"),
            ("192.0.2.10:443", true, "192.0.2.10"),
            ("192.0.2.10:443", false, "192.0.2.10:443"),
            ("192.0.2.10:80", true, "192.0.2.10:80"),
            ("[2001:db8::10]:80", false, "[2001:db8::10]"),
            ("[2001:db8::10]:443", true, "[2001:db8::10]"),
            ("[2001:db8::10]:8080", false, "[2001:db8::10]:8080"),
            ("[2001:db8::10]:80", true, "[2001:db8::10]:80"),
        ] {
            let address = destination.parse().expect("an address and a port");
            assert_eq!(host_of(address, tls), host, "{destination} {tls}");
        }
    }
}
