//! Actions and instructions against the bytes of Open vSwitch, and what is refused.

mod wire;

use vswitch_flow::action::{Ct, CtZone, LearnSource, LearnSpec, Nat, NatKind, NatPorts, NatRange};
use vswitch_flow::text::{no_names, parse_match};
use vswitch_flow::{Action, Field, FlowFlags, FlowRule, Instructions, Match, OfPort, Subfield};
use vswitch_openflow::action::{DEPTH_MAX, Decoder, Encoder, decode_list, encode_list};
use vswitch_openflow::{ErrorCode, OfError, Reader, Version, Writer, instruction};
use wire::{SHORT, bytes, hex};

fn read(version: Version, wire: &[u8]) -> Result<Vec<Action>, OfError> {
    decode_list(&mut Reader::new(wire, SHORT), version)
}

fn write(version: Version, list: &[Action]) -> Vec<u8> {
    let mut to = Writer::new();
    encode_list(&mut to, version, list);
    to.finish().expect("every field has a code")
}

#[test]
fn actions_of_ovs_ofctl_are_written_as_they_were_read() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for line in include_str!("data/actions.txt").lines() {
        if line.starts_with('#') {
            continue;
        }
        let (version, text) = line.split_once(' ').expect("version and text");
        let version = match version {
            "10" => Version::V10,
            _ => Version::V13,
        };
        let (text, wire) = text.rsplit_once(" = ").expect("text and bytes");
        let (matches, _) = text.split_once(" | ").expect("match and actions");
        let matches = parse_match(matches, &no_names).expect("a match");
        let wire = bytes(wire);
        let mut decoder = Decoder::of_flow(version, &matches);
        match decoder.list(&mut Reader::new(&wire, SHORT)) {
            Ok(list) => {
                let mut to = Writer::new();
                Encoder::of_flow(version, &matches).list(&mut to, &list);
                let again = to.finish().expect("every field has a code");
                if again != wire {
                    wrong.push(format!("{line}: {list:?} written as {}", hex(&again)));
                }
            }
            Err(error) => wrong.push(format!("{line}: {error}")),
        }
        seen += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 250, "{seen} lines");
}

/// One action's bytes in OpenFlow 1.3.
fn one(wire: &str) -> Result<Action, ErrorCode> {
    let mut list = read(Version::V13, &bytes(wire)).map_err(|error| error.code)?;
    assert_eq!(list.len(), 1, "{wire}");
    Ok(list.remove(0))
}

fn whole(field: Field, value: u128) -> Action {
    let mask = field.info().max();
    Action::SetField { field, value, mask }
}

#[test]
fn actions_mean_what_the_specification_says() {
    let reg0 = |offset, bits| Subfield {
        field: Field::Reg0,
        offset,
        bits,
    };
    for (wire, action) in [
        (
            "0000 0010 00000002 ffe5 000000000000",
            Action::Output(OfPort(2)),
        ),
        (
            "0000 0010 fffffffa 0000 000000000000",
            Action::Output(OfPort::NORMAL),
        ),
        (
            "0019 0010 80000c02 1005 000000000000",
            whole(Field::VlanVid, 0x1005),
        ),
        ("0001 0008 0005 0000", whole(Field::VlanVid, 0x1005)),
        ("0017 0008 40 000000", whole(Field::IpTtl, 64)),
        ("0007 0008 b8 000000", whole(Field::IpDscp, 46)),
        ("0018 0008 00000000", Action::DecTtl(vec![])),
        ("0011 0008 88a8 0000", Action::PushVlan(0x88a8)),
        ("001a 0008 88e7 0000", Action::PushPbb(0x88e7)),
        ("001b 0008 00000000", Action::PopPbb),
        ("000b 0008 00000000", Action::CopyTtlOut),
        ("000c 0008 00000000", Action::CopyTtlIn),
        (
            "ffff 0018 00002320 0007 0103 00010004 0000000000000005",
            Action::Load {
                dst: reg0(4, 4),
                value: 5,
            },
        ),
        // The number of a port of 16 bits is the lower half of a port of 32.
        (
            "ffff 0018 00002320 0007 000f 00000002 000000000000ffff",
            Action::Load {
                dst: Subfield {
                    field: Field::InPort,
                    offset: 0,
                    bits: 16,
                },
                value: 0xffff,
            },
        ),
        (
            "0019 0010 00000002 fffe 000000000000",
            whole(Field::InPort, 0xffff_fffe),
        ),
        // The ONF's copy_field.
        (
            "ffff 0020 4f4e4600 0c80 0000 0010 0000 0010 0000 80000806 00010004 00000000",
            Action::Move {
                src: Subfield {
                    field: Field::EthSrc,
                    offset: 0,
                    bits: 16,
                },
                dst: reg0(16, 16),
            },
        ),
        (
            "ffff 0030 00002320 0023 0001 00000000 0007 03 000000 0000 \
             ffff 0018 00002320 0024 0000 0009 0011 0a000001 0050 0000",
            Action::Ct(Box::new(Ct {
                commit: true,
                force: false,
                zone: CtZone::Number(7),
                table: Some(3),
                helper: None,
                nat: Some(Nat {
                    range: Some(NatRange {
                        kind: NatKind::Source,
                        addresses: Some(([10, 0, 0, 1].into(), [10, 0, 0, 1].into())),
                        ports: Some((80, 80)),
                    }),
                    persistent: false,
                    ports: NatPorts::Hash,
                }),
                exec: vec![],
            })),
        ),
    ] {
        assert_eq!(one(wire), Ok(action), "{wire}");
    }
    let learned = "ffff 0040 00002320 0010 0000 003c 8000 0000000000000000 0000 01 00 0000 0000 \
                   2010 0800 00000602 0000  000c 00000802 0000 00000802 0000 1010 00000002 0000";
    let Ok(Action::Learn(learn)) = one(learned) else {
        panic!("{:?}", one(learned));
    };
    assert_eq!(
        (learn.hard_timeout, learn.priority, learn.table),
        (60, 0x8000, 1)
    );
    let vid = Subfield {
        field: Field::VlanTci,
        offset: 0,
        bits: 12,
    };
    assert_eq!(
        learn.specs,
        [
            LearnSpec::Match {
                src: LearnSource::Value(0x0800),
                dst: Subfield::whole(Field::EthType),
            },
            LearnSpec::Match {
                src: LearnSource::Field(vid),
                dst: vid,
            },
            LearnSpec::Output(Subfield {
                field: Field::InPort,
                offset: 0,
                bits: 16,
            }),
        ]
    );
}

#[test]
fn each_wrong_action_has_its_error() {
    use ErrorCode::*;
    for (wire, error) in [
        // Too short for a header, a body, or what it says; not a multiple of eight.
        ("0000 0010", BrcBadLen),
        ("0000 0008 00000001", BacBadLen),
        (
            "0000 0018 00000001 0000 000000000000 0000000000000000",
            BacBadLen,
        ),
        ("0000 0010 00000001", BacBadLen),
        ("ffff 0008 00002320", BacBadLen),
        ("0019 000c 80000002 00010000 00000000", BacBadLen),
        // Nobody's type, vendor or subtype.
        ("001c 0008 00000000", BacBadType),
        ("ffff 0008 00001234", BacBadVendor),
        ("ffff 0010 00002320 00c8 000000000000", BacBadVendorType),
        ("ffff 0010 4f4e4600 0001 000000000000", BacBadVendorType),
        // OpenFlow 1.0's own of Nicira's.
        ("ffff 0010 00002320 0004 0000 00000001", BacBadVendorType),
        // Ports to which nothing can be sent.
        ("0000 0010 0000ff00 0000 000000000000", BacBadOutPort),
        ("0000 0010 ffffffff 0000 000000000000", BacBadOutPort),
        ("0000 0010 fffffff7 0000 000000000000", BacBadOutPort),
        // Arguments.
        ("0011 0008 0800 0000", BacBadArgument),
        ("0013 0008 0800 0000", BacBadArgument),
        ("0001 0008 1000 0000", BacBadArgument),
        ("0007 0008 01 000000", BacBadArgument),
        (
            "ffff 0018 00002320 0007 0103 00010004 0000000000000010",
            BacBadArgument,
        ),
        ("ffff 0010 00002320 0027 0001 0000000d", BacBadArgument),
        (
            "ffff 0018 00002320 0023 0002 00000000 0000 ff 000000 0000",
            BacBadArgument,
        ),
        (
            "ffff 0018 00002320 001d 0000 00000001 00000002 00000003",
            BacBadArgument,
        ),
        (
            "ffff 0010 00002320 0022 00 01 00000001",
            NxbacBadConjunction,
        ),
        (
            "ffff 0010 00002320 0022 02 02 00000001",
            NxbacBadConjunction,
        ),
        // Fields to set: unknown, of the wrong length, masked, read-only, not to this value.
        ("0019 0010 80006304 00000000 00000000", BacBadSetType),
        ("0019 0010 80000c04 00001005 00000000", BacBadSetLen),
        ("0019 0010 80000d04 1005 1fff 00000000", BacBadSetMask),
        ("0019 0010 80000004 00000001 00000000", BacBadSetArgument),
        ("0019 0010 00013401 01 00000000000000", BacBadSetArgument),
        ("0019 0010 80000c02 0005 000000000000", BacBadSetArgument),
        ("0019 0010 80001001 40 00000000000000", BacBadSetArgument),
        ("0019 0010 80001001 04 00000000000001", BacBadSetArgument),
        // Bits that are not there.
        (
            "ffff 0018 00002320 0007 07c3 00010004 0000000000000005",
            BacBadSetLen,
        ),
        (
            "ffff 0018 00002320 0007 0103 4000aa04 0000000000000005",
            BacBadSetType,
        ),
        // What belongs to a connection is written within ct, and there nothing else is.
        ("0019 0010 0001d604 00000001 00000000", BacBadSetArgument),
        ("ffff 0010 00002320 0024 0000 0000 0000", BacBadSetArgument),
        (
            "ffff 0028 00002320 0023 0001 00000000 0000 ff 000000 0000 \
             0000 0010 00000001 0000 000000000000",
            BacBadArgument,
        ),
        // Bytes that must be zero.
        ("ffff 0010 00002320 000e 0001 01 000001", BacBadArgument),
        (
            "ffff 0018 00002320 0031 05dc 0003 00010004 000000000001",
            NxbrcMustBeZero,
        ),
        // A conjunction beside something else; a list that ends in the middle.
        (
            "ffff 0010 00002320 0022 00 02 00000001 0000 0010 00000001 0000 000000000000",
            NxbacBadConjunction,
        ),
        (
            "ffff 0018 00002320 002a 000000000000 0000 0010 00000001",
            BacBadLen,
        ),
    ] {
        assert_eq!(one(wire), Err(error), "{wire}");
    }
    // 1.0 has its own numbers.
    let old = |wire| read(Version::V10, &bytes(wire)).map_err(|error| error.code);
    assert_eq!(
        old("0000 0008 0001 0000"),
        Ok(vec![Action::Output(OfPort(1))])
    );
    assert_eq!(old("0000 0008 ff00 0000"), Err(BacBadOutPort));
    assert_eq!(old("000c 0008 00000000"), Err(BacBadType));
    assert_eq!(
        old("000b 0010 fffb 000000000000 00000001"),
        Err(BacBadOutPort)
    );
}

#[test]
fn lists_within_lists_end_at_some_depth() {
    let nest = |depth: usize| {
        let mut wire = Vec::new();
        for _ in 1..depth {
            let size = wire.len() as u16 + 16;
            let mut outer = bytes("ffff");
            outer.extend(size.to_be_bytes());
            outer.extend(bytes("00002320 002a 000000000000"));
            outer.extend(wire);
            wire = outer;
        }
        wire
    };
    assert!(read(Version::V13, &nest(DEPTH_MAX)).is_ok());
    let deep = read(Version::V13, &nest(DEPTH_MAX + 1)).map_err(|error| error.code);
    assert_eq!(deep, Err(ErrorCode::BacTooMany));
    let deep = read(Version::V13, &nest(4000)).map_err(|error| error.code);
    assert_eq!(deep, Err(ErrorCode::BacTooMany));
}

#[test]
fn a_port_of_openflow_1_0_is_that_of_the_packet_s_protocol() {
    let wire = bytes("0009 0008 0050 0000");
    let udp = Match::any()
        .with(Field::EthType, 0x0800)
        .with(Field::IpProto, 17);
    let list = Decoder::of_flow(Version::V10, &udp).list(&mut Reader::new(&wire, SHORT));
    assert_eq!(list, Ok(vec![whole(Field::UdpSrc, 80)]));
    // Nothing known of the packet: each protocol's, and one action again.
    let list = read(Version::V10, &wire).expect("it is right");
    let fields = [Field::TcpSrc, Field::UdpSrc, Field::SctpSrc];
    assert_eq!(list, fields.map(|field| whole(field, 80)));
    assert_eq!(write(Version::V10, &list), wire);
}

#[test]
fn a_vlan_is_pushed_for_later_versions_where_there_is_none() {
    let list = [Action::SetVlanVid(5), Action::SetVlanPcp(3)];
    let pushed = "00110008 8100 0000 00190010 80000c02 1005 000000000000 \
                  00190010 80000e01 03 00000000000000";
    assert_eq!(hex(&write(Version::V13, &list)), hex(&bytes(pushed)));
    let tagged = Match::any().with(Field::VlanVid, 0x1001);
    let mut to = Writer::new();
    Encoder::of_flow(Version::V13, &tagged).list(&mut to, &list);
    let wire = to.finish().expect("short");
    assert_eq!(hex(&wire), hex(&bytes(pushed)[8..]));
    assert_eq!(
        hex(&write(Version::V10, &list)),
        "00010008000500000002000803000000"
    );
}

#[test]
fn a_masked_field_is_written_in_runs_of_bits() {
    let masked = Action::SetField {
        field: Field::Reg0,
        value: 0x0501,
        mask: 0x0f0f,
    };
    let run = |offset, value| Action::Load {
        dst: Subfield {
            field: Field::Reg0,
            offset,
            bits: 4,
        },
        value,
    };
    let again = read(Version::V13, &write(Version::V13, &[masked]));
    assert_eq!(again, Ok(vec![run(0, 1), run(8, 5)]));
    // A load of more than 64 bits is two.
    let wide = Action::Load {
        dst: Subfield::whole(Field::Xxreg0),
        value: 1 << 64 | 2,
    };
    let again = read(Version::V14, &write(Version::V14, &[wide])).expect("it is right");
    let values: Vec<_> = again
        .iter()
        .map(|action| match action {
            Action::Load { dst, value } => (dst.offset, dst.bits, *value),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(values, [(0, 64, 2), (64, 64, 1)]);
}

fn instructions(wire: &str) -> Result<Instructions, ErrorCode> {
    let wire = bytes(wire);
    let read = instruction::decode_list(&mut Reader::new(&wire, SHORT), Version::V13);
    read.map_err(|error| error.code)
}

#[test]
fn instructions_come_in_any_order_and_are_written_in_theirs() {
    let all = "0001 0008 05 000000 \
               0002 0018 00000000 0000000000000012 00000000000000ff \
               0003 0010 00000000 0016 0008 00000007 \
               0005 0008 00000000 \
               0004 0018 00000000 0000 0010 00000001 0000 000000000000 \
               0006 0008 00000009";
    let read = instructions(all);
    let wanted = Instructions {
        meter: Some(9),
        apply: [Action::Output(OfPort(1))].into(),
        clear: true,
        write: [Action::Group(7)].into(),
        metadata: Some((0x12, 0xff)),
        goto: Some(5),
    };
    assert_eq!(read, Ok(wanted.clone()));
    let write = |version| {
        let mut to = Writer::new();
        instruction::encode_list(&mut to, version, &wanted);
        hex(&to.finish().expect("short"))
    };
    let ordered = "0006 0008 00000009 \
                   0004 0018 00000000 0000 0010 00000001 0000 000000000000 \
                   0005 0008 00000000 \
                   0003 0010 00000000 0016 0008 00000007 \
                   0002 0018 00000000 0000000000000012 00000000000000ff \
                   0001 0008 05 000000";
    assert_eq!(write(Version::V13), hex(&bytes(ordered)));
    // OpenFlow 1.0 says some of it, in Nicira's words.
    let without_goto = Instructions {
        goto: None,
        ..wanted.clone()
    };
    let old = "0000 0008 0001 0000 \
               ffff 0020 00002320 0016 000000000000 0000000000000012 00000000000000ff";
    let mut to = Writer::new();
    instruction::encode_list(&mut to, Version::V10, &without_goto);
    assert_eq!(to.finish(), Ok(bytes(old)));
    let old = "0000 0008 0001 0000 \
               ffff 0018 00002320 0007 0007 80000408 0000000000000012 \
               ffff 0010 00002320 000e fff8 05 000000";
    assert_eq!(write(Version::V10), hex(&bytes(old)));
}

#[test]
fn each_wrong_instruction_has_its_error() {
    use ErrorCode::*;
    for (wire, error) in [
        ("0001 0008", BicBadLen),
        ("0001 0004 00000000", BicBadLen),
        ("0001 0010 00000000", BicBadLen),
        ("0001 0010 00000000 0000000000000000", BicBadLen),
        ("0002 0008 00000000", BicBadLen),
        ("0007 0008 00000000", BicUnknownInst),
        ("ffff 0008 00002320", BicBadExperimenter),
        ("0005 0008 00000000 0005 0008 00000000", BicDupInst),
        (
            "0003 0018 00000000 ffff 0010 00002320 0011 000000000000",
            BacBadType,
        ),
        (
            "0004 0018 00000000 ffff 0010 00002320 0022 00 02 00000001 0001 0008 05 000000",
            NxbacBadConjunction,
        ),
    ] {
        assert_eq!(instructions(wire), Err(error), "{wire}");
    }
    assert_eq!(instructions(""), Ok(Instructions::default()));
    // Metadata among the actions, as OpenFlow 1.0 has it: at their end only, and once.
    let metadata = "ffff 0020 00002320 0016 000000000000 0000000000000012 00000000000000ff";
    let old = |wire: &str| {
        let wire = bytes(wire);
        let read = instruction::decode_list(&mut Reader::new(&wire, SHORT), Version::V10);
        read.map(|read| read.metadata).map_err(|error| error.code)
    };
    assert_eq!(old(metadata), Ok(Some((0x12, 0xff))));
    assert_eq!(
        old(&format!("{metadata}{metadata}")),
        Err(BacUnsupportedOrder)
    );
    let after = format!("{metadata} 0000 0008 0001 0000");
    assert_eq!(old(&after), Err(BacUnsupportedOrder));
    let outside = read(Version::V13, &bytes(metadata)).map_err(|error| error.code);
    assert_eq!(outside, Err(BicUnsupInst));
}

#[test]
fn a_flow_is_told_how_its_outputs_were_said() {
    for (len, said) in [("0000", false), ("ffe5", true)] {
        let wire = bytes(&format!(
            "0004 0018 00000000 0000 0010 00000001 {len} 000000000000"
        ));
        let mut rule = FlowRule::default();
        let mut from = Reader::new(&wire, SHORT);
        instruction::decode_of_flow(&mut from, Version::V13, &mut rule).expect("it is right");
        assert_eq!(rule.flags.has(FlowFlags::OUTPUT_LEN), said);
        let mut to = Writer::new();
        instruction::encode_of_flow(&mut to, Version::V13, &rule);
        assert_eq!(to.finish(), Ok(wire));
    }
}
