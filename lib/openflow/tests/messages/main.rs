//! The bytes of one of each message and version, as Open vSwitch reads them (`oracle.rs`).
//!
//! `data/messages.txt` has a line for each sample: version, what it is, bytes. Who changes a layout
//! on purpose writes the file anew with `OPENFLOW_BYTES=write cargo test -p vswitch-openflow`.

mod oracle;
mod random;
mod samples;

use std::fmt::Write as _;
use std::path::Path;

use samples::{XID, samples};
use vswitch_openflow::bundle::BundleFlags;
use vswitch_openflow::{ErrorCode, Message, Version};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn samples_have_their_bytes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/messages.txt");
    let mut lines = String::new();
    for sample in samples() {
        let bytes = sample.message.encode(sample.version, XID).unwrap();
        let name = sample.message.name();
        writeln!(lines, "{} | {name} | {}", sample.version, hex(&bytes)).unwrap();
    }
    if std::env::var_os("OPENFLOW_BYTES").is_some() {
        std::fs::write(&path, &lines).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    for (line, expected) in lines.lines().zip(expected.lines()) {
        assert_eq!(line, expected);
    }
    assert_eq!(lines.lines().count(), expected.lines().count());
}

#[test]
fn samples_read_as_what_was_written() {
    for sample in samples() {
        let bytes = sample.message.encode(sample.version, XID).unwrap();
        let read = Message::decode(&bytes).unwrap_or_else(|refused| {
            panic!("{} in {}: {refused}", sample.message.name(), sample.version)
        });
        assert_eq!(read.message, sample.message, "in {}", sample.version);
        assert_eq!((read.version, read.xid), (sample.version, XID));
        assert_eq!(read.message.encode(sample.version, XID).unwrap(), bytes);
    }
}

/// Nothing shorter than a message is that message, but for those that end with bytes of any number
/// or with a list, which may be shorter by whole entries.
#[test]
fn cut_messages_are_refused_and_never_panic() {
    for sample in samples() {
        let bytes = sample.message.encode(sample.version, XID).unwrap();
        for size in 8..bytes.len() {
            let mut cut = bytes[..size].to_vec();
            cut[2..4].copy_from_slice(&u16::try_from(size).unwrap().to_be_bytes());
            if let Ok(read) = Message::decode(&cut) {
                let again = read.message.encode(read.version, XID).unwrap();
                assert_eq!(Message::decode(&again).unwrap().message, read.message);
            }
        }
    }
}

/// A flipped bit gives an error or a value that can be written.
#[test]
fn flipped_bits_never_panic() {
    for sample in samples() {
        let bytes = sample.message.encode(sample.version, XID).unwrap();
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(read) = Message::decode(&flipped) {
                let Ok(again) = read.message.encode(read.version, read.xid) else {
                    panic!("{:?} was read and cannot be written", read.message);
                };
                assert_eq!(Message::decode(&again).unwrap().message, read.message);
            }
        }
    }
}

fn refusal(bytes: &[u8]) -> ErrorCode {
    Message::decode(bytes).unwrap_err().code
}

#[test]
fn refusals_say_what_is_wrong() {
    // Version 1.1, which is not spoken; a hello of it is read all the same.
    assert_eq!(refusal(&[2, 5, 0, 8, 0, 0, 0, 1]), ErrorCode::BrcBadVersion);
    assert!(Message::decode(&[2, 0, 0, 8, 0, 0, 0, 1]).is_ok());
    // Types.
    assert_eq!(refusal(&[4, 30, 0, 8, 0, 0, 0, 1]), ErrorCode::BrcBadType);
    assert_eq!(refusal(&[5, 22, 0, 8, 0, 0, 0, 1]), ErrorCode::BrcBadType);
    assert_eq!(refusal(&[1, 29, 0, 8, 0, 0, 0, 1]), ErrorCode::BrcBadType);
    // Lengths: too long for a features request, too short for a role request.
    let long = [4, 5, 0, 9, 0, 0, 0, 1, 0];
    assert_eq!(refusal(&long), ErrorCode::BrcBadLen);
    let short = [4, 24, 0, 16, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0];
    assert_eq!(refusal(&short), ErrorCode::BrcBadLen);
    // Kinds of statistics: 20 in 1.3; table descriptions before 1.4.
    for kind in [20, 14] {
        let request = [4, 18, 0, 16, 0, 0, 0, 1, 0, kind, 0, 0, 0, 0, 0, 0];
        assert_eq!(refusal(&request), ErrorCode::BrcBadStat);
    }
    // Experimenters and their types.
    let vendor = [4, 4, 0, 16, 0, 0, 0, 1, 0, 0, 0x23, 0x21, 0, 0, 0, 10];
    assert_eq!(refusal(&vendor), ErrorCode::BrcBadVendor);
    let subtype = [4, 4, 0, 16, 0, 0, 0, 1, 0, 0, 0x23, 0x20, 0, 0, 0, 99];
    assert_eq!(refusal(&subtype), ErrorCode::BrcBadSubtype);
    let role = [&[4, 24, 0, 24, 0, 0, 0, 1, 0, 0, 0, 9][..], &[0; 12]].concat();
    assert_eq!(refusal(&role), ErrorCode::RrfcBadRole);
    // A bundle with another version, another xid, and half a message within.
    let bundle = |inner: [u8; 8]| {
        let outer = [5, 34, 0, 24, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1];
        refusal(&[&outer[..], &inner].concat())
    };
    assert_eq!(bundle([4, 20, 0, 8, 0, 0, 0, 1]), ErrorCode::BfcBadVersion);
    assert_eq!(bundle([5, 20, 0, 8, 0, 0, 0, 2]), ErrorCode::BfcMsgBadXid);
    assert_eq!(bundle([5, 20, 0, 9, 0, 0, 0, 1]), ErrorCode::BfcMsgBadLen);
    // Meters: commands, bands, flags.
    let meter = |command, flags, kind, size| {
        let change = [4, 29, 0, 32, 0, 0, 0, 1, 0, command, 0, flags, 0, 0, 0, 3];
        let band = [0, kind, 0, size, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        refusal(&[&change[..], &band].concat())
    };
    assert_eq!(meter(3, 1, 1, 16), ErrorCode::MmfcBadCommand);
    assert_eq!(meter(0, 3, 1, 16), ErrorCode::MmfcBadFlags);
    assert_eq!(meter(0, 1, 3, 16), ErrorCode::MmfcBadBand);
    assert_eq!(meter(0, 1, 1, 24), ErrorCode::BrcBadLen);
}

#[test]
fn what_a_version_cannot_say_is_refused() {
    let refused = Message::FlowMonitorPaused
        .encode(Version::V14, 1)
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "OpenFlow 1.4 has no form for the pause of flow monitors"
    );
    let many = Message::EchoRequest(vec![0; 65_528]);
    assert!(many.encode(Version::V13, 1).is_err());
    let most = Message::EchoRequest(vec![0; 65_527]);
    assert_eq!(most.encode(Version::V13, 1).unwrap().len(), 65_535);
    assert!(!BundleFlags::ATOMIC.has(BundleFlags::ORDERED));
}
