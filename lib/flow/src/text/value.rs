//! How single values are spelled, both ways: one pair of arms for each [`Format`].

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::names::{Lookup, Names, print_port};
use crate::action::OfPort;
use crate::field::{Field, FieldInfo, Format};

/// TCP flags by bit, lowest first (RFC 9293 §3.1, and NS of RFC 3540).
const TCP_FLAGS: [&str; 9] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns"];
/// Bits of `ct_state`, lowest first (`ovs-fields(7)`).
const CT_STATES: [&str; 8] = ["new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat"];
/// Bits of `tun_flags` that have a name, lowest first (`NX_TUN_FLAG_OAM`).
const TUN_FLAGS: [&str; 1] = ["oam"];
/// Bits of `ipv6_exthdr`, lowest first (`ofp_ipv6exthdr_flags`, OpenFlow 1.3.5 §7.2.3.8).
const EXT_HEADERS: [&str; 9] = [
    "nonext", "esp", "auth", "dest", "frag", "router", "hop", "unrep", "unseq",
];

/// The names of a field's bits, if it is one of flags.
fn flag_names(format: Format) -> Option<&'static [&'static str]> {
    match format {
        Format::TcpFlags => Some(&TCP_FLAGS),
        Format::CtState => Some(&CT_STATES),
        Format::TunFlags => Some(&TUN_FLAGS),
        Format::ExtHeaders => Some(&EXT_HEADERS),
        _ => None,
    }
}

/// The bits of a field that any packet may have set: those with a name, where the field has room
/// for more. A value without a mask is one of these bits, as in Open vSwitch.
fn known(row: &FieldInfo) -> u128 {
    match row.format {
        Format::CtState => (1 << CT_STATES.len()) - 1,
        Format::TunFlags => (1 << TUN_FLAGS.len()) - 1,
        _ => row.max(),
    }
}

/// Names of fragment kinds with the value and mask they stand for.
const FRAGS: [(&str, u128, u128); 5] = [
    ("no", 0, 3),
    ("yes", 1, 1),
    ("first", 1, 3),
    ("later", 3, 3),
    ("not_later", 0, 2),
];

/// Reserved ports; the first of several names is printed.
const PORTS: [(&str, OfPort); 10] = [
    ("IN_PORT", OfPort::IN_PORT),
    ("TABLE", OfPort::TABLE),
    ("NORMAL", OfPort::NORMAL),
    ("FLOOD", OfPort::FLOOD),
    ("ALL", OfPort::ALL),
    ("CONTROLLER", OfPort::CONTROLLER),
    ("LOCAL", OfPort::LOCAL),
    ("ANY", OfPort::ANY),
    ("UNSET", OfPort::UNSET),
    ("NONE", OfPort::ANY),
];

/// A decimal number, or a hexadecimal one after `0x`.
pub(super) fn number(text: &str) -> Option<u128> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        // The standard parser would take a sign.
        Some(hex) if hex.starts_with('+') => None,
        Some(hex) => u128::from_str_radix(hex, 16).ok(),
        None if text.starts_with('+') => None,
        None => text.parse().ok(),
    }
}

fn mac(text: &str) -> Option<u128> {
    let mut value = 0;
    let mut len = 0;
    for part in text.split(':') {
        if part.is_empty() || part.len() > 2 || part.starts_with('+') {
            return None;
        }
        value = value << 8 | u128::from(u8::from_str_radix(part, 16).ok()?);
        len += 1;
        if len > 6 {
            return None;
        }
    }
    (len == 6).then_some(value)
}

/// A reserved port's name, a number, or the name of a port that `names` knows. The 16-bit numbers
/// that OpenFlow 1.0 has for reserved ports mean these.
pub(super) fn port(text: &str, names: Lookup<'_>) -> Option<OfPort> {
    if let Some(number) = number(text) {
        return Some(match u32::try_from(number).ok()? {
            short @ 0xfff7..=0xffff => OfPort(short | 0xffff_0000),
            number => OfPort(number),
        });
    }
    let reserved = PORTS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text));
    match reserved {
        Some((_, port)) => Some(*port),
        None => names.port(text),
    }
}

/// The name of a reserved port.
pub(super) fn reserved_name(port: OfPort) -> Option<&'static str> {
    if port < OfPort::UNSET {
        return None;
    }
    let reserved = PORTS.iter().find(|(_, reserved)| *reserved == port);
    reserved.map(|(name, _)| *name)
}

/// Reads `syn|ack` or `+syn-ack` with the names of the field's bits.
fn flags(row: &FieldInfo, names: &[&str], text: &str) -> Option<(u128, u128)> {
    let flag = |name: &str| -> Option<u128> {
        let named = |flag: &&str| !flag.is_empty() && *flag == name;
        if let Some(bit) = names.iter().position(named) {
            return Some(1 << bit);
        }
        let hex = name.strip_prefix('[')?.strip_suffix(']')?;
        let bits = u128::from_str_radix(hex, 16).ok()?;
        (bits != 0 && bits & !row.max() == 0).then_some(bits)
    };
    if !text.starts_with(['+', '-']) {
        let mut value = 0;
        for name in text.split('|') {
            value |= flag(name)?;
        }
        return Some((value, known(row)));
    }
    let (mut value, mut mask) = (0, 0);
    let mut rest = text;
    while let Some(sign) = rest.chars().next() {
        let named = rest.get(1..)?;
        let end = named.find(['+', '-']).unwrap_or(named.len());
        let (name, after) = named.split_at_checked(end)?;
        let bits = flag(name)?;
        if mask & bits != 0 {
            return None;
        }
        mask |= bits;
        if sign == '+' {
            value |= bits;
        }
        rest = after;
    }
    Some((value, mask))
}

fn print_flags(
    row: &FieldInfo,
    names: &[&str],
    (value, mask): (u128, u128),
    signed: bool,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let name = |bit: usize, f: &mut fmt::Formatter<'_>| match names.get(bit) {
        Some(name) if !name.is_empty() => f.write_str(name),
        _ => write!(f, "[{:x}]", 1_u128 << bit),
    };
    let bits = |of: u128| (0..usize::from(row.bits)).filter(move |bit| of >> bit & 1 == 1);
    if mask == 0 {
        return f.write_str("0/0");
    }
    if signed || mask & known(row) != known(row) {
        for bit in bits(mask) {
            f.write_str(if value >> bit & 1 == 1 { "+" } else { "-" })?;
            name(bit, f)?;
        }
        return Ok(());
    }
    if value == 0 {
        return f.write_str("0");
    }
    for (index, bit) in bits(value & mask).enumerate() {
        f.write_str(if index == 0 { "" } else { "|" })?;
        name(bit, f)?;
    }
    Ok(())
}

/// What a person may write for a value of this field.
pub(super) fn allowed(row: &FieldInfo) -> String {
    let what = match row.format {
        Format::Decimal | Format::Hex => {
            format!("a number up to {}", spell_max(row.max()))
        }
        Format::Mac => "an Ethernet address such as 02:00:00:00:00:01".to_owned(),
        Format::Ipv4 => "an IPv4 address such as 10.0.0.1".to_owned(),
        Format::Ipv6 => "an IPv6 address such as fd00::1".to_owned(),
        Format::Port => "a port number, LOCAL, or a port's name".to_owned(),
        Format::Frag => "no, yes, first, later or not_later".to_owned(),
        Format::TcpFlags => "flags such as syn|ack, or +syn-ack, or a number".to_owned(),
        Format::CtState | Format::TunFlags | Format::ExtHeaders => {
            let names = flag_names(row.format).unwrap_or_default();
            let names: Vec<_> = names.iter().filter(|name| !name.is_empty()).collect();
            let names = names.iter().map(|name| **name).collect::<Vec<_>>();
            let first = names.first().copied().unwrap_or_default();
            format!("flags such as +{first}, of {}", names.join(", "))
        }
    };
    let mask = match row.format {
        _ if !row.maskable => "",
        Format::Ipv4 | Format::Ipv6 => ", with /prefix or /mask",
        Format::Frag => "",
        _ => ", with /mask",
    };
    what + mask
}

fn spell_max(max: u128) -> String {
    if max > 0xffff {
        format!("{max:#x}")
    } else {
        max.to_string()
    }
}

/// Why a value could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// Not of the field's kind, or too large.
    Value,
    /// A mask where none may be.
    Mask,
}

/// Reads `value` or `value/mask` of a field. A value without mask has all bits set in it.
pub(super) fn parse(row: &FieldInfo, text: &str, names: Lookup<'_>) -> Result<(u128, u128), Bad> {
    if text == "*" {
        return Ok((0, 0));
    }
    if let Some(names) = flag_names(row.format)
        && let Some(flags) = flags(row, names, text)
    {
        return Ok(flags);
    }
    if let Some((_, value, mask)) = FRAGS.iter().find(|(name, ..)| *name == text)
        && row.format == Format::Frag
    {
        return Ok((*value, *mask));
    }
    let (value, mask) = match text.split_once('/') {
        Some((value, mask)) => (value, Some(mask)),
        None => (text, None),
    };
    let one = |text: &str| -> Option<u128> {
        let value = match row.format {
            Format::Decimal
            | Format::Hex
            | Format::Frag
            | Format::TcpFlags
            | Format::CtState
            | Format::TunFlags
            | Format::ExtHeaders => number(text)?,
            Format::Mac => mac(text)?,
            Format::Ipv4 => u128::from(u32::from(text.parse::<Ipv4Addr>().ok()?)),
            Format::Ipv6 => u128::from(text.parse::<Ipv6Addr>().ok()?),
            Format::Port => u128::from(port(text, names)?.0),
        };
        (value <= row.max()).then_some(value)
    };
    let value = one(value).ok_or(Bad::Value)?;
    let Some(mask) = mask else {
        return Ok((value, known(row)));
    };
    if !row.maskable {
        return Err(Bad::Mask);
    }
    let mask = match row.format {
        Format::Ipv4 | Format::Ipv6 => match mask.parse::<u8>() {
            Ok(len) => prefix(row, len).ok_or(Bad::Value)?,
            Err(_) => one(mask).ok_or(Bad::Value)?,
        },
        _ => one(mask).ok_or(Bad::Value)?,
    };
    Ok((value & mask, mask))
}

/// The mask with the first `len` bits set.
fn prefix(row: &FieldInfo, len: u8) -> Option<u128> {
    let rest = row.bits.checked_sub(len)?;
    Some(row.max() & u128::MAX.checked_shl(u32::from(rest)).unwrap_or(0))
}

/// The length of the prefix that `mask` is, if it is one.
fn prefix_len(row: &FieldInfo, mask: u128) -> Option<u8> {
    let len = mask.count_ones() as u8;
    (prefix(row, len)? == mask).then_some(len)
}

/// Prints a value under its mask, as a match shows it, so that [`parse`] gives both again.
pub(super) fn print(
    row: &FieldInfo,
    value: u128,
    mask: u128,
    names: Option<&Names>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let whole = mask == row.max();
    match row.format {
        // A match has few of a tunnel's flags, so it says of each whether it is set.
        Format::TunFlags => print_flags(row, &TUN_FLAGS, (value, mask), true, f),
        Format::Decimal if whole => write!(f, "{value}"),
        Format::Decimal => write!(f, "{value:#x}/{mask:#x}"),
        // Open vSwitch shows all digits of a type, a tag and a label.
        Format::Hex if row.field == Field::Ipv6Label => {
            write!(f, "0x{value:05x}")?;
            if whole {
                return Ok(());
            }
            write!(f, "/0x{mask:05x}")
        }
        Format::Hex if whole && row.bits == 16 => write!(f, "0x{value:04x}"),
        Format::Hex => {
            hex(value, f)?;
            mask_after(whole, mask, f)
        }
        _ => print_named(row, value, mask, names, f),
    }
}

/// Prints a value under its mask, as an action shows it, so that [`parse`] gives both again.
pub(super) fn print_in_action(
    row: &FieldInfo,
    value: u128,
    mask: u128,
    names: Option<&Names>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let whole = mask == row.max();
    let decimal = match row.field {
        Field::VlanVid => true,
        Field::CtZone => false,
        _ => row.format == Format::Decimal,
    };
    match row.format {
        Format::Decimal | Format::Hex => {
            if decimal {
                write!(f, "{value}")?;
            } else {
                hex(value, f)?;
            }
            mask_after(whole, mask, f)
        }
        _ => print_named(row, value, mask, names, f),
    }
}

/// Prints what is not a plain number.
fn print_named(
    row: &FieldInfo,
    value: u128,
    mask: u128,
    names: Option<&Names>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let whole = mask == row.max();
    if let Some(names) = flag_names(row.format) {
        // A value without mask is one of the known bits, which others are not to be taken for.
        let signed = row.format == Format::TunFlags && mask != known(row);
        return print_flags(row, names, (value, mask), signed, f);
    }
    match row.format {
        Format::Frag => {
            let kind = (value & mask, mask);
            return match FRAGS.iter().find(|(_, v, m)| (*v, *m) == kind) {
                Some((name, ..)) => f.write_str(name),
                None => write!(f, "{value:#x}/{mask:#x}"),
            };
        }
        Format::Port if whole => return print_port(OfPort(value as u32), names, f),
        Format::Port => return write!(f, "{value:#x}/{mask:#x}"),
        _ => address(row, value, f)?,
    }
    if whole {
        return Ok(());
    }
    match prefix_len(row, mask) {
        Some(len) if row.format != Format::Mac => write!(f, "/{len}"),
        _ => {
            f.write_str("/")?;
            address(row, mask, f)
        }
    }
}

/// Prints a hexadecimal number, of which zero has no `0x`.
pub(super) fn hex(value: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match value {
        0 => f.write_str("0"),
        value => write!(f, "{value:#x}"),
    }
}

fn mask_after(whole: bool, mask: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if whole {
        return Ok(());
    }
    f.write_str("/")?;
    hex(mask, f)
}

/// Prints an address, or a mask in the spelling of one.
pub(super) fn address(row: &FieldInfo, value: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match row.format {
        Format::Ipv4 => write!(f, "{}", Ipv4Addr::from(value as u32)),
        Format::Ipv6 => write!(f, "{}", Ipv6Addr::from(value)),
        _ => {
            let [_, _, a, b, c, d, e, g] = (value as u64).to_be_bytes();
            write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
        }
    }
}
