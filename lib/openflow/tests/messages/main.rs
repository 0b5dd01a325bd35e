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
use vswitch_flow::{Field, Match};
use vswitch_openflow::flow_removed::RemovedReason;
use vswitch_openflow::multipart::{Assembler, Reply};
use vswitch_openflow::{ErrorCode, Message, Version};

use Version::{V10, V13, V14};

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

/// What is refused of a sample whose bytes at `at` are replaced.
fn refusal_of(version: Version, what: &str, says: &str, at: usize, bytes: &[u8]) -> ErrorCode {
    let mut all = samples().into_iter();
    let sample = all
        .find(|sample| {
            let named = sample.message.name() == what && sample.says.contains(says);
            named && sample.version == version
        })
        .expect("a sample of this name");
    let mut message = sample.message.encode(version, XID).unwrap();
    message[at..at + bytes.len()].copy_from_slice(bytes);
    refusal(&message)
}

#[test]
fn changes_of_flows_are_refused_precisely() {
    let flow = |at, bytes: &[u8]| refusal_of(V13, "a change to flows", "ADD", at, bytes);
    assert_eq!(flow(25, &[5]), ErrorCode::FmfcBadCommand);
    assert_eq!(flow(24, &[0xff]), ErrorCode::FmfcBadTableId);
    assert_eq!(flow(44, &[0, 0x20]), ErrorCode::FmfcBadFlags);
    // The match: a length beyond the message, and OpenFlow 1.1's kind.
    assert_eq!(flow(50, &[0xff, 0]), ErrorCode::BmcBadLen);
    assert_eq!(flow(48, &[0, 0]), ErrorCode::BmcBadType);
    let old = |at, bytes: &[u8]| refusal_of(V10, "a change to flows", "ADD", at, bytes);
    // A table in the command, which nobody agreed on.
    assert_eq!(old(56, &[1, 0]), ErrorCode::FmfcBadCommand);
    assert_eq!(old(70, &[0, 4]), ErrorCode::FmfcBadEmergTimeout);
    let port = refusal_of(V13, "a packet-out", "", 12, &[0, 1, 0, 0]);
    assert_eq!(port, ErrorCode::BrcBadPort);
    let reason = refusal_of(V13, "a removed flow", "", 18, &[9]);
    assert_eq!(reason, ErrorCode::NxbrcBadReason);
    let actions = refusal_of(V13, "a packet-out", "", 16, &[0xff, 0]);
    assert_eq!(actions, ErrorCode::BrcBadLen);
}

#[test]
fn changes_of_groups_are_refused_precisely() {
    let select = |at, bytes: &[u8]| refusal_of(V13, "a change to groups", "select", at, bytes);
    assert_eq!(select(8, &[0, 9]), ErrorCode::GmfcBadCommand);
    assert_eq!(select(8, &[0, 2]), ErrorCode::GmfcInvalidGroup);
    assert_eq!(select(10, &[9]), ErrorCode::GmfcBadType);
    // As a group of all buckets: they have weights. As fast failover: the first watches nothing.
    assert_eq!(select(10, &[0]), ErrorCode::GmfcInvalidGroup);
    assert_eq!(select(16, &[0, 8]), ErrorCode::GmfcBadBucket);
    assert_eq!(select(16, &[0xff, 0]), ErrorCode::GmfcBadBucket);
    let failover = |at, bytes: &[u8]| refusal_of(V13, "a change to groups", "type=ff", at, bytes);
    assert_eq!(failover(10, &[0]), ErrorCode::GmfcWatchUnsupported);
    assert_eq!(failover(20, &[0xff; 4]), ErrorCode::GmfcInvalidGroup);
    let numbered = |at, bytes: &[u8]| refusal_of(V10, "a change to groups", "select", at, bytes);
    // A bucket to begin with, in a command that has none; two buckets with one number.
    assert_eq!(numbered(28, &[0, 0, 0, 1]), ErrorCode::GmfcBadBucket);
    assert_eq!(numbered(60, &[0, 0, 0, 0]), ErrorCode::GmfcBadBucket);
}

#[test]
fn properties_are_refused_precisely() {
    let choice = |at, bytes: &[u8]| {
        let what = "a choice of asynchronous messages";
        refusal_of(V14, what, "TABLE_STATUS", at, bytes)
    };
    assert_eq!(choice(8, &[0, 0x20]), ErrorCode::BpcBadType);
    assert_eq!(choice(8, &[0xff, 0xff]), ErrorCode::BpcBadExperimenter);
    assert_eq!(choice(10, &[0, 7]), ErrorCode::BpcBadLen);
    assert_eq!(choice(10, &[0, 3]), ErrorCode::BpcBadLen);
    assert_eq!(choice(12, &[0, 0, 1, 0]), ErrorCode::AcfcInvalid);
    let features = |at, bytes: &[u8]| refusal_of(V13, "a multipart reply", "table 5", at, bytes);
    assert_eq!(features(80, &[0, 0x20]), ErrorCode::BpcBadType);
    assert_eq!(features(82, &[0xff, 0]), ErrorCode::BpcBadLen);
    assert_eq!(features(16, &[0, 8]), ErrorCode::BrcBadLen);
    let zeros = refusal_of(V13, "connections to forget", "", 20, &[1]);
    assert_eq!(zeros, ErrorCode::NxbrcMustBeZero);
    let zone = refusal_of(V13, "a zone to forget", "", 16, &[1]);
    assert_eq!(zone, ErrorCode::NxbrcMustBeZero);
}

#[test]
fn a_reason_of_a_later_version_is_that_of_this_one() {
    let mut all = samples().into_iter();
    let removed = |sample: &samples::Sample| sample.message.name() == "a removed flow";
    let sample = all
        .find(|sample| sample.version == V13 && removed(sample))
        .unwrap();
    let mut bytes = sample.message.encode(V13, XID).unwrap();
    bytes[18] = RemovedReason::MeterDelete.number();
    let Message::FlowRemoved(read) = Message::decode(&bytes).unwrap().message else {
        panic!("not a removed flow");
    };
    assert_eq!(read.reason, RemovedReason::Delete);
}

#[test]
fn metadata_without_its_prerequisites_says_nothing() {
    let packet_in = |fields: &[u8]| {
        let mut bytes = vec![4, 10, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, 1, 1, 0];
        bytes.extend([0; 8]);
        bytes.extend([0, 1, 0, 4 + u8::try_from(fields.len()).unwrap()]);
        bytes.extend(fields);
        bytes.resize((bytes.len() - 24).next_multiple_of(8) + 24, 0);
        bytes.extend([0, 0, 0xaa]);
        bytes[3] = u8::try_from(bytes.len()).unwrap();
        match Message::decode(&bytes).unwrap().message {
            Message::PacketIn(packet) => packet.metadata,
            other => panic!("not a packet-in: {other:?}"),
        }
    };
    // in_port=3, and a source port of who knows what.
    let read = packet_in(&[0x80, 0, 0, 4, 0, 0, 0, 3, 0x80, 0, 26, 2, 0, 80]);
    assert_eq!(read, Match::any().with(Field::InPort, 3));
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let part = |reply| (reply, 100);
    let (tables, size) = part(Reply::Table(Vec::new()));
    let mut assembler = Assembler::new(250);
    assert_eq!(assembler.add(1, true, tables.clone(), size), Ok(None));
    let other = assembler.add(1, false, Reply::Port(Vec::new()), size);
    assert_eq!(other.unwrap_err().code, ErrorCode::BrcBadLen);
    // Each list by its xid; together they may not be too much.
    assert_eq!(assembler.add(2, true, tables.clone(), size), Ok(None));
    assert_eq!(assembler.add(3, true, tables.clone(), size), Ok(None));
    let much = assembler.add(4, true, tables.clone(), size).unwrap_err();
    assert_eq!(much.code, ErrorCode::BrcMultipartBufferOverflow);
    let whole = assembler.add(2, false, tables.clone(), size);
    assert_eq!(whole, Ok(Some(tables.clone())));
    // What was handed out and what was refused takes no room any more.
    assert_eq!(assembler.add(5, true, tables.clone(), size), Ok(None));
    assert!(assembler.add(6, true, tables, size).is_err());
}

#[test]
fn what_a_version_cannot_say_is_refused() {
    let refused = Message::FlowMonitorPaused.encode(V14, 1).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "OpenFlow 1.4 has no form for the pause of flow monitors"
    );
    let many = Message::EchoRequest(vec![0; 65_528]);
    assert!(many.encode(V13, 1).is_err());
    let most = Message::EchoRequest(vec![0; 65_527]);
    assert_eq!(most.encode(V13, 1).unwrap().len(), 65_535);
}
