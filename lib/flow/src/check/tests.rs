use super::*;
use crate::action::{Action, Subfield};
use crate::meter::Band;
use crate::rule::FlowRule;

fn ip() -> Match {
    Match::any().with(Field::EthType, 0x0800)
}

fn tagged() -> Match {
    Match::any().with_masked(Field::VlanTci, 0x1000, 0x1000)
}

fn apply(matches: &Match, actions: Vec<Action>) -> Result<(), Fault> {
    check_instructions(matches, 0, &Instructions::apply(actions), true)
}

fn set(field: Field, value: u128) -> Action {
    Action::SetField {
        field,
        value,
        mask: field.info().max(),
    }
}

#[test]
fn an_action_changes_what_the_next_ones_find() {
    let vid = || set(Field::VlanVid, 0x1005);
    assert!(apply(&Match::any(), vec![vid()]).is_err());
    assert_eq!(
        apply(&Match::any(), vec![Action::PushVlan(0x8100), vid()]),
        Ok(())
    );
    assert_eq!(apply(&tagged(), vec![vid(), Action::PopVlan]), Ok(()));
    assert!(apply(&tagged(), vec![Action::PopVlan, vid()]).is_err());
    let three = vec![Action::PushVlan(0x8100); 3];
    assert_eq!(apply(&Match::any(), three), Err(Fault::Tag));

    let label = || set(Field::MplsLabel, 5);
    assert!(apply(&ip(), vec![label()]).is_err());
    let pushed = vec![Action::PushMpls(0x8847), label(), Action::PopMpls(0x0800)];
    assert_eq!(apply(&ip(), pushed.clone()), Ok(()));
    let after = [pushed, vec![Action::DecTtl(Vec::new())]].concat();
    assert_eq!(apply(&ip(), after), Ok(()));
    let hidden = vec![Action::PushMpls(0x8847), Action::DecTtl(Vec::new())];
    assert!(matches!(
        apply(&ip(), hidden),
        Err(Fault::Inconsistent {
            what: "dec_ttl",
            ..
        })
    ));
}

#[test]
fn what_a_clone_makes_of_its_packet_ends_with_it() {
    let inner = vec![Action::PushVlan(0x8100), set(Field::VlanPcp, 3)];
    assert_eq!(apply(&ip(), vec![Action::Clone(inner.clone())]), Ok(()));
    let outer = vec![Action::Clone(inner), set(Field::VlanPcp, 3)];
    assert!(apply(&ip(), outer).is_err());
    let mut deep = Action::Clone(Vec::new());
    for _ in 0..40 {
        deep = Action::Clone(vec![deep]);
    }
    assert!(matches!(apply(&ip(), vec![deep]), Err(Fault::Argument(_))));
}

#[test]
fn ports_and_groups_must_be_such() {
    for port in [0, 0xff00, 0xffff_ff00, OfPort::UNSET.0, OfPort::ANY.0] {
        let port = OfPort(port);
        assert_eq!(
            apply(&ip(), vec![Action::Output(port)]),
            Err(Fault::OutPort(port))
        );
    }
    for port in [1, OfPort::MAX.0, OfPort::NORMAL.0, OfPort::LOCAL.0] {
        assert_eq!(apply(&ip(), vec![Action::Output(OfPort(port))]), Ok(()));
    }
    let cut = Action::OutputTruncated {
        port: OfPort::FLOOD,
        max_len: 100,
    };
    assert_eq!(apply(&ip(), vec![cut]), Err(Fault::OutPort(OfPort::FLOOD)));
    let group = Action::Group(GROUP_MAX + 1);
    assert_eq!(
        apply(&ip(), vec![group]),
        Err(Fault::OutGroup(GROUP_MAX + 1))
    );
}

#[test]
fn fields_are_written_where_that_can_be_done() {
    let refused = |action| apply(&ip(), vec![action]).expect_err("it was allowed");
    assert!(matches!(
        refused(set(Field::IpFrag, 1)),
        Fault::SetArgument { .. }
    ));
    assert!(matches!(
        refused(set(Field::CtMark, 6)),
        Fault::SetArgument { .. }
    ));
    let outside = Action::SetField {
        field: Field::Reg0,
        value: 2,
        mask: 1,
    };
    assert!(matches!(refused(outside), Fault::SetArgument { .. }));
    let masked = Action::SetField {
        field: Field::IpTtl,
        value: 1,
        mask: 1,
    };
    let field = Field::IpTtl;
    assert_eq!(refused(masked), Fault::SetMask { field });
    let bits = |offset, bits| Subfield {
        field: Field::Reg0,
        offset,
        bits,
    };
    let beyond = Action::Load {
        dst: bits(30, 3),
        value: 0,
    };
    let field = Field::Reg0;
    assert_eq!(refused(beyond), Fault::SetLength { field });
    let uneven = Action::Move {
        src: bits(0, 3),
        dst: bits(8, 4),
    };
    assert_eq!(refused(uneven), Fault::SetLength { field });
}

#[test]
fn the_action_set_takes_its_actions_and_no_prerequisites() {
    let write = |actions: Vec<Action>| {
        let instructions = Instructions {
            write: actions.into(),
            ..Instructions::default()
        };
        check_instructions(&Match::any(), 0, &instructions, true)
    };
    assert_eq!(write(vec![Action::PopVlan, Action::Group(1)]), Ok(()));
    assert_eq!(
        write(vec![Action::Exit]),
        Err(Fault::NotInActionSet("exit"))
    );
}

#[test]
fn openflow_1_0_lets_actions_come_to_nothing() {
    let instructions = Instructions::apply(vec![Action::PopVlan, set(Field::Ipv4Src, 1)]);
    assert!(check_instructions(&Match::any(), 0, &instructions, true).is_err());
    assert_eq!(
        check_instructions(&Match::any(), 0, &instructions, false),
        Ok(())
    );
}

#[test]
fn tables_come_later_and_meters_have_numbers() {
    let goto = |from, to| {
        let instructions = Instructions {
            goto: Some(to),
            ..Instructions::default()
        };
        check_instructions(&Match::any(), from, &instructions, true)
    };
    assert_eq!(goto(5, 6), Ok(()));
    assert_eq!(goto(5, 5), Err(Fault::Goto { from: 5, to: 5 }));
    assert_eq!(goto(5, 254), Err(Fault::Goto { from: 5, to: 254 }));
    assert_eq!(check_meter_number(0), Err(Fault::Meter(0)));
    let rule = FlowRule {
        table: 254,
        ..FlowRule::default()
    };
    let change = FlowMod::new(FlowCommand::Add, rule);
    assert_eq!(check_flow_mod(&change, true), Err(Fault::Table(254)));
}

#[test]
fn a_match_says_what_its_fields_need() {
    let port = Match::any().with(Field::TcpDst, 80);
    assert!(matches!(
        check_match(&port),
        Err(Fault::MatchPrerequisite { .. })
    ));
    let whole = ip().with(Field::IpProto, 6).with(Field::TcpDst, 80);
    assert_eq!(check_match(&whole), Ok(()));
    let part = ip().with_masked(Field::IpTtl, 1, 1);
    let field = Field::IpTtl;
    assert_eq!(check_match(&part), Err(Fault::MatchMask { field }));
    let xreg = Match::any().with_masked(Field::Xxreg1, 5, 0xf);
    assert_eq!(check_match(&xreg), Ok(()));
    let tag = tagged().with(Field::VlanPcp, 3);
    assert_eq!(check_match(&tag), Ok(()));
}

#[test]
fn groups_and_meters_follow_their_rules() {
    let bucket = |id, weight| Bucket {
        id,
        weight,
        watch_port: OfPort::ANY,
        watch_group: GROUP_ANY,
        actions: Vec::new(),
    };
    let group = |kind, buckets| {
        check_group_mod(&GroupMod::Add(Group {
            id: 1,
            kind,
            selection: Default::default(),
            buckets,
        }))
    };
    assert_eq!(
        group(GroupKind::Select, vec![bucket(0, 1), bucket(1, 0)]),
        Ok(())
    );
    let twice = vec![bucket(3, 1), bucket(3, 1)];
    assert_eq!(group(GroupKind::Select, twice), Err(Fault::BucketTwice(3)));
    assert!(matches!(
        group(GroupKind::All, vec![bucket(0, 1)]),
        Err(Fault::Group(_))
    ));
    assert!(matches!(
        group(GroupKind::Indirect, Vec::new()),
        Err(Fault::Group(_))
    ));
    assert!(matches!(
        group(GroupKind::FastFailover, vec![bucket(0, 0)]),
        Err(Fault::Group(_))
    ));

    let meter = |flags: u16, burst, rate| {
        check_meter_mod(&MeterMod::Add(Meter {
            id: 1,
            flags: MeterFlags(flags),
            bands: vec![Band {
                kind: BandKind::Drop,
                rate,
                burst,
            }],
        }))
    };
    assert_eq!(meter(MeterFlags::KBPS.0, 0, 5), Ok(()));
    assert_eq!(meter(MeterFlags::KBPS.0, 5, 5), Err(Fault::Burst));
    assert_eq!(meter(MeterFlags::KBPS.0, 0, 0), Err(Fault::Rate));
    assert_eq!(meter(3, 0, 5), Err(Fault::MeterFlags));
}
