//! Stateless DHCPv6: hosts that chose their addresses themselves ask for servers of names.
//!
//! Not for addresses: requests for some are not answered, as by a server that has none.
//!
//! Spec: RFC 8415 §18.2.6 and §18.3.6 (information-request), §11.4 (DUID-LL), §21.2, §21.3; RFC 3646.

use std::net::IpAddr;

use vswitch_packet::checksum::Sum;
use vswitch_packet::udp::{self, Udp};
use vswitch_packet::{Protocol, ipv6};

use super::frame::{self, Link, ipv6_of, stations};
use super::{Gateway, Out, Seat};
use crate::buffer::{FramePool, Packet};
use crate::counters::DropReason;
use crate::tick::Tick;

const SERVER_PORT: u16 = 547;
const CLIENT_PORT: u16 = 546;

const REPLY: u8 = 7;
const INFORMATION_REQUEST: u8 = 11;

const CLIENT_ID: u16 = 1;
const SERVER_ID: u16 = 2;
const DNS: u16 = 23;

/// Bytes of message type and transaction, and of an option's beginning.
const HEADER_SIZE: usize = 4;
const OPTION_SIZE: usize = 4;

/// Bytes of a client's identifier (RFC 8415 §11.1: 128 behind the type).
const ID_MAX: usize = 130;

/// What a client asks.
#[derive(Debug, PartialEq, Eq)]
struct Question<'a> {
    transaction: [u8; 3],
    client: Option<&'a [u8]>,
    server: Option<&'a [u8]>,
}

/// Reads an information-request. `None` when the bytes are none.
fn parse(bytes: &[u8]) -> Option<Question<'_>> {
    let ([kind, transaction @ ..], mut options) = bytes.split_first_chunk::<HEADER_SIZE>()?;
    if *kind != INFORMATION_REQUEST {
        return None;
    }
    let mut question = Question {
        transaction: *transaction,
        client: None,
        server: None,
    };
    while !options.is_empty() {
        let ([k0, k1, s0, s1], rest) = options.split_first_chunk::<OPTION_SIZE>()?;
        let size = usize::from(u16::from_be_bytes([*s0, *s1]));
        let (data, rest) = rest.split_at_checked(size)?;
        match u16::from_be_bytes([*k0, *k1]) {
            CLIENT_ID if size > ID_MAX => return None,
            CLIENT_ID => question.client = Some(data),
            SERVER_ID => question.server = Some(data),
            _ => {}
        }
        options = rest;
    }
    Some(question)
}

/// What we are called: hardware type Ethernet, and our address.
fn own_id(mac: [u8; 6]) -> Vec<u8> {
    [0, 3, 0, 1].into_iter().chain(mac).collect()
}

fn put(message: &mut Vec<u8>, kind: u16, data: &[u8]) {
    message.extend(kind.to_be_bytes());
    message.extend((data.len() as u16).to_be_bytes());
    message.extend(data);
}

impl Gateway {
    /// A message to the server, whose UDP header begins at `at`.
    pub(super) fn hear_dhcpv6(
        &self,
        packet: Packet,
        at: usize,
        seat: &Seat<'_>,
        now: Tick,
        pool: &mut FramePool,
        out: &mut Out,
    ) {
        let (station, _) = stations(&packet);
        let bytes = packet.head().get(at..).unwrap_or_default();
        let datagram = Udp::new_unchecked(bytes);
        let payload = datagram.payload();
        let (Some(ip), Some(question)) = (ipv6_of(&packet), parse(payload)) else {
            return out.drop(packet, DropReason::RouterIgnored, pool);
        };
        let src = ip.src();
        let own = own_id(seat.spec.mac);
        if question.server.is_some_and(|server| server != own) {
            return out.drop(packet, DropReason::RouterIgnored, pool);
        }
        if !seat.is_on_link(IpAddr::V6(src)) {
            return out.drop(packet, DropReason::RouterForged, pool);
        }
        if !self.with(seat.index, |desk| desk.service.take(now)) {
            return out.drop(packet, DropReason::RouterBusy, pool);
        }
        let mut message = vec![REPLY];
        message.extend(question.transaction);
        if let Some(client) = question.client {
            put(&mut message, CLIENT_ID, client);
        }
        put(&mut message, SERVER_ID, &own);
        let dns: Vec<u8> = seat.dns_v6().flat_map(|server| server.octets()).collect();
        if !dns.is_empty() {
            put(&mut message, DNS, &dns);
        }
        let from = seat.source_for(IpAddr::V6(src));
        if let Some(IpAddr::V6(from)) = from {
            let link = Link {
                src: seat.spec.mac,
                dst: station,
            };
            let size = udp::HEADER_SIZE + message.len();
            let repr = ipv6::Repr {
                src: from,
                dst: src,
                next: Protocol::UDP,
                hop_limit: 64,
                traffic_class: 0,
                flow_label: 0,
                payload_size: size as u16,
            };
            let answer = frame::ipv6(seat.index, link, &repr, pool, |bytes| {
                bytes[udp::HEADER_SIZE..].copy_from_slice(&message);
                let (a, b) = (from.octets(), src.octets());
                let sum = Sum::pseudo_v6(a, b, Protocol::UDP.0, size as u32);
                let repr = udp::Repr {
                    src_port: SERVER_PORT,
                    dst_port: CLIENT_PORT,
                };
                repr.emit(bytes, sum);
            });
            out.packets.extend(answer);
        }
        out.take(packet, pool);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_read_and_nonsense_is_not() {
        let bytes = [11, 1, 2, 3, 0, 1, 0, 2, 9, 9, 0, 6, 0, 2, 0, 23];
        let question = parse(&bytes).unwrap();
        assert_eq!(question.transaction, [1, 2, 3]);
        assert_eq!(question.client, Some(&[9, 9][..]));
        assert_eq!(question.server, None);
        assert_eq!(parse(&[1, 1, 2, 3]), None, "a solicit asks for an address");
        for len in [0, 3, 5, 7, 9, 15] {
            assert_eq!(parse(&bytes[..len]), None, "{len} bytes");
        }
    }
}
