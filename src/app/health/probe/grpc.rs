//! A question by grpc.health.v1
//! (<https://github.com/grpc/grpc/blob/master/doc/health-checking.md>).

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, TE, USER_AGENT};
use hyper::{Method, Request, Response, Version};
use tokio::io::{AsyncRead, AsyncWrite};

use super::tls::{self, Alpn};
use super::{ProbeAnswer, ProbeOutcome, exchange};
use crate::app::health::TakesChanges;
use crate::app::health::socket::{ProbeTarget, Sends};
use crate::app::health::trace::ANSWERED;
use crate::health::spec::GrpcProbe;

/// The longest answer that is read, in bytes: a status is seven.
const MAX_ANSWER: usize = 4_096;

/// The prefix of each message: a flag for compression and the length (gRPC over HTTP/2).
const PREFIX: usize = 5;

/// `HealthCheckResponse.status`.
const SERVING: u64 = 1;

pub(super) async fn probe<B: TakesChanges>(
    target: &mut ProbeTarget<'_, B>,
    grpc: &GrpcProbe,
) -> ProbeOutcome {
    let request = request(target, grpc)?;
    match &grpc.tls {
        None => {
            let stream = target.connect(Sends::Messages).await?;
            ask(target, stream, request).await
        }
        Some(secure) => {
            let stream = tls::connect(target, secure, None, Alpn::Http2).await?;
            ask(target, stream, request).await
        }
    }
}

fn request<B: TakesChanges>(
    target: &ProbeTarget<'_, B>,
    grpc: &GrpcProbe,
) -> Result<Request<Full<Bytes>>, String> {
    let scheme = if grpc.tls.is_some() { "https" } else { "http" };
    let destination = target.destination();
    Request::builder()
        .method(Method::POST)
        .uri(format!("{scheme}://{destination}/grpc.health.v1.Health/Check"))
        .version(Version::HTTP_2)
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(USER_AGENT, concat!("vstun/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(question(&grpc.service)?.into()))
        .map_err(|error| error.to_string())
}

/// `HealthCheckRequest { service }`: field 1, a text (protobuf wire type 2).
pub(in crate::app::health) fn question(service: &str) -> Result<Vec<u8>, String> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(1 << 3 | 2);
        // The length as a varint: seven bits in each byte, the lowest first.
        let mut len = service.len();
        while len >= 0x80 {
            message.push(u8::try_from(len & 0x7f).unwrap_or_default() | 0x80);
            len >>= 7;
        }
        message.push(u8::try_from(len).unwrap_or_default());
        message.extend_from_slice(service.as_bytes());
    }
    let len = u32::try_from(message.len()).map_err(|error| error.to_string())?;
    let mut bytes = vec![0];
    bytes.extend_from_slice(&len.to_be_bytes());
    bytes.append(&mut message);
    Ok(bytes)
}

async fn ask<B: TakesChanges>(
    target: &ProbeTarget<'_, B>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> ProbeOutcome {
    exchange::http2(stream, request, async |response| judge(target, response).await).await?
}

async fn judge<B: TakesChanges>(
    target: &ProbeTarget<'_, B>,
    response: Response<Incoming>,
) -> ProbeOutcome {
    target.trace.step(ANSWERED);
    if !response.status().is_success() {
        return Err(format!("status {}", response.status().as_u16()));
    }
    let first = grpc_status(response.headers());
    let (message, trailers) = read(response).await?;
    match first.or_else(|| grpc_status(&trailers)) {
        Some(0) => {}
        // It is sent even if all is well; without it the answer may be incomplete.
        None => return Ok(ProbeAnswer::fail("an answer without a grpc status")),
        // 5: the service is unknown to the server; 12: it has no health service.
        Some(5) => return Ok(ProbeAnswer::fail("the server does not know the service")),
        Some(12) => return Ok(ProbeAnswer::fail("the server has no grpc.health.v1")),
        Some(code) => return Ok(ProbeAnswer::fail(format!("grpc status {code}"))),
    }
    Ok(match payload(&message).and_then(status) {
        Some(SERVING) => ProbeAnswer::pass("SERVING"),
        Some(2) => ProbeAnswer::fail("NOT_SERVING"),
        Some(3) => ProbeAnswer::fail("SERVICE_UNKNOWN"),
        Some(0) | None => ProbeAnswer::fail("UNKNOWN"),
        Some(other) => ProbeAnswer::fail(format!("serving status {other}")),
    })
}

async fn read(response: Response<Incoming>) -> Result<(Vec<u8>, HeaderMap), String> {
    let (mut body, mut message, mut trailers) =
        (response.into_body(), Vec::new(), HeaderMap::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("no answer of gRPC: {error}"))?;
        match frame.into_data() {
            Ok(data) if message.len() + data.len() <= MAX_ANSWER => {
                message.extend_from_slice(&data);
            }
            Ok(_) => return Err(format!("an answer of more than {MAX_ANSWER} bytes")),
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    Ok((message, trailers))
}

/// The only message of the answer, which is neither compressed nor cut off; empty: there is none.
fn payload(answer: &[u8]) -> Option<&[u8]> {
    let Some(([flag, len @ ..], message)) = answer.split_first_chunk::<PREFIX>() else {
        return answer.is_empty().then_some(answer);
    };
    let whole = usize::try_from(u32::from_be_bytes(*len)) == Ok(message.len());
    (*flag == 0 && whole).then_some(message)
}

fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// `HealthCheckResponse { status }`: field 1, a number (wire type 0); absent it is 0. One byte
/// holds every defined status.
fn status(message: &[u8]) -> Option<u64> {
    match message {
        [] => Some(0),
        [8, value, ..] if *value < 0x80 => Some(u64::from(*value)),
        _ => None,
    }
}
