//! Doing to a packet what translation decided: copies, tags, fields and their checksums.
//!
//! Not for deciding: nothing here looks at tables, and a field that the packet does not have is
//! left alone.
//!
//! Law: every packet that comes in goes out in `out` or back to the pool with a drop counted.
//! Checksums that were right are right afterwards, and one that was wrong stays wrong, because
//! they are updated and not computed anew. Offload metadata stays true: a checksum that is only
//! begun has its pseudo header kept up to date, and its offsets follow the headers.
//!
//! Threads: a worker's own. Cost: the last output takes the packet itself, each earlier one a
//! copy. No allocation. Spec: RFC 1624 (checksum updates), RFC 768 (zero is no checksum),
//! RFC 9260 §6.8 (SCTP's CRC32c).

mod field;

use crate::buffer::{FramePool, Packet};
use crate::counters::{DropReason, Drops};
use crate::extract::Layout;
use crate::pipeline::DpAction;
use crate::port::PortIndex;

/// Bytes of a VLAN tag.
const TAG_SIZE: usize = 4;
/// Bytes of the two addresses before the first tag.
const MACS_SIZE: usize = 12;

/// Does `actions` to a packet whose headers lie as `layout` says. What is to be sent is appended
/// to `out`. `why_not` is counted when there is no output.
pub fn execute(
    mut packet: Packet,
    mut layout: Layout,
    actions: &[DpAction],
    why_not: DropReason,
    pool: &mut FramePool,
    out: &mut Vec<(PortIndex, Packet)>,
    drops: &mut Drops,
) {
    let last = actions
        .iter()
        .rposition(|action| matches!(action, DpAction::Output(_)));
    for (at, action) in actions.iter().enumerate() {
        let kept = match *action {
            DpAction::Output(port) if Some(at) == last => {
                out.push((port, packet));
                return;
            }
            DpAction::Output(port) => {
                match pool.copy(&packet) {
                    Some(copy) => out.push((port, copy)),
                    None => drops.count(DropReason::NoFrames),
                }
                true
            }
            DpAction::SetField { field, value, mask } => {
                field::set(&mut packet, layout, field, value, mask);
                true
            }
            DpAction::PushVlan { tpid, tci } => push_vlan(&mut packet, &mut layout, tpid, tci),
            DpAction::PopVlan => {
                pop_vlan(&mut packet, &mut layout);
                true
            }
        };
        if !kept {
            drops.count(DropReason::NoHeadroom);
            pool.drop_packet(packet);
            return;
        }
    }
    drops.count(why_not);
    pool.drop_packet(packet);
}

/// False when there is no room before the packet.
fn push_vlan(packet: &mut Packet, layout: &mut Layout, tpid: u16, tci: u16) -> bool {
    if packet.head().len() < MACS_SIZE || !packet.prepend(TAG_SIZE) {
        return false;
    }
    let head = packet.head_mut();
    head.copy_within(TAG_SIZE..TAG_SIZE + MACS_SIZE, 0);
    // In a key's TCI, bit 12 says that there is a tag; in the header it would invite a drop.
    let tag = u32::from(tpid) << 16 | u32::from(tci & !vswitch_packet::vlan::DEI);
    if let Some(place) = head
        .get_mut(MACS_SIZE..)
        .and_then(|rest| rest.first_chunk_mut())
    {
        *place = tag.to_be_bytes();
    }
    shift(layout, TAG_SIZE as i16);
    true
}

fn pop_vlan(packet: &mut Packet, layout: &mut Layout) {
    let head = packet.head_mut();
    if head.len() < MACS_SIZE + TAG_SIZE + 2 {
        return;
    }
    head.copy_within(..MACS_SIZE, TAG_SIZE);
    if packet.strip(TAG_SIZE) {
        shift(layout, -(TAG_SIZE as i16));
    }
}

/// Moves what lies behind the tags.
fn shift(layout: &mut Layout, by: i16) {
    layout.l3 = layout.l3.saturating_add_signed(by);
    if layout.l4 != 0 {
        layout.l4 = layout.l4.saturating_add_signed(by);
    }
    layout.vlans = layout.vlans.saturating_add_signed(by.signum() as i8);
}

#[cfg(test)]
mod tests;
