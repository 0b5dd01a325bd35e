//! Putting headers before a packet's others, and taking them off.
//!
//! Law: what lies before and after stays as it was, and the layout says where things are. Behind a
//! new MPLS entry or backbone header the layout ends, for nothing there is written any more; behind
//! one that was taken off it ends until headers are read again.

use vswitch_packet::checksum;

use crate::buffer::Packet;
use crate::extract::Layout;

/// Bytes of a VLAN tag.
const TAG_SIZE: usize = 4;
/// Bytes of the two addresses before the first tag.
const MACS_SIZE: usize = 12;
/// Bytes of an Ethernet header.
const ETH_SIZE: usize = 14;
/// The least that a frame has, without its check sequence (IEEE 802.3 §3.2.8).
const FRAME_MIN: usize = 60;
/// Bytes of an MPLS entry.
const ENTRY_SIZE: usize = 4;
/// Bytes of a backbone header: addresses, Ethernet type, and the tag without the customer's
/// addresses, which are those of the frame behind it.
const PBB_SIZE: usize = ETH_SIZE + 4;
/// Ethernet type of a backbone service tag.
const PBB_TYPE: u16 = 0x88e7;
/// The last MPLS entry has this bit.
const BOTTOM: u8 = 1;

fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(place) = bytes.get_mut(at..).and_then(|b| b.first_chunk_mut::<N>()) {
        *place = value;
    }
}

/// False when there is no room before the packet.
pub(super) fn push_vlan(packet: &mut Packet, layout: &mut Layout, tpid: u16, tci: u16) -> bool {
    if packet.head().len() < MACS_SIZE || !packet.prepend(TAG_SIZE) {
        return false;
    }
    let head = packet.head_mut();
    head.copy_within(TAG_SIZE..TAG_SIZE + MACS_SIZE, 0);
    // In a key's TCI, bit 12 says that there is a tag; in the header it would invite a drop.
    let tag = u32::from(tpid) << 16 | u32::from(tci & !vswitch_packet::vlan::DEI);
    put(head, MACS_SIZE, tag.to_be_bytes());
    shift(layout, TAG_SIZE as i16);
    true
}

pub(super) fn pop_vlan(packet: &mut Packet, layout: &mut Layout) {
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

/// Puts an MPLS entry before the network header. False when there is no room before the packet.
pub(super) fn push_mpls(
    packet: &mut Packet,
    layout: &mut Layout,
    ethertype: u16,
    entry: u32,
) -> bool {
    let l3 = usize::from(layout.l3);
    if l3 < ETH_SIZE || packet.head().len() < l3 || !packet.prepend(ENTRY_SIZE) {
        return false;
    }
    let head = packet.head_mut();
    head.copy_within(ENTRY_SIZE..ENTRY_SIZE + l3, 0);
    put(head, l3 - 2, ethertype.to_be_bytes());
    put(head, l3, entry.to_be_bytes());
    layout.l4 = 0;
    true
}

/// Takes the outer MPLS entry off.
pub(super) fn pop_mpls(packet: &mut Packet, layout: &mut Layout, ethertype: u16) {
    let l3 = usize::from(layout.l3);
    let head = packet.head_mut();
    if l3 < ETH_SIZE || head.len() < l3 + ENTRY_SIZE {
        return;
    }
    head.copy_within(..l3, ENTRY_SIZE);
    if packet.strip(ENTRY_SIZE) {
        keep_whole(packet, ENTRY_SIZE);
        put(packet.head_mut(), l3 - 2, ethertype.to_be_bytes());
        layout.l4 = 0;
    }
}

/// Pads a frame of which `gone` bytes were taken off, if only that made it too small for Ethernet.
fn keep_whole(packet: &mut Packet, gone: usize) {
    let size = packet.len();
    if size < FRAME_MIN && size + gone >= FRAME_MIN {
        packet.pad_to(FRAME_MIN);
    }
}

/// Puts a backbone header before the packet, with the packet's own addresses. False when there is
/// no room.
pub(super) fn push_pbb(packet: &mut Packet, layout: &mut Layout, tag: u32) -> bool {
    if packet.head().len() < MACS_SIZE || !packet.prepend(PBB_SIZE) {
        return false;
    }
    let head = packet.head_mut();
    head.copy_within(PBB_SIZE..PBB_SIZE + MACS_SIZE, 0);
    put(head, MACS_SIZE, PBB_TYPE.to_be_bytes());
    put(head, ETH_SIZE, tag.to_be_bytes());
    *layout = Layout {
        l3: ETH_SIZE as u16,
        l4: 0,
        vlans: 0,
    };
    true
}

/// Takes the backbone header off; its backbone tags are gone already.
pub(super) fn pop_pbb(packet: &mut Packet, layout: &mut Layout) {
    // What is left has to be a frame.
    if packet.head().len() >= PBB_SIZE + ETH_SIZE && packet.strip(PBB_SIZE) {
        keep_whole(packet, PBB_SIZE);
        *layout = Layout {
            l3: ETH_SIZE as u16,
            l4: 0,
            vlans: 0,
        };
    }
}

/// Copies the TTL between the outer MPLS entry and the header behind it: into that header, if
/// `inwards`.
pub(super) fn copy_ttl(packet: &mut Packet, layout: Layout, inwards: bool) {
    let l3 = usize::from(layout.l3);
    let Some(header) = packet.head_mut().get_mut(l3..) else {
        return;
    };
    let Some((outer, rest)) = header.split_first_chunk_mut::<ENTRY_SIZE>() else {
        return;
    };
    let inner = match (outer[2] & BOTTOM != 0, rest.first().map(|byte| byte >> 4)) {
        (false, _) => 3,
        (true, Some(4)) => 8,
        (true, Some(6)) => 7,
        _ => return,
    };
    let size = match inner {
        8 => 20,
        7 => 40,
        _ => ENTRY_SIZE,
    };
    let Some(rest) = rest.get_mut(..size) else {
        return;
    };
    if !inwards {
        outer[3] = rest[inner];
        return;
    }
    let old = rest[inner];
    rest[inner] = outer[3];
    if inner == 8 {
        // The sum of an IPv4 header is over 16-bit words: TTL and protocol are one.
        let protocol = rest[9];
        let sum = u16::from_be_bytes([rest[10], rest[11]]);
        let sum = checksum::update_bytes(sum, &[old, protocol], &[outer[3], protocol]);
        put(rest, 10, sum.to_be_bytes());
    }
}
