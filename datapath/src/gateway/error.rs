//! ICMP errors of a router.
//!
//! Spec: RFC 792, RFC 1812 §4.3 (from which address, when not, how often), RFC 4443 §2.4 and §3.

use std::net::IpAddr;

use super::frame::{ipv4_of, ipv6_of};
use super::{ERRORS_BURST, Gateway, Out, Seat};
use crate::buffer::{FramePool, Packet};
use crate::counters::DropReason;
use crate::offload::too_big::{self, Message};
use crate::tick::Tick;

/// Why a router does not forward a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// Its hops are used up.
    TimeExceeded,
    /// There is no route.
    NoRoute,
    /// A route forbids it.
    Prohibited,
    /// A route says that nobody can be reached.
    Unreachable,
    /// The next hop does not answer.
    HostDown,
    /// Nobody listens on the port, of an address of ours.
    PortClosed,
    /// An address of ours does not speak the protocol.
    ProtocolUnknown,
    /// More than this does not fit.
    TooBig(u32),
}

impl Trouble {
    fn message(self) -> Message {
        let (v4, v6) = match self {
            Self::TimeExceeded => ((11, 0), (3, 0)),
            Self::NoRoute => ((3, 0), (1, 0)),
            Self::Prohibited => ((3, 13), (1, 1)),
            Self::Unreachable | Self::HostDown => ((3, 1), (1, 3)),
            Self::PortClosed => ((3, 3), (1, 4)),
            Self::ProtocolUnknown => ((3, 2), (1, 4)),
            Self::TooBig(mtu) => return Message::too_big(mtu),
        };
        Message {
            v4: (v4.0, v4.1, 0),
            v6: (v6.0, v6.1, 0),
        }
    }

    /// Under which reason the packet is counted.
    #[must_use]
    pub fn reason(self) -> DropReason {
        match self {
            Self::TimeExceeded => DropReason::TtlExceeded,
            Self::NoRoute => DropReason::NoRoute,
            Self::Prohibited => DropReason::RouteProhibited,
            Self::Unreachable => DropReason::RouteUnreachable,
            Self::HostDown => DropReason::NeighbourFailed,
            Self::PortClosed | Self::ProtocolUnknown => DropReason::RouterIgnored,
            Self::TooBig(_) => DropReason::MtuExceeded,
        }
    }
}

impl Gateway {
    /// Drops a packet that came by a port and tells its sender why, if that may be told and enough time
    /// has passed.
    pub fn refuse(
        &self,
        packet: Packet,
        trouble: Trouble,
        seat: &Seat<'_>,
        now: Tick,
        pool: &mut FramePool,
        out: &mut Out,
    ) {
        if let Some(source) = source(&packet, seat)
            && let Some(mut answer) = too_big::error(&packet, trouble.message(), Some(source), pool)
        {
            // Only what would be sent costs a token.
            let may = self.with(seat.index, |desk| {
                desk.errors
                    .set(seat.errors_rate, ERRORS_BURST.min(seat.errors_rate));
                desk.errors.take(now)
            });
            if may {
                answer.in_port = seat.index;
                out.packets.push(answer);
            } else {
                pool.drop_packet(answer);
            }
        }
        out.drop(packet, trouble.reason(), pool);
    }
}

/// Who tells the sender: the address it spoke to, if that is ours, or ours on its network.
fn source(packet: &Packet, seat: &Seat<'_>) -> Option<IpAddr> {
    let (src, dst) = match packet.head().get(super::LINK_SIZE)? >> 4 {
        4 => {
            let ip = ipv4_of(packet)?;
            (IpAddr::V4(ip.src()), IpAddr::V4(ip.dst()))
        }
        6 => {
            let ip = ipv6_of(packet)?;
            (IpAddr::V6(ip.src()), IpAddr::V6(ip.dst()))
        }
        _ => return None,
    };
    if seat.has(dst) {
        return Some(dst);
    }
    seat.source_for(src)
}
