//! Random changes of flows, requests and answers about them, and packets.

use super::*;

pub(super) fn flow_mod(version: Version) -> Boxed<Message> {
    // Both forms of 1.0 are chosen by what the match needs.
    let rule = rule(version, Layout::Nicira);
    let commands = prop::sample::select(vec![
        FlowCommand::Add,
        FlowCommand::Modify,
        FlowCommand::ModifyStrict,
        FlowCommand::Delete,
        FlowCommand::DeleteStrict,
    ]);
    let conditions = (
        any::<(u64, u64)>(),
        port(),
        any::<u32>(),
        any::<[bool; 2]>(),
    );
    let parts = (commands, rule, conditions, option::of(0..u32::MAX));
    parts
        .prop_map(
            move |(command, rule, (cookie, out_port, out_group, all), buffer)| {
                let old = version == V10;
                let add = command == FlowCommand::Add;
                let delete = matches!(command, FlowCommand::Delete | FlowCommand::DeleteStrict);
                let mut change = FlowMod::new(command, rule);
                if !add {
                    change.cookie_mask = cookie.1;
                    change.cookie = cookie.0 & cookie.1;
                }
                if delete {
                    change.out_port = out_port;
                    change.out_group = if old { GROUP_ANY } else { out_group };
                }
                if delete || !old && !add {
                    change.rule.cookie = 0;
                }
                if !add {
                    change.rule.importance = 0;
                }
                if old && add {
                    change.rule.flags = change.rule.flags.with(FlowFlags::RESET_COUNTS);
                }
                if old && !add && !delete {
                    change.upsert = true;
                    change.new_cookie = all[0];
                    if !all[0] {
                        change.rule.cookie = u64::MAX;
                    }
                }
                if all[1] && (delete || old && !add) {
                    change.all_tables = true;
                    change.rule.table = 0;
                }
                Message::FlowMod(Box::new(FlowModMessage { change, buffer }))
            },
        )
        .boxed()
}

pub(super) fn layouts(version: Version) -> Boxed<Layout> {
    if version == V10 {
        prop_oneof![Just(Layout::Standard), Just(Layout::Nicira)].boxed()
    } else {
        Just(Layout::Standard).boxed()
    }
}

pub(super) fn flows(version: Version) -> Boxed<Message> {
    let stats = move |layout| {
        let ages = (option::of(0..65_535_u16), option::of(0..65_535_u16));
        let parts = (rule(version, layout), elapsed(), ages, any::<(u64, u64)>());
        parts.prop_map(move |(mut rule, duration, ages, (packets, bytes))| {
            if version == V10 {
                rule.flags = FlowFlags::default();
            }
            let nicira = layout == Layout::Nicira;
            FlowStats {
                rule,
                duration,
                idle_age: ages.0.filter(|_| nicira || version == V15),
                hard_age: ages.1.filter(|_| nicira),
                packets,
                bytes,
            }
        })
    };
    let reply = layouts(version).prop_flat_map(move |layout| {
        let flows = vec(stats(layout), 0..5);
        flows.prop_map(move |flows| Message::MultipartReply(Reply::Flow(layout, flows), false))
    });
    let select = move |layout| {
        let conditions = (any::<(u64, u64)>(), port(), any::<u32>());
        let parts = (
            option::of(0..=253_u8),
            matches_for(version, layout),
            conditions,
        );
        parts.prop_map(
            move |(table, matches, ((cookie, mask), out_port, out_group))| {
                let fixed = version == V10 && layout == Layout::Standard;
                let mask = if fixed { 0 } else { mask };
                FlowSelect {
                    table,
                    matches,
                    cookie: cookie & mask,
                    cookie_mask: mask,
                    out_port,
                    out_group: if version == V10 { GROUP_ANY } else { out_group },
                }
            },
        )
    };
    let request = (layouts(version), any::<bool>()).prop_flat_map(move |(layout, aggregate)| {
        select(layout).prop_map(move |select| {
            let request = FlowRequest { layout, select };
            let request = if aggregate {
                Request::Aggregate(request)
            } else {
                Request::Flow(request)
            };
            Message::MultipartRequest(request, false)
        })
    });
    let aggregate = (layouts(version), any::<(u64, u64, u32)>());
    let aggregate = aggregate.prop_map(|(layout, (packets, bytes, flows))| {
        let aggregate = Aggregate {
            packets,
            bytes,
            flows,
        };
        Message::MultipartReply(Reply::Aggregate(layout, aggregate), false)
    });
    let removed = layouts(version).prop_flat_map(move |layout| {
        let parts = (
            rule(version, layout),
            elapsed(),
            words(RemovedReason::ALL),
            any::<(u64, u64)>(),
        );
        parts.prop_map(move |(rule, duration, reason, (packets, bytes))| {
            let fixed = version == V10 && layout == Layout::Standard;
            let early = reason == RemovedReason::MeterDelete && version < V14;
            Message::FlowRemoved(Box::new(FlowRemoved {
                layout,
                matches: rule.matches,
                cookie: rule.cookie,
                priority: rule.priority,
                reason: if early { RemovedReason::Delete } else { reason },
                table: (!fixed).then_some(rule.table),
                duration,
                idle_timeout: rule.idle_timeout,
                hard_timeout: if version == V10 { 0 } else { rule.hard_timeout },
                packets,
                bytes,
            }))
        })
    });
    prop_oneof![
        flow_mod(version),
        flow_mod(version),
        reply,
        request,
        aggregate,
        removed
    ]
    .boxed()
}

pub(super) fn packets(version: Version) -> Boxed<Message> {
    let reason = prop::sample::select(match version {
        V10 | V13 => vec![Reason::NoMatch, Reason::Action, Reason::InvalidTtl],
        V14 | V15 => vec![Reason::ActionSet, Reason::Group, Reason::PacketOut],
    });
    let extra = (bytes(20), option::of(bytes(20)), any::<bool>());
    let parts = (
        words(PacketInFormat::ALL),
        (
            option::of(0..u32::MAX),
            reason,
            any::<u8>(),
            option::of(0..u64::MAX),
        ),
        (vec(any::<u8>(), 1..100), 0..100_u32, 1..0xfeff_u32),
        extra,
    );
    let packet_in = parts.prop_map(
        move |(format, (buffer, reason, table, cookie), packet, extra)| {
            let (packet, cut, in_port) = packet;
            let (userdata, continuation, resume) = extra;
            let format = if resume {
                PacketInFormat::Nicira2
            } else {
                format
            };
            let fixed = format == PacketInFormat::Standard && version == V10;
            let nicira2 = format == PacketInFormat::Nicira2;
            let size = u32::try_from(packet.len()).unwrap();
            let packet = PacketIn {
                buffer,
                reason,
                table: if fixed { 0 } else { table },
                cookie: cookie.filter(|_| !fixed),
                total_len: size + cut,
                userdata: if nicira2 { userdata } else { vec![] },
                continuation: continuation.filter(|_| nicira2),
                ..PacketIn::new(format, OfPort(in_port), packet)
            };
            if resume {
                Message::Resume(Box::new(packet))
            } else {
                Message::PacketIn(Box::new(packet))
            }
        },
    );
    let packet_out = (option::of(0..u32::MAX), port(), any::<u64>(), actions());
    let packet_out = (packet_out, bytes(100));
    let packet_out = packet_out.prop_map(move |((buffer, in_port, bits, actions), packet)| {
        let metadata = match version {
            V15 => Match::any().with(Field::Metadata, bits.into()),
            _ => Match::any(),
        };
        Message::PacketOut(Box::new(PacketOut {
            buffer,
            in_port,
            metadata,
            actions,
            packet: if buffer.is_some() { vec![] } else { packet },
        }))
    });
    prop_oneof![packet_in, packet_out].boxed()
}
