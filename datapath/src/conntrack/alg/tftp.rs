//! TFTP: a request, whose answer comes from another port of the server.
//!
//! Spec: RFC 1350 §4 (each end chooses a port for the transfer) and §5 (the opcodes).

use super::{Call, Heard};
use crate::conntrack::request::{Expected, Follow};
use crate::conntrack::tuple::{Direction, Tuple};

/// Opcodes of requests to read and to write.
const READ: u8 = 1;
const WRITE: u8 = 2;

/// Reads the payload of a datagram.
pub(super) fn read(follow: &Follow, payload: &[u8]) -> Heard {
    let Follow {
        original, reply, ..
    } = follow;
    let (Direction::Original, &[0, READ | WRITE, ref rest @ ..]) = (follow.direction, payload)
    else {
        return Heard::Nothing;
    };
    // A file's name and a mode, each with a zero behind it.
    if rest.iter().filter(|byte| **byte == 0).count() < 2 {
        return Heard::Malformed;
    }
    let client = (original.src, original.src_port);
    let tuple = Tuple {
        src: reply.src,
        dst: reply.dst,
        src_port: 0,
        dst_port: reply.dst_port,
        ..*original
    };
    let expected = Expected {
        tuple,
        source: (reply.src != original.dst).then_some(original.dst),
        destination: ((reply.dst, reply.dst_port) != client).then_some(client),
    };
    Heard::Call(Call {
        expected,
        edit: None,
    })
}
