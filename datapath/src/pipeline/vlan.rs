//! Which VLANs a port belongs to, and the stack of tags a packet has while actions work on it.
//!
//! A packet belongs to one VLAN while NORMAL handles it: that of its outer tag, or the port's own.
//! VLAN 0 is that of untagged packets on a port that trunks it. A tag with VLAN 0 only carries a
//! priority (802.1Q-2018 §6.9.1) and counts as no tag. Inner tags are payload.
//!
//! Spec: IEEE 802.1Q-2018 §6.9; `vlan_mode` in Open vSwitch's `vswitchd/vswitch.xml`.

use vswitch_dpapi::{VlanMode, VlanSpec};
use vswitch_flow::{Field, FlowKey};

/// Set in the TCI of a key when there is a tag. In the header the bit means drop eligibility.
pub(super) const PRESENT: u16 = 0x1000;
/// The VLAN identifier's bits in a TCI.
pub(super) const VID: u16 = 0x0fff;
/// The priority's bits in a TCI.
pub(super) const PRIORITY: u16 = 0xe000;
/// Tag protocol of a customer tag, 802.1Q.
pub(super) const TPID_CUSTOMER: u16 = 0x8100;
/// Tag protocol of a service tag, 802.1ad.
pub(super) const TPID_SERVICE: u16 = 0x88a8;

/// The VLANs of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Membership {
    mode: VlanMode,
    tag: u16,
    /// One bit for each VLAN of a trunk; `None` is all.
    trunks: Option<Box<[u64; 64]>>,
}

impl Membership {
    pub(super) fn new(spec: &VlanSpec) -> Self {
        let native = matches!(spec.mode, VlanMode::NativeTagged | VlanMode::NativeUntagged);
        let tag = spec.tag & VID;
        let mut trunks = if spec.mode == VlanMode::Access || spec.trunks.is_empty() {
            None
        } else {
            let mut bits = Box::new([0; 64]);
            for &vlan in &spec.trunks {
                set(&mut bits, vlan, true);
            }
            Some(bits)
        };
        if native && tag != 0 {
            // The native VLAN is always a member. Untagged packets belong to it, so VLAN 0 is not.
            let bits = trunks.get_or_insert_with(|| Box::new([u64::MAX; 64]));
            set(bits, tag, true);
            set(bits, 0, false);
        }
        Self {
            mode: spec.mode,
            tag,
            trunks,
        }
    }

    fn trunks(&self, vlan: u16) -> bool {
        self.trunks
            .as_ref()
            .is_none_or(|bits| bits[usize::from(vlan & VID) / 64] >> (vlan % 64) & 1 == 1)
    }

    /// The VLAN of a packet that comes in with outer VLAN `vid`, 0 without one; `None` when the
    /// port does not take it.
    pub(super) fn vlan_of(&self, vid: u16) -> Option<u16> {
        match self.mode {
            VlanMode::Access => (vid == 0).then_some(self.tag),
            VlanMode::Trunk => self.trunks(vid).then_some(vid),
            VlanMode::NativeTagged | VlanMode::NativeUntagged if vid == 0 => Some(self.tag),
            VlanMode::NativeTagged | VlanMode::NativeUntagged => self.trunks(vid).then_some(vid),
        }
    }

    /// Whether packets of `vlan` leave by the port.
    pub(super) fn carries(&self, vlan: u16) -> bool {
        match self.mode {
            VlanMode::Access => vlan == self.tag,
            _ => self.trunks(vlan),
        }
    }

    /// The outer VLAN with which packets of `vlan` leave; 0 is untagged.
    pub(super) fn vid_of(&self, vlan: u16) -> u16 {
        match self.mode {
            VlanMode::Access => 0,
            VlanMode::NativeUntagged if vlan == self.tag => 0,
            _ => vlan,
        }
    }
}

pub(super) fn set(bits: &mut [u64; 64], vlan: u16, on: bool) {
    let (word, bit) = (usize::from(vlan & VID) / 64, 1_u64 << (vlan % 64));
    if on {
        bits[word] |= bit;
    } else {
        bits[word] &= !bit;
    }
}

/// A tag as a key shows it: `PRESENT` is set in the TCI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Tag {
    pub(super) tpid: u16,
    pub(super) tci: u16,
}

/// Tags that actions may push onto one packet.
const PUSHES: usize = 4;

/// Tags of a packet that its key shows.
pub(super) const KNOWN: usize = 2;

/// A packet's tags, relative to those it came with: so many of them taken off, then others pushed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Stack {
    popped: u8,
    pushed: u8,
    pushes: [Tag; PUSHES],
}

/// The tags that the key of a packet shows, outer one first.
pub(super) fn tags_of(key: &FlowKey) -> ([Tag; KNOWN], usize) {
    let tag = |tpid, tci| Tag {
        tpid: key.field(tpid) as u16,
        tci: key.field(tci) as u16,
    };
    let tags = [
        tag(Field::VlanTpid, Field::VlanTci),
        tag(Field::InnerVlanTpid, Field::InnerVlanTci),
    ];
    let len = tags.iter().take_while(|t| t.tci & PRESENT != 0).count();
    (tags, len)
}

impl Stack {
    fn pushes(&self) -> &[Tag] {
        &self.pushes[..usize::from(self.pushed).min(PUSHES)]
    }

    /// The tags now, outer one first, of a packet that came with `original`.
    pub(super) fn tags<'a>(&'a self, original: &'a [Tag]) -> impl Iterator<Item = Tag> + 'a {
        let kept = original.get(usize::from(self.popped)..).unwrap_or(&[]);
        self.pushes().iter().rev().chain(kept).copied()
    }

    /// Pushes a tag; false when there is no room for it.
    pub(super) fn push(&mut self, tag: Tag) -> bool {
        match self.pushes.get_mut(usize::from(self.pushed)) {
            Some(slot) => {
                *slot = tag;
                self.pushed += 1;
                true
            }
            None => false,
        }
    }

    /// Takes the outer tag off; false when there is none that the key shows.
    pub(super) fn pop(&mut self, original: &[Tag]) -> bool {
        if self.pushed > 0 {
            self.pushed -= 1;
            // Equal stacks compare equal.
            self.pushes[usize::from(self.pushed)] = Tag::default();
            true
        } else if usize::from(self.popped) < original.len() {
            self.popped += 1;
            true
        } else {
            false
        }
    }

    /// The pops and pushes that turn a packet in state `self` into one in state `to`.
    pub(super) fn steps_to(&self, to: &Self, original: &[Tag], mut step: impl FnMut(Option<Tag>)) {
        let bottom = self.popped.max(to.popped);
        let restored = |stack: &Self| {
            let tags = original
                .get(usize::from(stack.popped)..usize::from(bottom))
                .unwrap_or(&[]);
            // Lowest first, as pushes are.
            let mut all = arrayvec::ArrayVec::<Tag, { KNOWN + PUSHES }>::new();
            all.extend(tags.iter().rev().chain(stack.pushes()).copied());
            all
        };
        let (from, to) = (restored(self), restored(to));
        let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
        for _ in common..from.len() {
            step(None);
        }
        for &tag in to.iter().skip(common) {
            step(Some(tag));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership(mode: VlanMode, tag: u16, trunks: &[u16]) -> Membership {
        Membership::new(&VlanSpec {
            mode,
            tag,
            trunks: trunks.to_vec(),
        })
    }

    #[test]
    fn access_ports_take_and_give_untagged_packets() {
        let port = membership(VlanMode::Access, 10, &[]);
        assert_eq!(port.vlan_of(0), Some(10));
        assert_eq!(port.vlan_of(10), None);
        assert!(port.carries(10) && !port.carries(0) && !port.carries(11));
        assert_eq!(port.vid_of(10), 0);
    }

    #[test]
    fn a_trunk_takes_untagged_packets_only_when_it_trunks_vlan_0() {
        let some = membership(VlanMode::Trunk, 0, &[10, 12]);
        assert_eq!(some.vlan_of(0), None);
        assert_eq!(some.vlan_of(12), Some(12));
        assert_eq!(some.vlan_of(11), None);
        let all = membership(VlanMode::Trunk, 0, &[]);
        assert_eq!(all.vlan_of(0), Some(0));
        assert!(all.carries(4095));
        assert_eq!(all.vid_of(7), 7);
    }

    #[test]
    fn native_ports_differ_only_in_how_their_own_vlan_leaves() {
        let tagged = membership(VlanMode::NativeTagged, 10, &[12]);
        let untagged = membership(VlanMode::NativeUntagged, 10, &[12]);
        for port in [&tagged, &untagged] {
            assert_eq!(port.vlan_of(0), Some(10));
            assert_eq!(port.vlan_of(10), Some(10));
            assert_eq!(port.vlan_of(12), Some(12));
            assert_eq!(port.vlan_of(11), None);
            assert!(port.carries(10) && port.carries(12) && !port.carries(0));
            assert_eq!(port.vid_of(12), 12);
        }
        assert_eq!(tagged.vid_of(10), 10);
        assert_eq!(untagged.vid_of(10), 0);
    }

    #[test]
    fn a_stack_is_brought_from_any_state_to_any_other() {
        let tag = |vid| Tag {
            tpid: TPID_CUSTOMER,
            tci: PRESENT | vid,
        };
        let original = [tag(1), tag(2)];
        let mut states = vec![Stack::default()];
        for ops in [
            &[0, 0][..],
            &[0],
            &[5],
            &[5, 6],
            &[0, 5],
            &[0, 0, 5],
            &[0, 0, 5, 6],
        ] {
            let mut stack = Stack::default();
            for &op in ops {
                assert!(if op == 0 {
                    stack.pop(&original)
                } else {
                    stack.push(tag(op))
                });
            }
            states.push(stack);
        }
        for from in &states {
            for to in &states {
                let mut tags: Vec<_> = from.tags(&original).collect();
                from.steps_to(to, &original, |step| match step {
                    Some(tag) => tags.insert(0, tag),
                    None => drop(tags.remove(0)),
                });
                assert_eq!(
                    tags,
                    to.tags(&original).collect::<Vec<_>>(),
                    "{from:?} to {to:?}"
                );
            }
        }
    }
}
