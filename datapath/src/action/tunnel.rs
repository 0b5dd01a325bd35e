//! Putting packets into tunnels.
//!
//! Law: what does not fit into the tunnel is cut where its sender lets it be, else answered as a
//! router would and dropped with a reason; it is never cut outside the tunnel, where nobody could
//! tell the sender. A super-frame stays whole: it is cut when it leaves by a port that cannot.

use vswitch_flow::{Field, SparseKey};
use vswitch_packet::eth;

use super::{ANSWERS_MAX, Piece, Tools, Work, segment_size};
use crate::buffer::Packet;
use crate::counters::DropReason;
use crate::extract::Layout;
use crate::field;
use crate::offload::Capabilities;
use crate::offload::fit::{Fit, fit};
use crate::offload::too_big;
use crate::pipeline::Template;

/// Frames that a piece may have: as many as a packet can.
const SEGMENTS_MAX: usize = 18;

/// Where the actions behind go on, and the number of packets put aside there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) at: usize,
    pub(super) depth: usize,
}

/// Puts a packet into a tunnel. Where it is cut for that, the further pieces wait in `pieces`, to go
/// on at `place`. `None` when it is lost, which has been counted.
pub(super) fn push(
    work: Work,
    template: &Template,
    key: &SparseKey,
    place: Place,
    pieces: &mut Vec<Piece>,
    tools: &mut Tools<'_>,
) -> Option<Work> {
    let flow = flow_of(key);
    if segment_size(&work.packet) <= template.room() && !template.is_hard(&work.packet) {
        return put(work, template, flow, tools);
    }
    let Work {
        packet,
        layout,
        tracked,
    } = work;
    let network = usize::from(layout.l3);
    // Tags inside take room, too.
    let mtu = template
        .room()
        .saturating_sub(network.max(eth::HEADER_SIZE));
    let whole = !template.is_hard(&packet);
    let capabilities = Capabilities {
        csum: whole,
        tso4: whole,
        tso6: whole,
        uso: whole,
        tunnel: false,
        mtu: mtu as u32,
        max_segments: SEGMENTS_MAX,
    };
    let mut fitted = std::mem::take(&mut tools.sink.fitted);
    match fit(packet, &capabilities, tools.pool, &mut fitted) {
        Fit::Ready => {}
        Fit::TooBig(packet) => {
            tools.drops.count(DropReason::MtuExceeded);
            answer(&packet, template, mtu, tools);
            tools.pool.drop_packet(packet);
        }
        Fit::Dropped(reason) => tools.drops.count(reason),
    }
    let before = pieces.len();
    // The last one is taken first.
    for packet in fitted.drain(..).rev() {
        let work = Work {
            packet,
            layout,
            tracked,
        };
        if let Some(work) = put(work, template, flow, tools) {
            pieces.push(Piece { work, place });
        }
    }
    tools.sink.fitted = fitted;
    if pieces.len() == before {
        return None;
    }
    pieces.pop().map(|piece| piece.work)
}

/// Tells the sender of a packet that it found only `mtu` bytes of layer 3.
fn answer(packet: &Packet, template: &Template, mtu: usize, tools: &mut Tools<'_>) {
    if tools.sink.answers.len() < ANSWERS_MAX
        && let Some(mut answer) = too_big::answer(packet, mtu as u32, tools.pool)
    {
        answer.in_port = template.port;
        tools.sink.answers.push(answer);
    }
}

/// Puts the headers before a packet that fits.
fn put(mut work: Work, template: &Template, flow: u64, tools: &mut Tools<'_>) -> Option<Work> {
    let tos = field::tos(&work.packet, work.layout).unwrap_or(0);
    let network = usize::from(work.layout.l3);
    // A super-frame has a number for each packet that it is cut into (see `offload::segment`).
    let gso = work.packet.offload.gso;
    let numbers = gso.map_or(1, |gso| work.packet.len().div_ceil(gso.size.max(1).into()));
    let ident = tools.sink.ident;
    tools.sink.ident = ident.wrapping_add(numbers as u16);
    match template.push(&mut work.packet, flow, tos, network, ident) {
        Ok(()) => {
            work.layout = Layout {
                l3: eth::HEADER_SIZE as u16,
                l4: template.transport() as u16,
                vlans: 0,
            };
            Some(work)
        }
        Err(reason) => {
            tools.drops.count(reason);
            tools.pool.drop_packet(work.packet);
            None
        }
    }
}

/// A number for a packet's flow: of its addresses, protocol and ports, or without an IP header of its
/// Ethernet addresses. Flags, TTL and the like are not in it, or packets of one flow would take
/// different ways and overtake each other.
fn flow_of(key: &SparseKey) -> u64 {
    /// Any odd number whose bits look random.
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
    let word = |field: Field| key.word(usize::from(field.info().word));
    let mix = |sum: u64, word: u64| {
        let product = u128::from(sum ^ word).wrapping_mul(u128::from(MIX));
        (product >> 64) as u64 ^ product as u64
    };
    let ports = word(Field::TcpSrc) >> Field::TcpDst.info().shift;
    let protocol = word(Field::IpProto) >> Field::IpProto.info().shift;
    let first = usize::from(Field::Ipv6Src.info().word);
    let addresses = [
        word(Field::Ipv4Src),
        key.word(first),
        key.word(first + 1),
        key.word(first + 2),
        key.word(first + 3),
    ];
    let mut sum = mix(MIX, ports << 8 | protocol);
    let mut any = 0;
    for address in addresses {
        any |= address;
        sum = mix(sum, address);
    }
    if any == 0 {
        let mac = |field: Field| word(field) >> field.info().shift;
        sum = mix(mix(sum, mac(Field::EthSrc)), mac(Field::EthDst));
    }
    sum
}
