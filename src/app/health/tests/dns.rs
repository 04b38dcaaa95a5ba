//! The data of answers of DNS, by the type of record.

use hickory_proto::op::{Message, MessageType, OpCode};
use hickory_proto::rr::rdata::{A, CNAME, MX, NS, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record};
use hickory_proto::serialize::binary::BinDecodable;

use super::kinds::datagrams;
use super::*;
use crate::health::spec::DnsProbe;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

/// A name server with these records, which changes its answers so before it sends them.
fn name_server(records: Vec<RData>, change: impl Fn(&mut Message) + Send + Sync + 'static) -> u16 {
    datagrams(move |bytes| {
        let asked = Message::from_bytes(bytes).unwrap();
        let mut answer = Message::new(asked.metadata.id, MessageType::Response, OpCode::Query);
        answer.add_queries(asked.queries.clone());
        for data in &records {
            answer.add_answer(Record::from_rdata(name("www.example."), 60, data.clone()));
        }
        change(&mut answer);
        vec![answer.to_vec().unwrap()]
    })
}

fn asking(record: &str, expected: &str) -> Probe {
    Probe::Dns(DnsProbe {
        query: "www.example".to_owned(),
        record: record.to_owned(),
        expect_rcode: "NOERROR".to_owned(),
        expect_answer: Some(expected.to_owned()),
    })
}

/// Names have no case (RFC 4343), and the configuration has their form on the wire.
#[test]
fn an_answer_has_the_data_of_its_type() {
    let cname = |text: &str| RData::CNAME(CNAME(name(text)));
    let addresses = || [80, 81].map(|last| RData::A(A::new(192, 0, 2, last))).to_vec();
    let alias = || [vec![cname("real.example.")], addresses()].concat();
    let rows = [
        ("A", addresses(), "192.0.2.81", true, "NOERROR, 192.0.2.81"),
        ("A", alias(), "192.0.2.80", true, "NOERROR, 192.0.2.80"),
        ("A", addresses(), "192.0.2.8", false, "192.0.2.80, 192.0.2.81, expected 192.0.2.8"),
        ("A", Vec::new(), "192.0.2.8", false, "no answer, expected 192.0.2.8"),
        ("CNAME", vec![cname("Real.Example.")], "real.example", true, "NOERROR, real.example"),
        ("CNAME", vec![cname("real.example.")], "REAL.example.", true, "NOERROR, REAL.example."),
        ("CNAME", vec![cname("unreal.example.")], "real.example", false, "unreal.example., exp"),
        ("CNAME", vec![cname("xn--bcher-kva.example.")], "xn--bcher-kva.example", true, "NOERROR"),
        ("NS", vec![RData::NS(NS(name("A.ns.example.")))], "a.ns.example", true, "NOERROR"),
        ("MX", vec![RData::MX(MX::new(10, name("Mx.example.")))], "10 mx.example", true, "NOERROR"),
        ("MX", vec![RData::MX(MX::new(10, name("mx.example.")))], "1 mx.example", false, "10 mx"),
        (
            "SRV",
            vec![RData::SRV(SRV::new(1, 2, 443, name("Real.example.")))],
            "1 2 443 real.example.",
            true,
            "NOERROR",
        ),
        ("TXT", vec![RData::TXT(TXT::new(vec!["All Well".to_owned()]))], "All Well", true, "NOE"),
        ("TXT", vec![RData::TXT(TXT::new(vec!["All Well".to_owned()]))], "all well", false, "All"),
    ];
    for (record, records, expected, passed, detail) in rows {
        let found = found(asking(record, expected), name_server(records, |_| {}));
        let right = found.0 == passed && found.1.starts_with(detail);
        assert!(right, "{record} {expected}: {found:?}");
    }
}

#[test]
fn a_cut_off_answer_passes_with_what_it_has_and_another_identifier_never() {
    let records = || vec![RData::A(A::new(192, 0, 2, 80))];
    let cut = |answer: &mut Message| answer.metadata.truncation = true;
    let of_another = |answer: &mut Message| answer.metadata.id ^= 1;
    let late = "an answer to another question, then nothing within 2s";
    for (what, port, expected, passed, detail) in [
        ("cut off", name_server(records(), cut), "192.0.2.80", true, "NOERROR, 192.0.2.80"),
        (
            "cut off before it",
            name_server(records(), cut),
            "192.0.2.81",
            false,
            "192.0.2.80 and more that did not fit, expected 192.0.2.81",
        ),
        (
            "empty",
            name_server(vec![], cut),
            "192.0.2.81",
            false,
            "more than fits, expected 192.0.2.81",
        ),
        ("of another", name_server(records(), of_another), "192.0.2.80", false, late),
    ] {
        let found = found_as(detail, asking("A", expected), port);
        assert_eq!((found.0, found.1.as_str()), (passed, detail), "{what}");
    }
}
