//! An HTTP request: checks the status and, if configured, the first part of the body.

use std::error::Error;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, Version};
use hyper_util::rt::TokioIo;
use regex::bytes::Regex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;

use super::{Answer, Outcome};
use crate::app::health::TakesChanges;
use crate::app::health::socket::Target;
use crate::health::spec::{HttpProbe, HttpVersion, MAX_BODY};

pub(super) async fn probe<B: TakesChanges>(
    target: &mut Target<'_, B>,
    http: &HttpProbe,
) -> Outcome {
    let request = request(target, http)?;
    let stream = target.connect().await?;
    ask(target, http, stream, request).await
}

/// Sends the request on a connection, and judges the answer.
pub(super) async fn ask<B: TakesChanges>(
    target: &Target<'_, B>,
    http: &HttpProbe,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
) -> Outcome {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| words(&error))?;
    let _connection = Driven(tokio::spawn(async move { drop(connection.await) }));
    let sent = sender.send_request(request).await;
    let response = sent.map_err(|error| words(&error))?;
    target.trace.step("answered");
    let status = response.status().as_u16();
    if !http.expects(status) {
        return Ok(Answer::fail(format!("status {status}")));
    }
    match &http.expect_body {
        None => Ok(Answer::pass(format!("status {status}"))),
        Some(pattern) => body(response, pattern).await,
    }
}

/// The connection's driving task, which ends with the probe.
struct Driven(JoinHandle<()>);

impl Drop for Driven {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn request<B: TakesChanges>(
    target: &Target<'_, B>,
    http: &HttpProbe,
) -> Result<Request<Empty<Bytes>>, String> {
    let destination = target.destination();
    let usual = if http.tls.is_some() { 443 } else { 80 };
    let host = http.host.clone().unwrap_or_else(|| match destination.port() == usual {
        true if destination.is_ipv6() => format!("[{}]", destination.ip()),
        true => destination.ip().to_string(),
        false => destination.to_string(),
    });
    let version = match http.version {
        HttpVersion::Http10 => Version::HTTP_10,
        HttpVersion::Http11 => Version::HTTP_11,
    };
    let cannot = |what: &str| format!("{what} of the check cannot be sent");
    let method = Method::from_bytes(http.method.as_bytes()).map_err(|_| cannot("the method"))?;
    let mut request = Request::builder()
        .method(method)
        .uri(&http.path)
        .version(version)
        .header(HOST, host)
        .header(USER_AGENT, concat!("vstun/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .body(Empty::new())
        .map_err(|_| cannot("the path"))?;
    for (name, value) in &http.headers {
        let header = HeaderName::from_bytes(name.as_bytes()).ok();
        let header = header.zip(HeaderValue::from_str(value).ok());
        let (header, value) = header.ok_or_else(|| cannot("a header"))?;
        request.headers_mut().insert(header, value);
    }
    Ok(request)
}

/// Reads the body until it matches, at most [`MAX_BODY`] bytes.
async fn body(response: Response<Incoming>, pattern: &str) -> Outcome {
    let status = response.status().as_u16();
    let pattern = Regex::new(pattern).map_err(|error| error.to_string())?;
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
        return Ok(Answer::pass(format!("status {status}, the body matches")));
    }
    let len = read.len();
    Ok(Answer::fail(format!("status {status}, the body does not match ({len} bytes read)")))
}

/// The error as text, down to its root cause.
fn words(error: &hyper::Error) -> String {
    if error.is_incomplete_message() {
        return "connection closed before the answer".to_owned();
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    if error.is_parse() { format!("no answer of HTTP: {text}") } else { text }
}
