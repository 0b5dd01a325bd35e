//! A packet as translation sees it, and what was read of the one that came in.
//!
//! Two states run side by side: what actions have made of the packet ([`State`]) and what the
//! emitted [`DpAction`]s have made of it ([`Emitted`]). Before an output the second is brought to
//! where the first is. A detour through a patch port or a mirror puts an earlier state back, and
//! the difference undoes what the detour emitted.
//!
//! Law: `read` has every bit of the incoming key that some decision or some emitted value rests
//! on. `written` has the bits whose value no longer comes from the packet: reading these adds
//! nothing.

use vswitch_flow::field::Prerequisite;
use vswitch_flow::{Field, FlowKey, FlowMask};

use super::DpAction;
use super::mirror::MirrorSet;
use super::vlan::{self, KNOWN, Stack, Tag};
use crate::port::PortIndex;

/// The word that holds both VLAN tags.
const VLAN_WORD: usize = 4;

/// What actions have made of the packet, and where it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    /// The bridge's place in the tables.
    pub(super) bridge: usize,
    /// The port it came in by; `None` when an action set a number that no port has.
    pub(super) in_port: Option<PortIndex>,
    /// Patch ports on the way.
    pub(super) depth: usize,
    /// Mirrors of this bridge that have it already.
    pub(super) mirrored: MirrorSet,
    key: FlowKey,
    written: FlowMask,
    stack: Stack,
}

/// What the emitted actions have made of the packet.
#[derive(Debug)]
struct Emitted {
    key: FlowKey,
    written: FlowMask,
    stack: Stack,
    /// Fields that were ever written, one bit each in table order.
    touched: u64,
}

/// The state of one translation.
#[derive(Debug)]
pub(super) struct Working {
    pub(super) state: State,
    /// Bits of the incoming key that were read.
    pub(super) read: FlowMask,
    pub(super) actions: Vec<DpAction>,
    emitted: Emitted,
    original: [Tag; KNOWN],
    original_len: usize,
    original_type: u128,
}

impl Working {
    pub(super) fn new(key: &FlowKey) -> Self {
        let (original, original_len) = vlan::tags_of(key);
        Self {
            state: State {
                bridge: 0,
                in_port: None,
                depth: 0,
                mirrored: 0,
                key: *key,
                written: FlowMask::default(),
                stack: Stack::default(),
            },
            read: FlowMask::default(),
            actions: Vec::new(),
            emitted: Emitted {
                key: *key,
                written: FlowMask::default(),
                stack: Stack::default(),
                touched: 0,
            },
            original,
            original_len,
            original_type: key.field(Field::EthType),
        }
    }

    /// The packet's fields as they are now. Who looks at one without [`Self::field`] says so to
    /// [`Self::read_all`].
    pub(super) fn key(&self) -> &FlowKey {
        &self.state.key
    }

    /// Notes that the bits of `mask` were read.
    pub(super) fn read_all(&mut self, mask: &FlowMask) {
        let written = &self.state.written.words;
        for ((read, mask), written) in self.read.words.iter_mut().zip(&mask.words).zip(written) {
            *read |= mask & !written;
        }
    }

    /// Reads the bits `bits` of a field.
    pub(super) fn bits(&mut self, field: Field, bits: u128) -> u128 {
        let old = self.read.field(field);
        let new = bits & !self.state.written.field(field);
        self.read.set(field, old | new);
        self.state.key.field(field) & bits
    }

    /// Reads a field.
    pub(super) fn field(&mut self, field: Field) -> u128 {
        self.bits(field, field.info().max())
    }

    /// Gives a field a value that does not depend on the packet, without an action: the fields
    /// that are not part of a packet.
    pub(super) fn assign(&mut self, field: Field, value: u128) {
        self.state.key.set(field, value);
        self.state.written.set(field, field.info().max());
    }

    /// Whether the packet has `field`, reading what decides that.
    fn has(&mut self, field: Field) -> bool {
        let prerequisite = field.info().prerequisite;
        let mut mask = FlowMask::default();
        for &field in prerequisite.fields() {
            mask.set(field, field.info().max());
        }
        self.read_all(&mask);
        if !prerequisite.holds(&self.state.key) {
            return false;
        }
        // The transport header is in the first fragment only.
        let transport = !matches!(
            prerequisite,
            Prerequisite::None
                | Prerequisite::Vlan
                | Prerequisite::Mpls
                | Prerequisite::Arp
                | Prerequisite::Ipv4
                | Prerequisite::Ipv6
                | Prerequisite::Ip
        );
        !transport || self.bits(Field::IpFrag, 0b10) == 0
    }

    /// The action `set_field`. False when the packet would have more tags than are kept track of.
    pub(super) fn set_field(&mut self, field: Field, value: u128, mask: u128) -> bool {
        let mask = mask & field.info().max();
        match field {
            Field::VlanTci | Field::VlanVid | Field::VlanPcp => {
                return self.set_tci(field, value, mask);
            }
            _ if !field.info().writable || !self.has(field) => return true,
            _ => {}
        }
        let (field, value, mask) = match field {
            // The three names of one byte. ECN is not part of what `nw_tos` sets.
            Field::IpDscp => (Field::IpTos, value << 2, mask << 2),
            Field::IpEcn => (Field::IpTos, value, mask),
            Field::IpTos => (Field::IpTos, value, mask & 0xfc),
            _ => (field, value, mask),
        };
        let state = &mut self.state;
        state
            .key
            .set(field, state.key.field(field) & !mask | value & mask);
        state.written.set(field, state.written.field(field) | mask);
        if !matches!(field, Field::InPort | Field::Metadata) {
            self.emitted.touched |= 1 << field as u8;
        }
        true
    }

    /// Writes into the outer tag's TCI; bit 12 says whether there is to be a tag.
    fn set_tci(&mut self, field: Field, value: u128, mask: u128) -> bool {
        let shift = field.info().shift - Field::VlanTci.info().shift;
        let (value, mask) = ((value << shift) as u16, (mask << shift) as u16);
        let outer = self.outer_tag();
        if outer.is_none() && field == Field::VlanPcp {
            return true;
        }
        let old = outer.unwrap_or(Tag {
            tpid: vlan::TPID_CUSTOMER,
            tci: 0,
        });
        let new = Tag {
            tci: old.tci & !mask | value & mask,
            ..old
        };
        if outer == Some(new) {
            return true;
        }
        (outer.is_none() || self.pop_vlan()) && (new.tci & vlan::PRESENT == 0 || self.push_tag(new))
    }

    /// The outer tag. Reads all that the key shows of the tags, because what follows changes them.
    fn outer_tag(&mut self) -> Option<Tag> {
        let mut mask = FlowMask::default();
        mask.words[VLAN_WORD] = u64::MAX;
        self.read_all(&mask);
        self.state.stack.tags(self.original()).next()
    }

    fn original(&self) -> &[Tag] {
        &self.original[..self.original_len.min(KNOWN)]
    }

    /// The action `push_vlan`. False when there would be more tags than are kept track of.
    pub(super) fn push_vlan(&mut self, tpid: u16) -> bool {
        let tci = self.outer_tag().map_or(vlan::PRESENT, |tag| tag.tci);
        self.push_tag(Tag { tpid, tci })
    }

    fn push_tag(&mut self, tag: Tag) -> bool {
        let pushed = self.state.stack.push(tag);
        self.restack();
        pushed
    }

    /// The action `pop_vlan`. False when the tag lies deeper than the key shows.
    pub(super) fn pop_vlan(&mut self) -> bool {
        self.outer_tag();
        let (original, len) = (self.original, self.original_len.min(KNOWN));
        if self.state.stack.pop(&original[..len]) {
            self.restack();
            return true;
        }
        // Without a tag there is nothing to do; a third one shows as the type.
        let deeper = len == KNOWN && {
            let kind = self.field(Field::EthType) as u16;
            kind == vlan::TPID_CUSTOMER || kind == vlan::TPID_SERVICE
        };
        !deeper
    }

    /// Gives the packet outer VLAN `vid`, 0 for no tag, and keeps its priority. False as for
    /// [`Self::push_vlan`].
    pub(super) fn retag(&mut self, vid: u16) -> bool {
        let tci = self.bits(Field::VlanTci, u128::from(vlan::PRESENT | vlan::VID)) as u16;
        let wanted = if vid == 0 { 0 } else { vlan::PRESENT | vid };
        if tci == wanted {
            return true;
        }
        let outer = self.outer_tag();
        if outer.is_some() && !self.pop_vlan() {
            return false;
        }
        let priority = outer.map_or(0, |tag| tag.tci & vlan::PRIORITY);
        wanted == 0
            || self.push_tag(Tag {
                tpid: outer.map_or(vlan::TPID_CUSTOMER, |tag| tag.tpid),
                tci: wanted | priority,
            })
    }

    /// Shows the stack in the key as extraction would: two tags, and a third as the type.
    fn restack(&mut self) {
        let mut tags = self.state.stack.tags(self.original());
        let (outer, inner, third) = (tags.next(), tags.next(), tags.next());
        drop(tags);
        let key = &mut self.state.key;
        let (outer, inner) = (outer.unwrap_or_default(), inner.unwrap_or_default());
        key.set(Field::VlanTci, outer.tci.into());
        key.set(Field::VlanTpid, outer.tpid.into());
        key.set(Field::InnerVlanTci, inner.tci.into());
        key.set(Field::InnerVlanTpid, inner.tpid.into());
        key.set(
            Field::EthType,
            third.map_or(self.original_type, |tag| tag.tpid.into()),
        );
        self.state.written.words[VLAN_WORD] = u64::MAX;
        let known = third.map_or(0, |_| Field::EthType.info().max());
        self.state.written.set(Field::EthType, known);
    }

    /// Emits what brings the packet to its present state.
    fn commit(&mut self) {
        let original = self.original;
        let original = &original[..self.original_len.min(KNOWN)];
        let Self {
            state,
            emitted,
            read,
            actions,
            ..
        } = self;
        emitted.stack.steps_to(&state.stack, original, |step| {
            actions.push(step.map_or(DpAction::PopVlan, |tag| DpAction::PushVlan {
                tpid: tag.tpid,
                tci: tag.tci,
            }));
        });
        emitted.stack = state.stack;
        let mut touched = emitted.touched;
        while touched != 0 {
            let at = touched.trailing_zeros() as usize;
            touched &= touched - 1;
            let Some(row) = vswitch_flow::field::FIELDS.get(at) else {
                continue;
            };
            let field = row.field;
            let (ours, theirs) = (state.written.field(field), emitted.written.field(field));
            let mask = ours | theirs;
            // Bits that are put back as they came are read now.
            read.set(field, read.field(field) | theirs & !ours);
            let (value, before) = (state.key.field(field), emitted.key.field(field));
            let unknown = ours & !theirs & !read.field(field);
            if (value ^ before) & mask | unknown == 0 {
                continue;
            }
            actions.push(DpAction::SetField {
                field,
                value: value & mask,
                mask,
            });
            emitted.key.set(field, before & !mask | value & mask);
            emitted.written.set(field, mask);
        }
    }

    /// Sends the packet as it is now to a device.
    pub(super) fn output(&mut self, port: PortIndex) {
        self.commit();
        self.actions.push(DpAction::Output(port));
    }
}
