//! FTP: PORT and EPRT of the client, the answers to PASV and EPSV of the server.
//!
//! Active data connections come from the server to what the client names, passive ones from the
//! client to what the server names. Under translation the expected connection is translated as the
//! control connection is, and the text names what the other end of it sees. The port stays: that it
//! is free was the speaker's choice.
//!
//! Spec: RFC 959 §4.1.2 and §4.2.1, RFC 1123 §4.1.2.6 (the address in a 227 may stand anywhere in
//! it), RFC 2428 §2 and §3.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use arrayvec::ArrayVec;

use super::{ADDRESS_SIZE, Call, Edit, Heard};
use crate::conntrack::request::{Expected, Follow};
use crate::conntrack::tuple::{Direction, Family, Tuple};

/// What is announced: an address, unless it is the speaker's own, and a port.
struct Announced {
    address: Option<Address>,
    port: u16,
}

/// An address and where its text is.
struct Address {
    ip: IpAddr,
    at: usize,
    size: usize,
    /// How its parts are told apart.
    style: Style,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// `10,0,0,1`.
    Commas,
    /// As addresses are written everywhere else.
    Plain,
}

/// A line that announces a connection.
#[derive(Clone, Copy)]
enum Command {
    Port,
    Eprt,
    Passive,
    ExtendedPassive,
}

/// Reads the payload of a segment.
pub(super) fn read(follow: &Follow, payload: &[u8]) -> Heard {
    let mut at = 0;
    while let Some(rest) = payload.get(at..).filter(|rest| !rest.is_empty()) {
        let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        if let Some(command) = command(rest, follow.direction) {
            let Some(line) = end.and_then(|end| rest.get(..end)) else {
                return Heard::Split;
            };
            return match announced(command, line) {
                Some(announced) => call(follow, announced, at),
                None => Heard::Malformed,
            };
        }
        at += match end {
            Some(end) => end + 1,
            None => rest.len(),
        };
    }
    Heard::Nothing
}

/// Which of the commands a line is that can come this way.
fn command(line: &[u8], direction: Direction) -> Option<Command> {
    let begins = |word: &[u8]| {
        let (start, after) = line.split_at_checked(word.len())?;
        let ends = matches!(after.first(), None | Some(b' ' | b'-'));
        (ends && start.eq_ignore_ascii_case(word)).then_some(())
    };
    match direction {
        Direction::Original => begins(b"PORT")
            .map(|()| Command::Port)
            .or_else(|| begins(b"EPRT").map(|()| Command::Eprt)),
        Direction::Reply => begins(b"227")
            .map(|()| Command::Passive)
            .or_else(|| begins(b"229").map(|()| Command::ExtendedPassive)),
    }
}

/// What a whole line announces.
fn announced(command: Command, line: &[u8]) -> Option<Announced> {
    match command {
        Command::Port => {
            let at = 4 + line.get(4..)?.iter().take_while(|b| **b == b' ').count();
            six(line, at)
        }
        Command::Passive => {
            let starts_number = |at: &usize| {
                let before = at.checked_sub(1).and_then(|at| line.get(at));
                !before.is_some_and(u8::is_ascii_digit)
            };
            (4..line.len())
                .filter(starts_number)
                .find_map(|at| six(line, at))
        }
        Command::Eprt => extended(line),
        Command::ExtendedPassive => {
            let open = line.iter().position(|byte| *byte == b'(')?;
            let &[d, e, f, ref rest @ ..] = line.get(open + 1..)? else {
                return None;
            };
            let (port, size) = number(rest, u16::MAX)?;
            let closes = matches!(rest.get(size..), Some(&[g, b')', ..]) if g == d);
            (d == e && e == f && closes && is_delimiter(d)).then_some(Announced {
                address: None,
                port,
            })
        }
    }
    .filter(|announced| announced.port != 0)
}

/// `h1,h2,h3,h4,p1,p2` at a place of a line.
fn six(line: &[u8], at: usize) -> Option<Announced> {
    let mut numbers = [0; 6];
    let mut end = at;
    let mut address_end = at;
    for (index, place) in numbers.iter_mut().enumerate() {
        if index > 0 {
            if line.get(end) != Some(&b',') {
                return None;
            }
            end += 1;
        }
        let (value, size) = number(line.get(end..)?, 255)?;
        *place = value as u8;
        end += size;
        if index < 4 {
            address_end = end;
        }
    }
    let [a, b, c, d, high, low] = numbers;
    Some(Announced {
        address: Some(Address {
            ip: Ipv4Addr::new(a, b, c, d).into(),
            at,
            size: address_end - at,
            style: Style::Commas,
        }),
        port: u16::from_be_bytes([high, low]),
    })
}

/// `EPRT |1|10.0.0.1|6446|`.
fn extended(line: &[u8]) -> Option<Announced> {
    let start = 4 + line.get(4..)?.iter().take_while(|b| **b == b' ').count();
    let delimiter = *line.get(start).filter(|byte| is_delimiter(**byte))?;
    let mut parts = line.get(start + 1..)?.split(|byte| *byte == delimiter);
    let (family, text, port) = (parts.next()?, parts.next()?, parts.next()?);
    // The last delimiter says that the port is whole.
    parts.next()?;
    let at = start + 1 + family.len() + 1;
    let readable = str::from_utf8(text).ok()?;
    let ip = match family {
        b"1" => Ipv4Addr::from_str(readable).ok()?.into(),
        b"2" => Ipv6Addr::from_str(readable).ok()?.into(),
        _ => return None,
    };
    let (number, size) = number(port, u16::MAX)?;
    (size == port.len()).then_some(Announced {
        address: Some(Address {
            ip,
            at,
            size: text.len(),
            style: Style::Plain,
        }),
        port: number,
    })
}

const fn is_delimiter(byte: u8) -> bool {
    matches!(byte, 33..=126) && !byte.is_ascii_digit()
}

/// A decimal number at the beginning, and its characters.
fn number(bytes: &[u8], max: u16) -> Option<(u16, usize)> {
    let size = bytes.iter().take_while(|b| b.is_ascii_digit()).count();
    let value = str::from_utf8(bytes.get(..size)?)
        .ok()?
        .parse::<u16>()
        .ok()?;
    (value <= max).then_some((value, size))
}

/// The connection that is announced, in a line that begins at `at` of the payload.
fn call(follow: &Follow, announced: Announced, at: usize) -> Heard {
    let Follow {
        original, reply, ..
    } = follow;
    let port = announced.port;
    // The speaker's address as it has it, and as the other end sees it.
    let (own, shown) = match follow.direction {
        Direction::Original => (original.src, reply.dst),
        Direction::Reply => (reply.src, original.dst),
    };
    let mut edit = None;
    if let Some(address) = announced.address {
        let Some(named) = bits(address.ip, original.family) else {
            return Heard::Stranger;
        };
        if named != own && named != shown {
            return Heard::Stranger;
        }
        if named != shown {
            edit = Some(Edit {
                at: at + address.at,
                size: address.size,
                text: text(shown, original.family, address.style),
            });
        }
    }
    let tuple = |src, dst| Tuple {
        src,
        dst,
        src_port: 0,
        dst_port: port,
        ..*original
    };
    let expected = match follow.direction {
        // From the server, which the client knows by another address where that is translated.
        Direction::Original => Expected {
            tuple: tuple(reply.src, reply.dst),
            source: (reply.src != original.dst).then_some(original.dst),
            destination: (reply.dst != original.src).then_some((original.src, port)),
        },
        // From the client.
        Direction::Reply => Expected {
            tuple: tuple(original.src, original.dst),
            source: (reply.dst != original.src).then_some(reply.dst),
            destination: (original.dst != reply.src).then_some((reply.src, port)),
        },
    };
    Heard::Call(Call { expected, edit })
}

fn bits(ip: IpAddr, family: Family) -> Option<u128> {
    match (ip, family) {
        (IpAddr::V4(ip), Family::V4) => Some(u128::from(ip.to_bits())),
        (IpAddr::V6(ip), Family::V6) => Some(ip.to_bits()),
        _ => None,
    }
}

fn text(address: u128, family: Family, style: Style) -> ArrayVec<u8, ADDRESS_SIZE> {
    let mut text = arrayvec::ArrayString::<ADDRESS_SIZE>::new();
    // The longest address has as many characters as there is room for.
    let _ = match family {
        Family::V4 => write!(text, "{}", Ipv4Addr::from_bits(address as u32)),
        Family::V6 => write!(text, "{}", Ipv6Addr::from_bits(address)),
    };
    let comma = |byte| match byte {
        b'.' if style == Style::Commas => b',',
        byte => byte,
    };
    text.bytes().map(comma).collect()
}
