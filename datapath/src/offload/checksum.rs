//! Finishing a checksum that a sender has only begun.

use vswitch_packet::checksum::Sum;

use crate::buffer::Packet;
use crate::offload::Checksum;

/// Bytes before the checksum in a UDP header, and in no other that is summed like this.
const UDP_FIELD: u16 = 6;

/// Sums the packet and stores the checksum, if it was partial. False, with the packet as it was,
/// when the field is not in the head or the sum would begin behind the packet's end.
#[must_use]
pub(crate) fn finish(packet: &mut Packet) -> bool {
    let Checksum::Partial { start, offset } = packet.offload.csum else {
        return true;
    };
    let (start, field) = (usize::from(start), usize::from(start) + usize::from(offset));
    if field + 2 > packet.head().len() {
        return false;
    }
    let mut sum = Sum::new();
    sum.add(&packet.head()[start..]);
    for segment in packet.tail_segments() {
        sum.add(segment.bytes());
    }
    // Zero would say "no checksum" to UDP.
    let value = if offset == UDP_FIELD {
        sum.finish_udp()
    } else {
        sum.finish()
    };
    packet.head_mut()[field..field + 2].copy_from_slice(&value.to_be_bytes());
    packet.offload.csum = Checksum::Valid;
    true
}
