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

use std::sync::Arc;

use vswitch_flow::field::Prerequisite;
use vswitch_flow::{Action, CT_WORD, Field, FlowKey, FlowMask, META_WORD, OfPort, PACKET_WORDS};

use super::DpAction;
use super::mirror::MirrorSet;
use super::trace::Node;
use super::vlan::{self, KNOWN, Stack, Tag};
use crate::port::PortIndex;

/// The word that holds both VLAN tags.
const VLAN_WORD: usize = 4;

/// Bit of `ip_frag`: a piece of a larger packet.
const FRAGMENT: u128 = 1;

/// Whether a packet with this key is a piece of a larger one.
pub(super) fn is_fragment(key: &FlowKey) -> bool {
    let row = Field::IpFrag.info();
    row.prerequisite.holds(key) && key.field(Field::IpFrag) & FRAGMENT != 0
}

/// The fields that address translation writes, one bit each in table order.
const TRANSLATED: u64 = {
    let fields = [
        Field::Ipv4Src,
        Field::Ipv4Dst,
        Field::Ipv6Src,
        Field::Ipv6Dst,
        Field::TcpSrc,
        Field::TcpDst,
        Field::UdpSrc,
        Field::UdpDst,
        Field::SctpSrc,
        Field::SctpDst,
    ];
    let (mut bits, mut at) = (0, 0);
    while at < fields.len() {
        bits |= 1 << fields[at] as u8;
        at += 1;
    }
    bits
};

/// The words that hold MPLS entries.
const MPLS_WORDS: std::ops::Range<usize> = 16..META_WORD;

/// What of the packet its key does not show any more, because an action uncovered it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Unknown {
    /// Nothing.
    #[default]
    Nothing,
    /// What differs between the outer headers of packets that went into a tunnel.
    Outer,
    /// What is behind the Ethernet header and the VLAN tags.
    Network,
    /// All of it.
    All,
}

/// What actions have made of the packet, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct State {
    /// The bridge's place in the tables.
    pub(super) bridge: usize,
    /// The port it came in by; `None` when an action set a number that no port has.
    pub(super) in_port: Option<PortIndex>,
    /// Patch ports, groups and lookups in earlier tables on the way.
    pub(super) depth: usize,
    /// Under which line a trace puts what happens.
    pub(super) node: Node,
    /// Mirrors of this bridge that have it already.
    pub(super) mirrored: MirrorSet,
    /// The action set, as it was written.
    pub(super) set: Arc<Vec<Action>>,
    /// Values that `push` put aside, lowest bit first, with their number of bits.
    pub(super) values: Arc<Vec<(u128, u8)>>,
    /// What is not known any more.
    pub(super) unknown: Unknown,
    pub(super) key: FlowKey,
    pub(super) written: FlowMask,
    stack: Stack,
}

/// What the emitted actions have made of the packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Emitted {
    key: FlowKey,
    written: FlowMask,
    stack: Stack,
    /// Fields that were ever written, one bit each in table order.
    touched: u64,
    /// Fields that are not what the key says, because address translation may have written them.
    translated: u64,
    /// The packet carries what a `ct` found.
    pub(super) tracked: bool,
    /// Actions that nothing undoes.
    pub(super) lasting: u32,
    /// The tags that the stacks are relative to, and the type behind them.
    original: [Tag; KNOWN],
    original_len: usize,
    original_type: u128,
    /// The type does not come from the packet.
    type_written: bool,
}

/// The state of one translation.
#[derive(Debug)]
pub(super) struct Working {
    pub(super) state: State,
    /// Bits of the incoming key that were read.
    pub(super) read: FlowMask,
    pub(super) actions: Vec<DpAction>,
    pub(super) emitted: Emitted,
}

impl State {
    /// A packet with `key` before any action, nowhere.
    pub(super) fn new(key: &FlowKey) -> Self {
        Self {
            bridge: 0,
            in_port: None,
            depth: 0,
            node: Node::default(),
            mirrored: 0,
            set: Arc::default(),
            values: Arc::default(),
            unknown: Unknown::Nothing,
            key: *key,
            written: FlowMask::default(),
            stack: Stack::default(),
        }
    }

    /// The same without what is read from the packet's headers again.
    pub(super) fn without_headers(mut self) -> Self {
        let in_port = self.key.field(Field::InPort);
        for at in 0..META_WORD {
            self.key.words[at] = 0;
            self.written.words[at] = 0;
        }
        for (word, written) in self
            .key
            .words
            .iter_mut()
            .zip(&self.written.words)
            .skip(META_WORD)
        {
            *word &= written;
        }
        self.key.set(Field::InPort, in_port);
        self.written.set(Field::InPort, Field::InPort.info().max());
        self.stack = Stack::default();
        self.unknown = Unknown::Nothing;
        self
    }

    /// The same of a packet that has been tracked since: what was found, its key says.
    pub(super) fn tracked(mut self) -> Self {
        for at in CT_WORD..PACKET_WORDS {
            self.key.words[at] = 0;
            self.written.words[at] = 0;
        }
        self
    }

    /// The same of a packet with `key`, the headers read again.
    pub(super) fn with_headers(&self, key: &FlowKey) -> Self {
        let mut state = self.clone();
        let pairs = state.key.words.iter_mut().zip(&self.written.words);
        for ((word, written), new) in pairs.zip(&key.words) {
            *word = *word & written | new & !written;
        }
        state
    }
}

impl Working {
    pub(super) fn new(key: &FlowKey, state: State) -> Self {
        let (original, original_len) = vlan::tags_of(key);
        Self {
            emitted: Emitted {
                key: *key,
                written: FlowMask::default(),
                stack: Stack::default(),
                touched: 0,
                translated: 0,
                tracked: false,
                lasting: 0,
                original,
                original_len,
                original_type: key.field(Field::EthType),
                type_written: false,
            },
            state,
            read: FlowMask::default(),
            actions: Vec::new(),
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

    /// Whether the packet is a piece of a larger one.
    pub(super) fn is_fragment(&mut self) -> bool {
        if self.has(Field::IpFrag) {
            self.field(Field::IpFrag);
        }
        is_fragment(&self.state.key)
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

    /// The same for the bits `mask` of a field.
    pub(super) fn write_own(&mut self, field: Field, value: u128, mask: u128) {
        let State { key, written, .. } = &mut self.state;
        key.set(field, key.field(field) & !mask | value & mask);
        written.set(field, written.field(field) | mask);
    }

    /// What tracking found is not there any more.
    pub(super) fn untrack(&mut self) {
        for at in CT_WORD..PACKET_WORDS {
            self.state.key.words[at] = 0;
            self.state.written.words[at] = u64::MAX;
        }
    }

    /// A pipeline begins, of a packet that came in by the port with this number. What another
    /// bridge's pipeline wrote, and what tracking found there, is forgotten if `afresh`.
    pub(super) fn begin(&mut self, port: OfPort, afresh: bool) {
        self.assign(Field::InPort, port.0.into());
        if afresh {
            for at in CT_WORD..vswitch_flow::WORDS {
                self.state.key.words[at] = 0;
                self.state.written.words[at] = u64::MAX;
            }
        }
        self.assign(Field::ActsetOutput, OfPort::UNSET.0.into());
        self.assign(Field::ConjId, 0);
        self.state.set = Arc::default();
        self.state.values = Arc::default();
    }

    /// Whether the packet has `field`, reading what decides that.
    pub(super) fn has(&mut self, field: Field) -> bool {
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
            Field::EthType | Field::IpProto | Field::MplsBos => {
                self.set_kind(field, value & mask);
                return true;
            }
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
        if usize::from(field.info().word) < META_WORD && field != Field::InPort {
            self.emitted.touched |= 1 << field as u8;
        }
        true
    }

    /// Writes a field that says what follows; what does is to be read anew.
    fn set_kind(&mut self, field: Field, value: u128) {
        let mask = field.info().max();
        self.emit_lasting(DpAction::SetField { field, value, mask });
        if field == Field::EthType {
            self.cover(value as u16);
        } else {
            self.write_own(field, value, mask);
            self.settle();
        }
        self.state.unknown = self.state.unknown.max(Unknown::Network);
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
        &self.emitted.original[..self.emitted.original_len.min(KNOWN)]
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
        let (original, len) = (self.emitted.original, self.original().len());
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
            third.map_or(self.emitted.original_type, |tag| tag.tpid.into()),
        );
        self.state.written.words[VLAN_WORD] = u64::MAX;
        let known = match third.is_some() || self.emitted.type_written {
            true => Field::EthType.info().max(),
            false => 0,
        };
        self.state.written.set(Field::EthType, known);
    }

    /// Emits what brings the packet to its present state.
    fn commit(&mut self) {
        let original = self.emitted.original;
        let original = &original[..self.emitted.original_len.min(KNOWN)];
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
            let translated = emitted.translated & 1 << at != 0;
            emitted.translated &= !(1 << at);
            let (ours, theirs) = (state.written.field(field), emitted.written.field(field));
            let mask = ours | theirs;
            // Bits that are put back as they came are read now.
            read.set(field, read.field(field) | theirs & !ours);
            let (value, before) = (state.key.field(field), emitted.key.field(field));
            let unknown = ours & !theirs & !read.field(field);
            if !translated && (value ^ before) & mask | unknown == 0 {
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

    /// Does something to the packet as it is now that leaves it as it is.
    pub(super) fn emit(&mut self, action: DpAction) {
        self.commit();
        self.actions.push(action);
    }

    /// Does something to the packet as it is now that nothing undoes.
    pub(super) fn emit_lasting(&mut self, action: DpAction) {
        self.emit(action);
        self.emitted.lasting += 1;
    }

    /// Address translation has written what it wanted to. What actions wrote before is not written
    /// again, and what they write from now on is written whatever is there.
    pub(super) fn translated(&mut self) {
        self.settle_all();
        self.emitted.touched &= !TRANSLATED;
        self.emitted.translated = TRANSLATED;
    }

    fn settle_all(&mut self) {
        let Self { state, emitted, .. } = self;
        emitted.key = state.key;
        emitted.written = state.written;
    }

    /// Forgets what is behind the VLAN tags; it has Ethernet type `ethertype`.
    fn cover(&mut self, ethertype: u16) {
        let keep = 0..=VLAN_WORD;
        let state = &mut self.state;
        let (isid, exthdr) = (Field::PbbIsid, Field::Ipv6ExtHeaders);
        for field in [isid, exthdr, Field::ArpOp, Field::EthType] {
            state.key.set(field, 0);
            state.written.set(field, field.info().max());
        }
        state.key.set(Field::EthType, ethertype.into());
        for at in *keep.end() + 1..META_WORD {
            state.key.words[at] = 0;
            state.written.words[at] = u64::MAX;
        }
        self.emitted.original_type = ethertype.into();
        self.emitted.type_written = true;
        self.settle();
    }

    /// What is emitted is what is: the fields behind a new header cannot be written any more.
    fn settle(&mut self) {
        self.settle_all();
        self.emitted.touched &= (1 << Field::EthDst as u8) | (1 << Field::EthSrc as u8);
    }

    /// The action `push_mpls`.
    pub(super) fn push_mpls(&mut self, ethertype: u16) {
        let old = self.field(Field::EthType) as u16;
        let mut entries = [0_u32; 3];
        if is_mpls(old) {
            for (entry, at) in entries.iter_mut().zip(0..) {
                *entry = self.mpls_entry(at);
            }
            let [first, second, _] = entries;
            // A copy of the outer entry, which is not the last one.
            entries = [first & !MPLS_BOTTOM, first, second];
        } else {
            let ttl = match Prerequisite::Ip.holds(self.key()) {
                true => self.field(Field::IpTtl) as u32,
                false => 0,
            };
            entries[0] = MPLS_BOTTOM | ttl;
        }
        self.emit_lasting(DpAction::PushMpls {
            ethertype,
            entry: entries[0],
        });
        self.cover(ethertype);
        self.set_mpls(entries);
    }

    /// The action `pop_mpls`.
    pub(super) fn pop_mpls(&mut self, ethertype: u16) {
        let old = self.field(Field::EthType) as u16;
        if !is_mpls(old) {
            return;
        }
        let entries = [1, 2].map(|at| self.mpls_entry(at));
        let bottom = self.bits(Field::MplsBos, 1) != 0;
        self.emit_lasting(DpAction::PopMpls(ethertype));
        let [first, second] = entries;
        self.cover(ethertype);
        // Only as many entries are known as the key shows.
        let shown = match (first & MPLS_BOTTOM != 0, second & MPLS_BOTTOM != 0) {
            (true, _) => Some([first, 0, 0]),
            (false, true) => Some([first, second, 0]),
            (false, false) => None,
        };
        if let Some(entries) = shown.filter(|_| !bottom && is_mpls(ethertype)) {
            self.set_mpls(entries);
        } else {
            self.state.unknown = self.state.unknown.max(Unknown::Network);
        }
    }

    /// The MPLS entry at a place, 0 being the outer one.
    fn mpls_entry(&mut self, at: usize) -> u32 {
        let word = MPLS_WORDS.start + at / 2;
        let shift = if at.is_multiple_of(2) { 32 } else { 0 };
        let mut mask = FlowMask::default();
        mask.words[word] = 0xffff_ffff << shift;
        self.read_all(&mask);
        (self.state.key.words[word] >> shift) as u32
    }

    fn set_mpls(&mut self, entries: [u32; 3]) {
        let [first, second, third] = entries.map(u64::from);
        self.state.key.words[MPLS_WORDS.start] = first << 32 | second;
        self.state.key.words[MPLS_WORDS.start + 1] = third << 32;
        self.settle();
    }

    /// The action `push_pbb` (OpenFlow 1.3.5 §5.12): the service tag's I-SID and priority come from
    /// an outer service tag and VLAN tag, if there are.
    pub(super) fn push_pbb(&mut self) {
        let mut tag = 0;
        if self.field(Field::EthType) as u16 == PBB {
            tag = self.field(Field::PbbIsid) as u32;
        }
        if let Some(outer) = self.outer_tag() {
            tag |= u32::from(outer.tci >> 13) << 29;
        }
        self.emit_lasting(DpAction::PushPbb { tag });
        self.untag();
        self.cover(PBB);
        self.state
            .key
            .set(Field::PbbIsid, u128::from(tag & 0xff_ffff));
        self.settle();
    }

    /// The action `pop_pbb`.
    pub(super) fn pop_pbb(&mut self) {
        if self.field(Field::EthType) as u16 != PBB {
            return;
        }
        // Backbone tags go with the backbone header.
        while self.outer_tag().is_some() && self.pop_vlan() {}
        self.emit_lasting(DpAction::PopPbb);
        self.state.unknown = Unknown::All;
    }

    /// The packet is in a tunnel now, whose headers are those of `outer`.
    pub(super) fn enter_tunnel(&mut self, outer: &FlowKey) {
        let state = &mut self.state;
        for at in 0..CT_WORD {
            state.key.words[at] = outer.words[at];
            state.written.words[at] = u64::MAX;
        }
        state.stack = Stack::default();
        state.unknown = Unknown::Outer;
        self.settle_all();
        let emitted = &mut self.emitted;
        emitted.stack = Stack::default();
        emitted.original_len = 0;
        emitted.original_type = outer.field(Field::EthType);
        emitted.type_written = true;
        emitted.touched = 0;
        emitted.translated = 0;
        emitted.tracked = false;
    }

    /// The packet has no tags any more that anybody could see.
    fn untag(&mut self) {
        self.state.stack = Stack::default();
        self.emitted.stack = Stack::default();
        self.emitted.original_len = 0;
        self.state.key.words[VLAN_WORD] = 0;
        self.state.written.words[VLAN_WORD] = u64::MAX;
    }

    /// The action `copy_ttl_out`, or, if `inwards`, `copy_ttl_in`.
    pub(super) fn copy_ttl(&mut self, inwards: bool) {
        let ethertype = self.field(Field::EthType) as u16;
        if !is_mpls(ethertype) {
            return;
        }
        self.emit_lasting(if inwards {
            DpAction::CopyTtlIn
        } else {
            DpAction::CopyTtlOut
        });
        self.state.unknown = self.state.unknown.max(Unknown::Network);
    }
}

const MPLS_BOTTOM: u32 = 1 << 8;

/// Ethernet type of a provider backbone service tag.
const PBB: u16 = 0x88e7;

fn is_mpls(ethertype: u16) -> bool {
    ethertype == 0x8847 || ethertype == 0x8848
}
