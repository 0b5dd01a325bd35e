//! Doing to a packet what translation decided: copies, headers, fields and their checksums.
//!
//! Not for deciding: nothing here looks at tables, and a field or header that the packet does not
//! have is left alone.
//!
//! Law: every packet that comes in goes into the [`Sink`] or back to the pool with a drop counted.
//! Checksums that were right are right afterwards, and one that was wrong stays wrong, because
//! they are updated and not computed anew. Offload metadata stays true: a checksum that is only
//! begun has its pseudo header kept up to date, and its offsets follow the headers.
//!
//! Threads: a worker's own. Cost: the last way out takes the packet itself, each earlier one a
//! copy. No allocation. Spec: RFC 1624 (checksum updates), RFC 768 (zero is no checksum),
//! RFC 9260 §6.8 (SCTP's CRC32c), RFC 3032 (MPLS), IEEE 802.1Q-2018 §9.7 (backbone service tag).

mod header;
mod straight;
mod track;
mod tunnel;

pub use straight::{Straight, is_straight};
pub(crate) use track::is_fragment;

use std::sync::Arc;

use arrayvec::ArrayVec;
use vswitch_flow::{CT_WORDS, Field, SparseKey};

use crate::buffer::{FramePool, Packet};
use crate::conntrack::Conntrack;
use crate::conntrack::request::Meta;
use crate::counters::{DropReason, Drops};
use crate::extract::{Extracted, Layout};
use crate::field;
use crate::offload::{Checksum, Offload};
use crate::pipeline::DpAction;
use crate::pipeline::Frozen;
use crate::pipeline::MAX_DEPTH;
use crate::pipeline::MeterEntry;
use crate::pipeline::Moment;
use crate::pipeline::Punt;
use crate::pipeline::ToRouter;
use crate::pipeline::Verdict;
use crate::pipeline::remark;
use crate::port::PortIndex;
use tunnel::Place;

/// A packet for controllers.
#[derive(Debug)]
pub struct Punted {
    /// What they are told of it.
    pub what: Arc<Punt>,
    /// The packet, its offloads not finished.
    pub packet: Packet,
    /// The key with which it was looked up.
    pub key: SparseKey,
}

/// A packet whose headers are to be read again.
#[derive(Debug)]
pub struct Again {
    /// Where its translation goes on.
    pub frozen: Arc<Frozen>,
    /// The packet.
    pub packet: Packet,
    /// The key with which it was looked up: what no header says is still true, but for tracking.
    pub key: SparseKey,
    /// What tracking found last, as the key has it.
    pub tracked: [u64; CT_WORDS],
}

/// Where packets go.
#[derive(Debug, Default)]
pub struct Sink {
    /// By ports.
    pub outputs: Vec<(PortIndex, Packet)>,
    /// To controllers.
    pub punted: Vec<Punted>,
    /// Back to have their headers read again.
    pub again: Vec<Again>,
    /// To routers.
    pub routed: Vec<(ToRouter, Packet)>,
    /// Back to be taken out of their tunnels.
    pub inside: Vec<Inside>,
    /// Packets that we made to answer others, which are in none of these; they enter by their ports.
    pub answers: Vec<Packet>,
    /// IPv4 identification of the next packet that is put into a tunnel. What is cut outside is put
    /// together by it, so none is given twice while pieces may be on their way (RFC 6864 §4.3).
    pub ident: u16,
    /// What a packet was just cut into; empty but while it is.
    fitted: Vec<Packet>,
    /// Pieces that wait for the one before them; empty but while actions are carried out.
    pieces: Vec<Piece>,
}

/// A packet that is to be taken out of its tunnel.
#[derive(Debug)]
pub struct Inside {
    /// The packet, outer headers first.
    pub packet: Packet,
    /// The port by which it would have left, or by which it came from the underlay.
    pub at: PortIndex,
    /// It comes from a stack on this machine, whose checksums may only be begun
    /// (`offload::partial`).
    pub local: bool,
}

impl Sink {
    /// Packets in it, answers not among them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.outputs.len()
            + self.punted.len()
            + self.again.len()
            + self.inside.len()
            + self.routed.len()
    }

    /// Whether a packet waits to be read again.
    #[inline]
    #[must_use]
    pub fn holds_back(&self) -> bool {
        !self.again.is_empty() || !self.inside.is_empty()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A packet at work.
#[derive(Debug)]
struct Work {
    packet: Packet,
    /// Where its headers are.
    layout: Layout,
    /// What tracking found last, if anything was asked since the packet was looked up.
    tracked: Option<Meta>,
}

/// A piece of a packet that was cut, and where actions go on with it.
#[derive(Debug)]
struct Piece {
    work: Work,
    place: Place,
}

/// Answers of our own (ICMP errors, what routers say) that may wait for the next round; more are not made,
/// or dropped.
pub const ANSWERS_MAX: usize = 256;

/// A packet at work, unless it is lost.
type Current = Option<Work>;

/// What actions are done with.
#[derive(Debug)]
pub struct Tools<'a> {
    /// Where copies come from.
    pub pool: &'a mut FramePool,
    /// Where packets go.
    pub sink: &'a mut Sink,
    /// Where those that go nowhere are counted.
    pub drops: &'a mut Drops,
    /// When it is.
    pub now: Moment,
    /// The connections.
    pub conntrack: &'a Conntrack,
    /// Fragments put aside and taken up again.
    pub fragments: &'a mut FragmentCounts,
}

/// How many fragments waited for the rest of their datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FragmentCounts {
    /// Put aside.
    pub held: u64,
    /// Taken up again, whichever worker put them aside.
    pub released: u64,
}

/// Does `actions` to a packet whose headers are as `extracted` says. `why_not` is counted when
/// nothing is sent.
pub fn execute(
    packet: Packet,
    extracted: &Extracted,
    actions: &[DpAction],
    why_not: DropReason,
    mut tools: Tools<'_>,
) {
    let last = actions.iter().rposition(DpAction::is_effect);
    let ends = (tools.sink.len(), tools.drops.total(), tools.fragments.held);
    let mut saved = ArrayVec::<Current, MAX_DEPTH>::new();
    let mut current = Some(Work {
        packet,
        layout: extracted.layout,
        tracked: None,
    });
    let mut pieces = std::mem::take(&mut tools.sink.pieces);
    let mut next = 0;
    loop {
        let at = next;
        next += 1;
        let Some(action) = actions.get(at) else {
            // All is done to this packet; then to the pieces that were cut off from it.
            let Some(Piece { work, place }) = pieces.pop() else {
                break;
            };
            if let Some(work) = current.replace(work) {
                tools.pool.drop_packet(work.packet);
            }
            next = place.at;
            continue;
        };
        match action {
            DpAction::Save => {
                let copy = current.as_ref().and_then(|work| work.copy(&mut tools));
                let aside = std::mem::replace(&mut current, copy);
                if let Err(full) = saved.try_push(aside)
                    && let Some(work) = full.element()
                {
                    debug_assert!(false, "translation bounds what is put aside");
                    tools.drops.count(DropReason::TooDeep);
                    tools.pool.drop_packet(work.packet);
                }
                continue;
            }
            DpAction::Restore => {
                if let Some(work) = current.take() {
                    tools.pool.drop_packet(work.packet);
                }
                let here = |piece: &mut Piece| piece.place.depth == saved.len();
                if let Some(Piece { work, place }) = pieces.pop_if(here) {
                    current = Some(work);
                    next = place.at;
                    continue;
                }
                current = saved.pop().flatten();
                continue;
            }
            DpAction::Encap(template) => {
                let place = Place {
                    at: next,
                    depth: saved.len(),
                };
                current = current.take().and_then(|work| {
                    let key = &extracted.key;
                    tunnel::push(work, template, key, place, &mut pieces, &mut tools)
                });
                if current.is_none() && saved.is_empty() {
                    // Pieces of an earlier cut may still have their way to go.
                    next = actions.len();
                }
                continue;
            }
            DpAction::Ct(ct) if is_fragment(&extracted.key) => {
                if let Some(work) = current.take() {
                    track::track_fragment(work, ct, &extracted.key, &mut tools);
                }
            }
            DpAction::Ct(ct) => {
                if let Some(work) = &mut current {
                    track::track_whole(work, ct, &extracted.key, &tools);
                }
            }
            DpAction::CtClear => {
                if let Some(work) = &mut current {
                    work.tracked = Some(Meta::default());
                }
            }
            DpAction::FitRoute(mtu, what) => {
                let unfit = |work: &mut Work| is_unfit(&work.packet, work.layout, *mtu, what);
                if let Some(work) = current.take_if(unfit) {
                    tools.sink.routed.push((**what, work.packet));
                }
            }
            _ => {}
        }
        if action.is_way_out() {
            // What nobody works on any more is not copied.
            let moves = Some(at) == last && saved.is_empty()
                || matches!(actions.get(at + 1), Some(DpAction::Restore));
            if moves && let DpAction::Output(port) = action {
                // Most packets; they are not moved in between.
                if let Some(work) = current.take() {
                    tools.sink.outputs.push((*port, work.packet));
                }
                if saved.is_empty() {
                    next = actions.len();
                }
                continue;
            }
            let leaving = match &current {
                None => continue,
                Some(_) if moves => current.take(),
                Some(work) => work.copy(&mut tools),
            };
            if let Some(work) = leaving
                && let Some(packet) = leave(work, action, extracted, tools.sink)
            {
                tools.pool.drop_packet(packet);
            }
            if moves && saved.is_empty() {
                next = actions.len();
            }
            continue;
        }
        if let Some(Work { packet, layout, .. }) = &mut current
            && let Err(reason) = change(packet, layout, action, tools.now, tools.pool)
        {
            tools.drops.count(reason);
            if let Some(work) = current.take() {
                tools.pool.drop_packet(work.packet);
            }
            if saved.is_empty() {
                next = actions.len();
            }
        }
    }
    debug_assert!(pieces.is_empty(), "each has gone its way");
    tools.sink.pieces = pieces;
    if ends == (tools.sink.len(), tools.drops.total(), tools.fragments.held) {
        tools.drops.count(why_not);
    }
    if let Some(work) = current {
        tools.pool.drop_packet(work.packet);
    }
    // Not by moving the list, which has room for as many as there may be.
    for work in saved.drain(..).flatten() {
        tools.pool.drop_packet(work.packet);
    }
}

impl Work {
    /// A copy; a loss is counted.
    fn copy(&self, tools: &mut Tools<'_>) -> Option<Self> {
        let copy = tools.pool.copy(&self.packet);
        if copy.is_none() {
            tools.drops.count(DropReason::NoFrames);
        }
        Some(Self {
            packet: copy?,
            layout: self.layout,
            tracked: self.tracked,
        })
    }

    /// The packet on its way to have its headers read again.
    fn again(self, frozen: &Arc<Frozen>, key: SparseKey) -> Again {
        let tracked = self.tracked.as_ref();
        Again {
            frozen: Arc::clone(frozen),
            packet: self.packet,
            tracked: tracked.map_or_else(|| key.tracked(), Meta::words),
            key,
        }
    }
}

/// Sends a packet the way that an action says; gives it back if the action says none.
fn leave(work: Work, action: &DpAction, extracted: &Extracted, sink: &mut Sink) -> Option<Packet> {
    let key = extracted.key;
    match action {
        DpAction::Output(port) => sink.outputs.push((*port, work.packet)),
        DpAction::Controller(what) => sink.punted.push(Punted {
            what: Arc::clone(what),
            packet: work.packet,
            key,
        }),
        DpAction::Router(what) => sink.routed.push((**what, work.packet)),
        DpAction::Recirculate(frozen) => sink.again.push(work.again(frozen, key)),
        DpAction::CheckLarger { len, larger, other } => {
            let is_larger = segment_size(&work.packet) > *len as usize;
            let frozen = if is_larger { larger } else { other };
            sink.again.push(work.again(frozen, key));
        }
        DpAction::Decap { at, .. } => sink.inside.push(Inside {
            packet: work.packet,
            at: *at,
            local: false,
        }),
        DpAction::Ct(ct) => match &ct.table {
            Some(frozen) => sink.again.push(work.again(frozen, key)),
            None => return Some(work.packet),
        },
        _ => return Some(work.packet),
    }
    None
}

/// Does something to a packet that stays.
fn change(
    packet: &mut Packet,
    layout: &mut Layout,
    action: &DpAction,
    now: Moment,
    pool: &mut FramePool,
) -> Result<(), DropReason> {
    let room = match action {
        DpAction::SetField { field, value, mask } => {
            field::set(packet, *layout, *field, *value, *mask);
            true
        }
        DpAction::PushVlan { tpid, tci } => header::push_vlan(packet, layout, *tpid, *tci),
        DpAction::PopVlan => {
            header::pop_vlan(packet, layout);
            true
        }
        DpAction::PushMpls { ethertype, entry } => {
            header::push_mpls(packet, layout, *ethertype, *entry)
        }
        DpAction::PopMpls(ethertype) => {
            header::pop_mpls(packet, layout, *ethertype);
            true
        }
        DpAction::PushPbb { tag } => header::push_pbb(packet, layout, *tag),
        DpAction::PopPbb => {
            header::pop_pbb(packet, layout);
            true
        }
        DpAction::CopyTtlOut => {
            header::copy_ttl(packet, *layout, false);
            true
        }
        DpAction::CopyTtlIn => {
            header::copy_ttl(packet, *layout, true);
            true
        }
        DpAction::Truncate(len) => {
            truncate(packet, *len as usize, pool);
            true
        }
        DpAction::Meter(meter) => return pass(packet, *layout, meter, now),
        _ => true,
    };
    if room {
        Ok(())
    } else {
        Err(DropReason::NoHeadroom)
    }
}

/// Takes a packet through a meter.
fn pass(
    packet: &mut Packet,
    layout: Layout,
    meter: &MeterEntry,
    now: Moment,
) -> Result<(), DropReason> {
    match meter.meter_packet(packet.len(), now) {
        Verdict::Pass => Ok(()),
        Verdict::Drop => Err(DropReason::MeterDrop),
        Verdict::Remark(levels) => {
            if let Some(tos) = field::tos(packet, layout) {
                let dscp = remark(tos >> 2, levels);
                field::set(packet, layout, Field::IpTos, u128::from(dscp) << 2, 0xfc);
            }
            Ok(())
        }
    }
}

/// Keeps the first `len` bytes. What offloads were to do to the whole packet cannot be done to a
/// part of it.
fn truncate(packet: &mut Packet, len: usize, pool: &mut FramePool) {
    if len < packet.len() {
        packet.truncate(len, |frame| pool.free(frame));
        packet.offload = Offload::default();
    }
}

/// Whether a packet does not fit a route with this MTU, as far as its errand is about that.
#[inline]
fn is_unfit(packet: &Packet, layout: Layout, mtu: u32, what: &ToRouter) -> bool {
    let l3 = usize::from(layout.l3);
    if segment_size(packet) <= mtu as usize + l3 {
        return false;
    }
    if !what.leaves_cutting() {
        return true;
    }
    // It is cut when it has its new source.
    let header = packet.head().get(l3..).and_then(|ip| ip.first_chunk::<8>());
    !header.is_some_and(|ip| ip[0] >> 4 == 4 && ip[6] & 0x40 == 0)
}

/// The size with which a packet leaves: of a super-frame that of its largest segment.
fn segment_size(packet: &Packet) -> usize {
    let (Some(gso), Checksum::Partial { start, offset }) =
        (packet.offload.gso, packet.offload.csum)
    else {
        return packet.len();
    };
    let start = usize::from(start);
    // The checksum lies 16 bytes into a TCP header, whose size is in its 13th byte, and 6 into UDP's.
    let header = match (offset, packet.head().get(start + 12)) {
        (16, Some(byte)) => usize::from(byte >> 4) * 4,
        _ => 8,
    };
    packet.len().min(start + header + usize::from(gso.size))
}

#[cfg(test)]
mod tests;
