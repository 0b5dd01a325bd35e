//! Groups: which buckets a packet gets, and their traffic.
//!
//! Law: what is chosen depends on the group, on which ports are up, and on the bits of the key that
//! are added to the caller's mask, so the answer can be kept until tables or ports change. A select
//! group gives every bucket its share of the hashes by weight and moves no packet between two
//! buckets that both stay alive (weighted rendezvous hashing: Schindelhauer and Schomaker, SPAA
//! 2005).
//!
//! Spec: OpenFlow 1.3.5 §5.6; Open vSwitch's selection methods (`ovs-ofctl(8)`, "Group Syntax"),
//! where `dp_hash` is here what the default is.

use std::collections::BTreeSet;

use vswitch_flow::field::Prerequisite;
use vswitch_flow::group::SelectionMethod;
use vswitch_flow::rule::{GROUP_ANY, each_action};
use vswitch_flow::{Action, Bucket, Field, FlowKey, FlowMask, Group, GroupKind, OfPort};

use super::shelf::Users;
use super::tables::{Bridge, Tables};
use super::traffic::Traffic;
use crate::tick::Tick;

/// Most groups of a bridge: as many as ports, so that each can have one of its own.
pub const GROUPS_MAX: usize = 65_536;

/// Groups that one asks another whether it is alive, as `MAX_LIVENESS_RECURSION` of Open vSwitch.
const LIVENESS_DEPTH: usize = 128;

/// A group in force.
#[derive(Debug)]
pub struct GroupEntry {
    group: Group,
    created: Tick,
    users: Users,
    traffic: Traffic,
    buckets: Box<[Traffic]>,
}

/// The buckets that a packet gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// Each one gets a copy.
    All,
    /// The one at this place.
    One(usize),
    /// None is alive, or has a weight.
    Nothing,
}

impl GroupEntry {
    /// A group added at `created`, or, with `previous`, put in its place.
    #[must_use]
    pub fn new(group: Group, created: Tick, previous: Option<&Self>) -> Self {
        Self {
            buckets: group.buckets.iter().map(|_| Traffic::default()).collect(),
            group,
            created: previous.map_or(created, |old| old.created),
            users: previous.map(|old| old.users.clone()).unwrap_or_default(),
            traffic: Traffic::default(),
        }
    }

    /// What was asked for.
    #[must_use]
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// When it was added.
    #[must_use]
    pub fn created(&self) -> Tick {
        self.created
    }

    /// Flows that name it.
    #[must_use]
    pub fn flows(&self) -> u32 {
        self.users.len()
    }

    pub(super) fn users(&self) -> &Users {
        &self.users
    }

    /// Counts traffic for the group and for what it picked.
    pub fn credit(&self, pick: Pick, packets: u64, bytes: u64) {
        match pick {
            Pick::All => self.buckets.iter().for_each(|b| b.add(packets, bytes)),
            Pick::One(at) => {
                if let Some(bucket) = self.buckets.get(at) {
                    bucket.add(packets, bytes);
                }
            }
            Pick::Nothing => return,
        }
        self.traffic.add(packets, bytes);
    }

    /// Packets and bytes.
    #[must_use]
    pub fn traffic(&self) -> (u64, u64) {
        self.traffic.sums()
    }

    /// Packets and bytes of each bucket.
    #[must_use]
    pub fn bucket_traffic(&self) -> Vec<(u64, u64)> {
        self.buckets.iter().map(Traffic::sums).collect()
    }

    /// The buckets that a packet with this key gets. The bits that were read are added to `read`.
    #[must_use]
    pub fn pick(
        &self,
        tables: &Tables,
        bridge: &Bridge,
        key: &FlowKey,
        read: &mut FlowMask,
    ) -> Pick {
        let buckets = &self.group.buckets;
        let alive = |bucket: &Bucket| is_alive(bucket, tables, bridge, LIVENESS_DEPTH);
        match self.group.kind {
            GroupKind::All => Pick::All,
            GroupKind::Indirect if buckets.is_empty() => Pick::Nothing,
            GroupKind::Indirect => Pick::One(0),
            GroupKind::FastFailover => {
                let first = buckets.iter().position(alive);
                first.map_or(Pick::Nothing, Pick::One)
            }
            GroupKind::Select => {
                let usable: Vec<_> = buckets
                    .iter()
                    .enumerate()
                    .filter(|(_, bucket)| bucket.weight > 0 && alive(bucket))
                    .collect();
                match *usable.as_slice() {
                    [] => Pick::Nothing,
                    [(at, _)] => Pick::One(at),
                    _ => {
                        let hash = self.hash(key, read);
                        let best = usable
                            .iter()
                            .max_by(|(_, a), (_, b)| score(hash, a).total_cmp(&score(hash, b)));
                        best.map_or(Pick::Nothing, |(at, _)| Pick::One(*at))
                    }
                }
            }
        }
    }

    fn hash(&self, key: &FlowKey, read: &mut FlowMask) -> u64 {
        match &self.group.selection {
            SelectionMethod::Hash { fields, param } if !fields.is_empty() => {
                let mut hash = mix(*param);
                for (field, mask) in fields {
                    if !has(*field, key, read) {
                        continue;
                    }
                    read.set(*field, read.field(*field) | mask);
                    let value = key.field(*field) & mask;
                    hash = mix(hash ^ mix(*field as u64 ^ (value as u64).rotate_left(8)));
                    hash = mix(hash ^ (value >> 64) as u64);
                }
                hash
            }
            SelectionMethod::Hash { param, .. } | SelectionMethod::DpHash { param } => {
                symmetric_l4(key, read, *param)
            }
            SelectionMethod::Default => symmetric_l4(key, read, 0),
        }
    }

    /// Whether some bucket is alive (a group that is watched).
    fn is_alive(&self, tables: &Tables, bridge: &Bridge, depth: usize) -> bool {
        let mut buckets = self.group.buckets.iter();
        buckets.any(|bucket| is_alive(bucket, tables, bridge, depth))
    }
}

/// Whether a bucket is alive: what watches nothing is.
fn is_alive(bucket: &Bucket, tables: &Tables, bridge: &Bridge, depth: usize) -> bool {
    let (port, group) = (bucket.watch_port, bucket.watch_group);
    if port == OfPort::ANY && group == GROUP_ANY {
        return true;
    }
    let port_up = || {
        let port = bridge.port(port).and_then(|index| tables.port(index));
        port.is_some_and(|port| port.is_live())
    };
    let group_up = || {
        let group = bridge.group(group).filter(|_| depth > 0);
        group.is_some_and(|group| group.is_alive(tables, bridge, depth - 1))
    };
    port != OfPort::ANY && port_up() || group != GROUP_ANY && group_up()
}

/// How well a bucket suits a hash: the bucket with the highest score wins, each with a probability
/// proportional to its weight.
fn score(hash: u64, bucket: &Bucket) -> f64 {
    let draw = mix(hash ^ mix(u64::from(bucket.id) + 1)) >> 11;
    // Between 0 and 1, and neither of them.
    let uniform = (draw as f64 + 0.5) / (1_u64 << 53) as f64;
    f64::from(bucket.weight) / -uniform.ln()
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): every bit of the input reaches
/// every bit of the output.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// Whether the packet has a field, reading what decides that.
fn has(field: Field, key: &FlowKey, read: &mut FlowMask) -> bool {
    let prerequisite = field.info().prerequisite;
    for &field in prerequisite.fields() {
        read.set(field, field.info().max());
    }
    prerequisite.holds(key)
}

/// A hash of layers 2 to 4 that is the same in both directions; of ARP it takes the protocol
/// addresses, as of IP.
#[must_use]
pub(super) fn symmetric_l4(key: &FlowKey, read: &mut FlowMask, basis: u64) -> u64 {
    let mut hash = mix(basis);
    let mut both = |a: Field, b: Field, read: &mut FlowMask| {
        read.set(a, a.info().max());
        read.set(b, b.info().max());
        let (a, b) = (key.field(a), key.field(b));
        let (low, high) = (a.min(b), a.max(b));
        for value in [low, high] {
            hash = mix(hash ^ value as u64);
            hash = mix(hash ^ (value >> 64) as u64);
        }
    };
    both(Field::EthSrc, Field::EthDst, read);
    let holds = |prerequisite: Prerequisite, read: &mut FlowMask| {
        for &field in prerequisite.fields() {
            read.set(field, field.info().max());
        }
        prerequisite.holds(key)
    };
    if holds(Prerequisite::Ipv4, read) {
        both(Field::Ipv4Src, Field::Ipv4Dst, read);
    } else if holds(Prerequisite::Ipv6, read) {
        both(Field::Ipv6Src, Field::Ipv6Dst, read);
    } else if holds(Prerequisite::Arp, read) {
        both(Field::ArpSpa, Field::ArpTpa, read);
    }
    // All fragments of a packet go one way, so none is hashed by ports.
    let ip = holds(Prerequisite::Ip, read);
    if ip {
        both(Field::IpProto, Field::IpProto, read);
        read.set(Field::IpFrag, Field::IpFrag.info().max());
    }
    if ip && key.field(Field::IpFrag) == 0 {
        if holds(Prerequisite::Tcp, read) {
            both(Field::TcpSrc, Field::TcpDst, read);
        } else if holds(Prerequisite::Udp, read) {
            both(Field::UdpSrc, Field::UdpDst, read);
        } else if holds(Prerequisite::Sctp, read) {
            both(Field::SctpSrc, Field::SctpDst, read);
        }
    }
    let vlan = Field::VlanVid;
    read.set(vlan, read.field(vlan) | 0xfff);
    mix(hash ^ (key.field(vlan) & 0xfff) as u64)
}

/// Groups that a group's buckets name, in their actions or to watch them; each once.
#[must_use]
pub fn named_groups(group: &Group) -> BTreeSet<u32> {
    let mut named = BTreeSet::new();
    for bucket in &group.buckets {
        each_action(&bucket.actions, &mut |action| {
            if let Action::Group(id) = action {
                named.insert(*id);
            }
        });
        if bucket.watch_group != GROUP_ANY {
            named.insert(bucket.watch_group);
        }
    }
    named
}

/// Whether a group would lead to itself if it had these buckets, whatever it has now.
pub(super) fn leads_to_itself<'a>(group: &Group, known: impl Fn(u32) -> Option<&'a Group>) -> bool {
    let mut seen = BTreeSet::new();
    let mut left: Vec<u32> = named_groups(group).into_iter().collect();
    while let Some(id) = left.pop() {
        if id == group.id {
            return true;
        }
        if seen.insert(id) {
            left.extend(known(id).into_iter().flat_map(named_groups));
        }
    }
    false
}
