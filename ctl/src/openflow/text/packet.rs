//! Frames, as one line of fields and as bytes.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Bytes of a line of a dump.
const LINE_SIZE: usize = 16;

/// Offset, bytes and characters, 16 bytes a line.
pub(super) fn hex_dump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (line, bytes) in bytes.chunks(LINE_SIZE).enumerate() {
        let mut hex = String::new();
        let mut letters = String::new();
        for (at, byte) in bytes.iter().enumerate() {
            hex += if at == LINE_SIZE / 2 { "-" } else { " " };
            hex += &format!("{byte:02x}");
            letters.push(match byte {
                0x20..=0x7e => char::from(*byte),
                _ => '.',
            });
        }
        text += &format!("{:08x} {hex:<48} |{letters}|\n", line * LINE_SIZE);
    }
    text
}

/// Reads a frame from its front.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }
}

fn mac(bytes: [u8; 6]) -> String {
    let bytes: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(":")
}

/// The fields of a frame in the words of flows, as far as its headers go.
pub fn packet(bytes: &[u8]) -> String {
    let mut fields = Vec::new();
    let keyword = ethernet(&mut Cursor(bytes), &mut fields).unwrap_or_default();
    if !keyword.is_empty() {
        fields.insert(0, keyword);
    }
    fields.join(",")
}

/// The keyword for the frame, and its fields into `fields`.
fn ethernet(cursor: &mut Cursor<'_>, fields: &mut Vec<String>) -> Option<String> {
    let (to, from) = (cursor.take::<6>()?, cursor.take::<6>()?);
    let mut kind = cursor.u16()?;
    let mut tags = Vec::new();
    while matches!(kind, 0x8100 | 0x88a8) {
        let tci = cursor.u16()?;
        tags.push(format!("dl_vlan={},dl_vlan_pcp={}", tci & 0xfff, tci >> 13));
        kind = cursor.u16()?;
    }
    match tags.is_empty() {
        true => fields.push("vlan_tci=0x0000".to_owned()),
        false => fields.extend(tags),
    }
    fields.push(format!("dl_src={},dl_dst={}", mac(from), mac(to)));
    let keyword = match kind {
        0x0800 => ipv4(cursor, fields).unwrap_or_else(|| "ip".to_owned()),
        0x86dd => ipv6(cursor, fields).unwrap_or_else(|| "ipv6".to_owned()),
        0x0806 => {
            arp(cursor, fields);
            "arp".to_owned()
        }
        kind if kind < 0x600 => {
            fields.push("dl_type=0x05ff".to_owned());
            String::new()
        }
        kind => {
            fields.push(format!("dl_type={kind:#06x}"));
            String::new()
        }
    };
    Some(keyword)
}

fn arp(cursor: &mut Cursor<'_>, fields: &mut Vec<String>) -> Option<()> {
    let [0, 1, 8, 0, 6, 4] = cursor.take::<6>()? else {
        return None;
    };
    let op = cursor.u16()?;
    let (sha, spa) = (cursor.take::<6>()?, cursor.take::<4>()?);
    let (tha, tpa) = (cursor.take::<6>()?, cursor.take::<4>()?);
    fields.push(format!(
        "arp_spa={},arp_tpa={},arp_op={op},arp_sha={},arp_tha={}",
        Ipv4Addr::from(spa),
        Ipv4Addr::from(tpa),
        mac(sha),
        mac(tha)
    ));
    Some(())
}

fn ipv4(cursor: &mut Cursor<'_>, fields: &mut Vec<String>) -> Option<String> {
    let first = cursor.u8()?;
    let tos = cursor.u8()?;
    let (_length, _id, fragment) = (cursor.u16()?, cursor.u16()?, cursor.u16()?);
    let (ttl, protocol, _sum) = (cursor.u8()?, cursor.u8()?, cursor.u16()?);
    let (from, to) = (cursor.take::<4>()?, cursor.take::<4>()?);
    cursor.0 = cursor
        .0
        .get((usize::from(first & 15) * 4).checked_sub(20)?..)?;
    let later = fragment & 0x1fff != 0;
    let frag = match (later, fragment & 0x2000 != 0) {
        (true, _) => "later",
        (false, true) => "first",
        (false, false) => "no",
    };
    fields.push(format!(
        "nw_src={},nw_dst={},nw_tos={},nw_ecn={},nw_ttl={ttl},nw_frag={frag}",
        Ipv4Addr::from(from),
        Ipv4Addr::from(to),
        tos & 0xfc,
        tos & 3
    ));
    Some(transport(cursor, fields, protocol, later, ["ip", ""], 1))
}

fn ipv6(cursor: &mut Cursor<'_>, fields: &mut Vec<String>) -> Option<String> {
    let first = u32::from_be_bytes(cursor.take::<4>()?);
    let (_length, protocol, hops) = (cursor.u16()?, cursor.u8()?, cursor.u8()?);
    let (from, to) = (cursor.take::<16>()?, cursor.take::<16>()?);
    let tos = first >> 20 & 0xff;
    fields.push(format!(
        "ipv6_src={},ipv6_dst={},ipv6_label={:#07x},nw_tos={},nw_ecn={},nw_ttl={hops},nw_frag=no",
        Ipv6Addr::from(from),
        Ipv6Addr::from(to),
        first & 0xf_ffff,
        tos & 0xfc,
        tos & 3
    ));
    Some(transport(
        cursor,
        fields,
        protocol,
        false,
        ["ipv6", "6"],
        58,
    ))
}

/// The keyword for a transport protocol, whose ports go into `fields`. `icmp` is the protocol's
/// number in this family.
fn transport(
    cursor: &mut Cursor<'_>,
    fields: &mut Vec<String>,
    protocol: u8,
    later: bool,
    [family, suffix]: [&str; 2],
    icmp: u8,
) -> String {
    let mut ports = || Some((cursor.u16()?, cursor.u16()?));
    let name = match protocol {
        6 => "tcp",
        17 => "udp",
        132 => "sctp",
        p if p == icmp => "icmp",
        p => {
            fields.push(format!("nw_proto={p}"));
            return family.to_owned();
        }
    };
    let ports = if later { Some((0, 0)) } else { ports() };
    if let Some((from, to)) = ports {
        fields.push(match name {
            "icmp" => format!("icmp_type={},icmp_code={}", from >> 8, from & 0xff),
            _ => format!("tp_src={from},tp_dst={to}"),
        });
    }
    format!("{name}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_as_flows_are() {
        let udp = [
            0x50, 0x54, 0, 0, 0, 0xa, 0x50, 0x54, 0, 0, 0, 9, 8, 0, // Ethernet, IPv4
            0x45, 0, 0, 0x1c, 0, 0, 0, 0, 64, 17, 0, 0, 10, 1, 1, 1, 10, 1, 1, 2, // IPv4
            0, 1, 0, 2, 0, 8, 0, 0, // UDP
        ];
        assert_eq!(
            packet(&udp),
            "udp,vlan_tci=0x0000,dl_src=50:54:00:00:00:09,dl_dst=50:54:00:00:00:0a,\
             nw_src=10.1.1.1,nw_dst=10.1.1.2,nw_tos=0,nw_ecn=0,nw_ttl=64,nw_frag=no,\
             tp_src=1,tp_dst=2"
        );
        for cut in 0..udp.len() {
            packet(&udp[..cut]);
        }
        assert!(hex_dump(&udp).starts_with("00000000  50 54 00 00 00 0a 50 54-00 00 00 09"));
    }
}
