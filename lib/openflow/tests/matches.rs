//! Matches against the bytes of Open vSwitch, and matches there and back again.

mod wire;

use vswitch_flow::text::{no_names, parse_match};
use vswitch_flow::{Field, Match};
use vswitch_openflow::oxm::match10::{decode_match10, encode_match10, fits_match10};
use vswitch_openflow::oxm::matches::{
    NxMatch, decode_match, decode_metadata, decode_nx_match, encode_fields, encode_match,
    encode_nx_match,
};
use vswitch_openflow::{ErrorCode, OfError, Reader, Version, Writer};
use wire::{SHORT, bytes, hex};

fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut to = Writer::new();
    write(&mut to);
    to.finish().expect("a match is short")
}

/// What a match is once it went through OpenFlow 1.0's own match: a field without its prerequisites
/// is not there, and of a tag only what its fields say.
fn read(form: &str, bytes: &[u8]) -> Result<Match, OfError> {
    let mut from = Reader::new(bytes, SHORT);
    let read = match form {
        "OXM" => decode_match(&mut from)?,
        "NXM" => {
            let mut padded = bytes.to_vec();
            padded.resize(bytes.len().next_multiple_of(8), 0);
            let mut from = Reader::new(&padded, SHORT);
            return decode_nx_match(&mut from, bytes.len()).map(|read| read.matches);
        }
        _ => decode_match10(&mut from)?,
    };
    from.finish().map(|()| read)
}

fn write(form: &str, matches: &Match) -> Vec<u8> {
    written(|to| match form {
        "OXM" => encode_match(to, Version::V13, matches),
        "NXM" => encode_fields(to, Version::V10, matches),
        _ => encode_match10(to, matches),
    })
}

#[test]
fn matches_of_ovs_ofctl_read_and_are_written_alike() {
    let mut seen = 0;
    let mut wrong = Vec::new();
    for line in include_str!("data/matches.txt").lines() {
        if line.starts_with('#') {
            continue;
        }
        let (form, text) = line.split_once(' ').expect("form and text");
        let (text, wire) = text.rsplit_once(" = ").expect("text and bytes");
        let wire = bytes(wire);
        match (parse_match(text, &no_names), read(form, &wire)) {
            (Ok(said), Ok(found)) if said == found => {
                let again = write(form, &found);
                if again != wire {
                    wrong.push(format!("{line}: written as {}", hex(&again)));
                }
            }
            (said, found) => wrong.push(format!("{line}: said {said:?}, found {found:?}")),
        }
        seen += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 150, "{seen} lines");
}

fn refused(fields: &str) -> ErrorCode {
    let fields = bytes(fields);
    let mut wire = vec![0, 1];
    wire.extend((fields.len() as u16 + 4).to_be_bytes());
    wire.extend(fields);
    wire.resize(wire.len().next_multiple_of(8), 0);
    read("OXM", &wire).expect_err("the match is wrong").code
}

#[test]
fn each_wrong_match_has_its_error() {
    use ErrorCode::*;
    for (fields, error) in [
        // A header without its value, or cut short.
        ("8000 00 04", BmcBadLen),
        ("8000 00", BmcBadLen),
        ("8000 00 04 0000", BmcBadLen),
        // An experimenter's number that the length does not cover.
        ("ffff 54 02 4f4e4600", BmcBadLen),
        // An unknown class, field, experimenter, or a known one of the wrong length.
        ("4000 00 04 00000001", BmcBadField),
        ("8000 c6 04 00000001", BmcBadField),
        ("ffff 54 06 00000001 0000", BmcBadField),
        ("8000 0a 04 00000800", BmcBadField),
        // Value outside the mask, also of a field that is not known.
        (
            "8000 05 10 0000000000000001 0000000000000000",
            BmcBadWildcards,
        ),
        ("4000 01 02 01 00", BmcBadWildcards),
        // Fields that are matched whole.
        ("8000 0b 04 0800 ff00", BmcBadMask),
        // Values that a field cannot have.
        ("8000 00 04 0000ff00", BmcBadValue),
        ("8000 0a 02 0800 8000 10 01 40", BmcBadValue),
        ("8000 0c 02 2000", BmcBadValue),
        ("0001 d2 04 00000100", BmcBadValue),
        // Prerequisites: none, of the wrong kind, after their field, of a later fragment.
        ("8000 16 04 0a000001", BmcBadPrereq),
        ("8000 0a 02 86dd 8000 16 04 0a000001", BmcBadPrereq),
        ("8000 16 04 0a000001 8000 0a 02 0800", BmcBadPrereq),
        (
            "8000 0a 02 0800 0001 34 01 03 8000 14 01 06 8000 1a 02 0050",
            BmcBadPrereq,
        ),
        ("8000 0e 01 03", BmcBadPrereq),
        // Twice, also under another name.
        ("8000 0a 02 0800 8000 0a 02 0800", BmcDupField),
        (
            "0001 00 04 00000001 8001 00 08 0000000000000001",
            BmcDupField,
        ),
    ] {
        assert_eq!(refused(fields), error, "{fields}");
    }
    let of = |wire: &str| read("OXM", &bytes(wire)).map_err(|error| error.code);
    assert_eq!(of("0000 0058"), Err(BmcBadType));
    assert_eq!(of("0002 0004 00000000"), Err(BmcBadType));
    assert_eq!(of("0001 0003 00000000"), Err(BmcBadLen));
    assert_eq!(of("0001 0009 00000000"), Err(BmcBadLen));
    assert_eq!(of("0001"), Err(BmcBadLen));
    // A mask of all ones or none, and the type of an Ethernet frame, which every packet is.
    assert_eq!(of("0001 0004 00000000"), Ok(Match::any()));
    let exact = of("0001 000c 8000 0b 04 0800 ffff 00000000");
    assert_eq!(exact, Ok(Match::any().with(Field::EthType, 0x0800)));
    assert_eq!(
        of("0001 000c 8000 0b 04 0000 0000 00000000"),
        Ok(Match::any())
    );
    assert_eq!(
        of("0001 000c 8000 58 04 00000000 00000000"),
        Ok(Match::any())
    );
    assert_eq!(
        of("0001 000c 8000 58 04 00010800 00000000"),
        Err(BmcBadField)
    );
}

#[test]
fn a_cookie_may_stand_in_an_nx_match_only() {
    let with = |hex: &str| {
        let wire = bytes(hex);
        decode_nx_match(&mut Reader::new(&wire, SHORT), wire.len())
    };
    let found = with("0001 3d 10 0000000000000005 00000000000000ff 00000000").map_err(|e| e.code);
    assert_eq!(found, Err(ErrorCode::BmcBadField), "four bytes are a field");
    let found = with("0001 3c 08 0000000000000005 0001 00 04 00000007 00000000 ");
    assert_eq!(found.map_err(|e| e.code), Err(ErrorCode::BmcBadField));
    let matches = NxMatch {
        matches: Match::any().with(Field::Reg0, 7),
        cookie: 5,
        cookie_mask: 0xff,
    };
    for cookie_mask in [0, 0xff, u64::MAX] {
        let said = NxMatch {
            cookie: if cookie_mask == 0 { 0 } else { 5 },
            cookie_mask,
            ..matches.clone()
        };
        let mut to = Writer::new();
        let size = encode_nx_match(&mut to, &said);
        let wire = to.finish().expect("short");
        let found = decode_nx_match(&mut Reader::new(&wire, SHORT), size);
        assert_eq!(found, Ok(said));
        assert_eq!(wire.len(), size.next_multiple_of(8));
    }
    assert_eq!(
        refused("0001 3c 08 0000000000000005"),
        ErrorCode::BmcBadField
    );
    let twice = with("0001 3c 08 0000000000000005 0001 3c 08 0000000000000005");
    assert_eq!(twice.map_err(|e| e.code), Err(ErrorCode::BmcDupField));
}

#[test]
fn metadata_needs_no_prerequisites_and_passes_over_what_is_unknown() {
    let found = decode_metadata(&bytes("4000 00 04 00000001 0001 f0 04 0a000001"));
    let wanted = Match::any().with(Field::CtIpv4Src, 0x0a00_0001);
    assert_eq!(found, Ok(wanted));
}

#[test]
fn what_oxm_cannot_say_of_a_tag_is_said_in_nicira_s_way() {
    for (tci, mask) in [(0x2000, 0xe000), (0x3005, 0x3fff), (0x0005, 0x2fff)] {
        let said = Match::any().with_masked(Field::VlanTci, tci, mask);
        let wire = write("OXM", &said);
        assert_eq!(wire[4..8], [0, 0, 9, 4], "NXM_OF_VLAN_TCI_W");
        assert_eq!(read("OXM", &wire), Ok(said));
    }
    let untagged = Match::any().with(Field::VlanTci, 0);
    let wire = write("OXM", &untagged);
    assert_eq!(hex(&wire[4..10]), "80000c020000");
}

#[test]
fn the_match_of_openflow_1_0_knows_what_it_cannot_say() {
    let tcp = Match::any()
        .with(Field::EthType, 0x0800)
        .with(Field::IpProto, 6);
    for (matches, fits) in [
        (tcp.clone().with(Field::TcpDst, 80), true),
        (tcp.clone().with_masked(Field::TcpDst, 80, 0xfff0), false),
        (
            tcp.clone()
                .with_masked(Field::Ipv4Src, 1 << 24, 0xff00_0000),
            true,
        ),
        (tcp.clone().with_masked(Field::Ipv4Src, 1, 0xff), false),
        (tcp.clone().with(Field::Reg0, 1), false),
        (tcp.with(Field::VlanTci, 0), true),
        (Match::any().with(Field::InPort, 0xffff_fffe), true),
        (Match::any().with(Field::Metadata, 1), false),
    ] {
        assert_eq!(fits_match10(&matches), fits, "{matches}");
    }
}
