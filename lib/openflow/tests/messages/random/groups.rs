//! Random groups and meters.

use super::*;

pub(super) fn group(version: Version) -> impl Strategy<Value = Group> {
    let kinds = prop::sample::select(vec![
        GroupKind::All,
        GroupKind::Select,
        GroupKind::Indirect,
        GroupKind::FastFailover,
    ]);
    let bucket = (any::<u16>(), 1..100_u32, actions());
    let hash = (any::<u64>(), any::<bool>(), any::<u32>());
    (any::<u32>(), kinds, vec(bucket, 1..4), hash).prop_map(move |(id, kind, buckets, hash)| {
        let select = kind == GroupKind::Select;
        let bucket = |(at, (weight, watch, actions)): (usize, (u16, u32, Vec<Action>))| Bucket {
            id: u32::try_from(at).unwrap(),
            weight: if select { weight } else { 0 },
            watch_port: if kind == GroupKind::FastFailover {
                OfPort(watch)
            } else {
                OfPort::ANY
            },
            watch_group: GROUP_ANY,
            actions,
        };
        let most = if kind == GroupKind::Indirect { 1 } else { 4 };
        let (param, fields, mask) = hash;
        Group {
            id: id & 0xffff_ff00,
            kind,
            selection: if !select || !matches!(version, V10 | V15) {
                SelectionMethod::Default
            } else if fields {
                let fields = vec![
                    (Field::Ipv4Src, u128::from(mask | 1)),
                    (Field::TcpDst, 0xff),
                ];
                SelectionMethod::Hash { fields, param }
            } else {
                SelectionMethod::DpHash { param }
            },
            buckets: buckets
                .into_iter()
                .take(most)
                .enumerate()
                .map(bucket)
                .collect(),
        }
    })
}

pub(super) fn groups(version: Version) -> Boxed<Message> {
    let change = (group(version), 0..6_u8).prop_map(move |(group, command)| {
        let id = group.id;
        Message::GroupMod(match command {
            0 => GroupMod::Add(group),
            1 => GroupMod::Modify(group),
            2 => GroupMod::AddOrModify(group),
            3 if matches!(version, V10 | V15) => GroupMod::RemoveBucket {
                id,
                bucket: BUCKET_ALL,
            },
            4 => GroupMod::DeleteAll,
            5 if matches!(version, V10 | V15) && group.kind == GroupKind::Select => {
                GroupMod::InsertBuckets {
                    id,
                    place: if id % 2 == 0 {
                        BucketPlace::First
                    } else {
                        BucketPlace::After(id)
                    },
                    buckets: group.buckets,
                }
            }
            _ => GroupMod::Delete(id),
        })
    });
    let descs = vec(group(version), 0..4)
        .prop_map(|groups| Message::MultipartReply(Reply::GroupDesc(groups), false));
    let stats = (
        any::<(u32, u32, u64, u64)>(),
        option::of(elapsed()),
        pairs(),
    );
    let stats =
        stats.prop_map(
            |((id, references, packets, bytes), duration, buckets)| GroupStats {
                id,
                references,
                packets,
                bytes,
                duration,
                buckets,
            },
        );
    let stats =
        vec(stats, 0..4).prop_map(|stats| Message::MultipartReply(Reply::Group(stats), false));
    let features = any::<(u32, [u32; 4], [u32; 4])>();
    let features = features.prop_map(|(types, max_groups, actions)| {
        let features = GroupFeatures {
            types,
            max_groups,
            actions,
            ..GroupFeatures::default()
        };
        Message::MultipartReply(Reply::GroupFeatures(features), false)
    });
    let request = any::<u32>().prop_map(|id| Message::MultipartRequest(Request::Group(id), false));
    let all = Message::MultipartRequest(Request::GroupDesc(GROUP_ALL), false);
    prop_oneof![change, descs, stats, features, request, Just(all)].boxed()
}

pub(super) fn meters() -> Boxed<Message> {
    let kind = prop_oneof![
        Just(BandKind::Drop),
        any::<u8>().prop_map(|levels| BandKind::DscpRemark { levels }),
    ];
    let band = (kind, any::<u32>(), any::<u32>());
    let band = band.prop_map(|(kind, rate, burst)| Band { kind, rate, burst });
    let meter = (0..METER_ALL, 0..16_u16, vec(band, 0..4));
    let meter = meter.prop_map(|(id, flags, bands)| Meter {
        id,
        flags: MeterFlags(if flags & 3 == 3 { flags ^ 1 } else { flags }),
        bands,
    });
    let meter = meter.boxed();
    let change = (meter.clone(), 0..4_u8).prop_map(|(meter, command)| {
        Message::MeterMod(match command {
            0 => MeterMod::Add(meter),
            1 => MeterMod::Modify(meter),
            2 => MeterMod::Delete(meter.id),
            _ => MeterMod::DeleteAll,
        })
    });
    let config = vec(meter, 0..4)
        .prop_map(|meters| Message::MultipartReply(Reply::MeterConfig(meters), false));
    let stats = (any::<(u32, u32, u64, u64)>(), elapsed(), pairs());
    let stats = stats.prop_map(
        |((id, flows, packets, bytes), duration, bands)| MeterStats {
            id,
            flows,
            packets,
            bytes,
            duration,
            bands,
        },
    );
    let stats =
        vec(stats, 0..4).prop_map(|stats| Message::MultipartReply(Reply::Meter(stats), false));
    let features = any::<(u32, u32, u32, u8, u8)>().prop_map(|numbers| {
        let (max_meters, band_types, capabilities, max_bands, max_color) = numbers;
        let features = MeterFeatures {
            max_meters,
            band_types,
            capabilities,
            max_bands,
            max_color,
        };
        Message::MultipartReply(Reply::MeterFeatures(features), false)
    });
    prop_oneof![change, config, stats, features].boxed()
}
