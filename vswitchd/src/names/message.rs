//! From the bytes of a question to the bytes of an answer.
//!
//! Law: whatever the bytes are, there is an answer of at most the size that the asker takes, or none.
//!
//! Spec: RFC 1035 §4, RFC 6891 (sizes), RFC 8490 has nothing here: a question is one name.

use std::net::IpAddr;

use domain::base::iana::{Class, Opcode, Rcode};
use domain::base::message_builder::{AnswerBuilder, StaticCompressor};
use domain::base::{Message, MessageBuilder, Name, Rtype, Ttl};
use domain::rdata::{A, Aaaa, Ptr};

use super::zone::{Answer, Book, Kind};
use crate::model::containers::Id;

/// How long an answer holds: endpoints come and go, and asking again costs a hop.
const TTL: Ttl = Ttl::from_secs(5);

/// The size of a datagram without EDNS.
const PLAIN_SIZE: usize = 512;

/// The largest datagram that is sent or asked for: it needs no fragments on any network (RFC 9715 §3.1).
pub const DATAGRAM_MAX: usize = 1232;

/// What to do with what was received.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// Answer this.
    Bytes(Vec<u8>),
    /// Ask somebody else.
    Forward,
    /// It is no question.
    Nothing,
}

/// Who asks, and how.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// The network of the server.
    pub network: Id,
    /// Its address.
    pub address: IpAddr,
    /// It asks in datagrams, so answers have a bound.
    pub datagram: bool,
}

/// Answers a question. `turn` chooses who comes first among several.
pub fn reply(book: &Book, asker: Asker, bytes: &[u8], turn: usize) -> Reply {
    let Ok(question) = Message::from_slice(bytes) else {
        return Reply::Nothing;
    };
    if question.header().qr() {
        return Reply::Nothing;
    }
    if question.header().opcode() != Opcode::QUERY {
        return failure(bytes, Rcode::NOTIMP);
    }
    let Ok(asked) = question.sole_question() else {
        return failure(bytes, Rcode::FORMERR);
    };
    if asked.qclass() != Class::IN {
        return failure(bytes, Rcode::REFUSED);
    }
    let kind = match asked.qtype() {
        Rtype::A => Kind::A,
        Rtype::AAAA => Kind::Aaaa,
        Rtype::PTR => Kind::Ptr,
        _ => Kind::Other,
    };
    let name = asked.qname().to_string();
    match book.answer(&asker.network, asker.address, &name, kind) {
        Answer::Elsewhere => Reply::Forward,
        Answer::Nobody => failure(bytes, Rcode::NXDOMAIN),
        Answer::Name(name) => {
            let target = Name::<Vec<u8>>::vec_from_str(&name);
            build(question, asker.datagram, |answer| {
                if let Ok(target) = target {
                    push(answer, asked.qname(), Ptr::new(target));
                }
            })
        }
        Answer::Addresses(mut addresses) => {
            if !addresses.is_empty() {
                let first = turn % addresses.len();
                addresses.rotate_left(first);
            }
            build(question, asker.datagram, |answer| {
                for address in addresses {
                    let fits = match address {
                        IpAddr::V4(address) => {
                            let data = A::new(address.octets().into());
                            push(answer, asked.qname(), data)
                        }
                        IpAddr::V6(address) => push(answer, asked.qname(), Aaaa::new(address)),
                    };
                    if !fits {
                        break;
                    }
                }
            })
        }
    }
}

type Target = StaticCompressor<Vec<u8>>;

/// Adds a record. Where it has no room the answer says that it is cut.
fn push(
    answer: &mut AnswerBuilder<Target>,
    name: impl domain::base::ToName,
    data: impl domain::base::rdata::ComposeRecordData,
) -> bool {
    let fits = answer.push((name, Class::IN, TTL, data)).is_ok();
    if !fits {
        answer.header_mut().set_tc(true);
    }
    fits
}

/// An answer to `question`, with what `fill` puts in.
fn build(
    question: &Message<[u8]>,
    datagram: bool,
    fill: impl FnOnce(&mut AnswerBuilder<Target>),
) -> Reply {
    let edns = question.opt();
    let room = match &edns {
        _ if !datagram => usize::from(u16::MAX),
        Some(opt) => usize::from(opt.udp_payload_size()).clamp(PLAIN_SIZE, DATAGRAM_MAX),
        None => PLAIN_SIZE,
    };
    let Ok(mut builder) = MessageBuilder::from_target(StaticCompressor::new(Vec::new()));
    // An option of its own follows what is asked for.
    builder.set_push_limit(room - OPT_SIZE);
    let Ok(mut answer) = builder.start_answer(question, Rcode::NOERROR) else {
        return failure(question.as_slice(), Rcode::SERVFAIL);
    };
    answer.header_mut().set_aa(true);
    answer.header_mut().set_ra(true);
    fill(&mut answer);
    let mut last = answer.additional();
    if edns.is_some() {
        last.clear_push_limit();
        let told = last.opt(|opt| {
            opt.set_udp_payload_size(DATAGRAM_MAX as u16);
            Ok(())
        });
        debug_assert!(told.is_ok(), "there is room for an option");
    }
    Reply::Bytes(last.finish().into_target())
}

/// Bytes of an empty OPT record.
const OPT_SIZE: usize = 11;

/// An answer that says why there is none.
pub(super) fn failure(bytes: &[u8], why: Rcode) -> Reply {
    let Ok(question) = Message::from_slice(bytes) else {
        return Reply::Nothing;
    };
    let mut answer = MessageBuilder::new_vec().start_error(question, why);
    answer.header_mut().set_ra(true);
    Reply::Bytes(answer.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::zone::tests::{book, id, ip};
    use proptest::prelude::*;

    fn asker(datagram: bool) -> Asker {
        Asker {
            network: id(1),
            address: ip("10.1.0.2"),
            datagram,
        }
    }

    fn question(name: &str, kind: Rtype, size: Option<u16>) -> Vec<u8> {
        let mut builder = MessageBuilder::new_vec();
        builder.header_mut().set_id(77);
        builder.header_mut().set_rd(true);
        let mut question = builder.question();
        let name = Name::<Vec<u8>>::vec_from_str(name).expect("a name");
        question.push((name, kind)).expect("room");
        let mut last = question.additional();
        if let Some(size) = size {
            let told = last.opt(|opt| {
                opt.set_udp_payload_size(size);
                Ok(())
            });
            told.expect("room");
        }
        last.finish()
    }

    fn ask(name: &str, kind: Rtype) -> Message<Vec<u8>> {
        match reply(&book(), asker(true), &question(name, kind, None), 0) {
            Reply::Bytes(bytes) => Message::from_octets(bytes).expect("a message"),
            other => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn answers_are_messages_about_the_question() {
        let asked = question("WEB.red", Rtype::A, None);
        let answer = ask("WEB.red", Rtype::A);
        assert!(answer.is_answer(Message::from_slice(&asked).expect("a message")));
        assert!(answer.header().aa() && answer.header().ra() && answer.header().rd());
        let section = answer.answer().expect("a section");
        let records: Vec<A> = section
            .limit_to::<A>()
            .map(|record| record.expect("a record").data().clone())
            .collect();
        assert_eq!(records.len(), 2);
        let answer = ask("3.0.1.10.in-addr.arpa", Rtype::PTR);
        let mut section = answer.answer().expect("a section").limit_to::<Ptr<_>>();
        let record = section.next().expect("one").expect("a record");
        assert_eq!(record.data().ptrdname().to_string(), "c2.Red");
        let answer = ask("c2", Rtype::MX);
        assert_eq!(answer.header().rcode(), Rcode::NOERROR);
        assert_eq!(answer.header_counts().ancount(), 0);
        let answer = ask("9.0.1.10.in-addr.arpa", Rtype::PTR);
        assert_eq!(answer.header().rcode(), Rcode::NXDOMAIN);
        let asked = question("example.org", Rtype::A, None);
        assert_eq!(reply(&book(), asker(true), &asked, 0), Reply::Forward);
    }

    #[test]
    fn what_does_not_fit_is_cut_and_whole_over_a_stream() {
        let mut zone = crate::names::Zone::default();
        zone.fill_for_tests("many", 200);
        let mut book = Book::default();
        book.put(id(1), zone);
        let ask = |size, datagram| {
            let asked = question("many", Rtype::A, size);
            match reply(&book, asker(datagram), &asked, 0) {
                Reply::Bytes(bytes) => Message::from_octets(bytes).expect("a message"),
                other => panic!("{other:?}"),
            }
        };
        for (size, bound) in [(None, 512), (Some(700), 700), (Some(9000), 1232)] {
            let answer = ask(size, true);
            assert!(answer.header().tc());
            assert!(answer.as_slice().len() <= bound);
            assert!(
                answer.as_slice().len() > bound - 40,
                "little of the room is used"
            );
            assert_eq!(answer.opt().is_some(), size.is_some());
        }
        let answer = ask(None, false);
        assert!(!answer.header().tc());
        assert_eq!(answer.header_counts().ancount(), 200);
    }

    #[test]
    fn several_take_turns() {
        let first = |turn| {
            let asked = question("web", Rtype::A, None);
            let Reply::Bytes(bytes) = reply(&book(), asker(true), &asked, turn) else {
                panic!("no answer");
            };
            let answer = Message::from_octets(bytes).expect("a message");
            let mut section = answer.answer().expect("a section").limit_to::<A>();
            section
                .next()
                .expect("one")
                .expect("a record")
                .data()
                .addr()
        };
        assert_eq!(first(0), first(2));
        assert_ne!(first(0), first(1));
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_answer_within_bounds_or_none(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
            mutated: bool,
            at in 0_usize..40,
        ) {
            if mutated {
                let mut good = question("web.red", Rtype::A, Some(1232));
                let place = at % good.len();
                good[place] = bytes.first().copied().unwrap_or_default();
                bytes = good;
            }
            if let Reply::Bytes(answer) = reply(&book(), asker(true), &bytes, 1) {
                prop_assert!(answer.len() <= DATAGRAM_MAX);
                prop_assert!(Message::from_octets(answer).is_ok());
            }
        }
    }
}
