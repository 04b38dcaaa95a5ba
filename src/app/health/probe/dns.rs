//! A DNS question over UDP.

use std::str::FromStr;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use hickory_proto::serialize::binary::BinDecodable;

use super::udp::{connect, refused};
use super::{ProbeAnswer, ProbeOutcome};
use crate::app::health::TakesChanges;
use crate::app::health::socket::ProbeTarget;
use crate::health::spec::DnsProbe;

/// The longest answer over UDP (RFC 1035 2.3.4 without EDNS), with room for servers that send more.
const MAX_ANSWER: usize = 4_096;

pub(super) async fn probe<B: TakesChanges>(
    target: &mut ProbeTarget<'_, B>,
    dns: &DnsProbe,
) -> ProbeOutcome {
    let mut name = Name::from_str(&dns.query).map_err(|error| format!("query: {error}"))?;
    // As it comes back in the answer.
    name.set_fqdn(true);
    let record = RecordType::from_str(&dns.record).map_err(|error| format!("record: {error}"))?;
    let id = u16::try_from(crate::sys::random::words::<1>().map_or(1, |[word]| word & 0xffff));
    let id = id.unwrap_or_default();
    let mut question = Message::new(id, MessageType::Query, OpCode::Query);
    question.metadata.recursion_desired = true;
    let query = Query::query(name, record);
    question.add_query(query.clone());
    let question = question.to_vec().map_err(|error| format!("query: {error}"))?;
    let socket = connect(target).await?;
    socket.send(&question).await.map_err(|error| refused(target, &error))?;
    target.trace.step("asked");
    let mut bytes = vec![0; MAX_ANSWER];
    loop {
        let len = socket.recv(&mut bytes).await.map_err(|error| refused(target, &error))?;
        let answer = Message::from_bytes(bytes.get(..len).unwrap_or_default());
        let answer = answer.map_err(|error| format!("no answer of DNS: {error}"))?;
        // A late answer to another question is ignored: it may have the same identifier (RFC 5452
        // section 9).
        if answer.metadata.id == id && answers(&answer, &query) {
            return Ok(judge(dns, &answer));
        }
        target.trace.step("an answer to another question");
    }
}

/// Whether it answers that question. An error may come without the question.
fn answers(answer: &Message, query: &Query) -> bool {
    let error = answer.metadata.response_code != ResponseCode::NoError;
    answer.metadata.message_type == MessageType::Response
        && (answer.queries == [query.clone()] || (error && answer.queries.is_empty()))
}

fn judge(dns: &DnsProbe, answer: &Message) -> ProbeAnswer {
    let code = name_of(answer.metadata.response_code);
    if code != dns.expect_rcode {
        return ProbeAnswer::fail(format!("{code}, expected {}", dns.expect_rcode));
    }
    let Some(expected) = &dns.expect_answer else { return ProbeAnswer::pass(code) };
    if answer.answers.iter().any(|record| is_expected(&record.data, expected)) {
        return ProbeAnswer::pass(format!("{code}, {expected}"));
    }
    let found: Vec<String> = answer.answers.iter().map(|record| text(&record.data)).collect();
    let found = match (found.is_empty(), answer.metadata.truncation) {
        (true, true) => "more than fits".to_owned(),
        (true, false) => "no answer".to_owned(),
        (false, true) => format!("{} and more that did not fit", found.join(", ")),
        (false, false) => found.join(", "),
    };
    ProbeAnswer::fail(format!("{found}, expected {expected}"))
}

/// Whether the data is the expected one. Names have no case (RFC 4343).
fn is_expected(data: &RData, expected: &str) -> bool {
    let text = text(data);
    let (text, expected) = (text.trim_end_matches('.'), expected.trim_end_matches('.'));
    match data {
        RData::TXT(_) => text == expected,
        _ => text.eq_ignore_ascii_case(expected),
    }
}

/// The data as in a zone file, with names in the form that they have on the wire.
fn text(data: &RData) -> String {
    match data {
        RData::CNAME(name) => name.0.to_ascii(),
        RData::NS(name) => name.0.to_ascii(),
        RData::PTR(name) => name.0.to_ascii(),
        RData::MX(mx) => format!("{} {}", mx.preference, mx.exchange.to_ascii()),
        RData::SRV(srv) => {
            format!("{} {} {} {}", srv.priority, srv.weight, srv.port, srv.target.to_ascii())
        }
        other => other.to_string(),
    }
}

/// The code by the name that operators know from dig (RFC 1035 4.1.1, RFC 2136).
fn name_of(code: ResponseCode) -> String {
    match code {
        ResponseCode::NoError => "NOERROR",
        ResponseCode::FormErr => "FORMERR",
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::NotImp => "NOTIMP",
        ResponseCode::Refused => "REFUSED",
        other => return format!("{other}"),
    }
    .to_owned()
}
