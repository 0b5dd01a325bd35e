//! The plainest of decisions: a packet is changed and sent by one port, as routers, VLANs and flows that
//! write addresses have it. No copies, nobody to come back from, so nothing to remember.
//!
//! Law: what comes of it is what [`execute`](super::execute) makes of the same actions; only sooner.

use super::{Sink, header, is_unfit};
use crate::buffer::{FramePool, Packet};
use crate::counters::{DropReason, Drops};
use crate::extract::Layout;
use crate::field;
use crate::pipeline::DpAction;
use crate::port::PortIndex;

/// What changes a packet, and the port by which it leaves then.
#[derive(Clone, Copy, Debug)]
pub struct Straight<'a> {
    changes: &'a [DpAction],
    /// By which port.
    pub port: PortIndex,
}

/// Whether actions only change a packet and send it by one port in the end.
#[must_use]
pub fn is_straight(actions: &[DpAction]) -> bool {
    let Some((DpAction::Output(_), changes)) = actions.split_last() else {
        return false;
    };
    changes.iter().all(|action| {
        matches!(
            action,
            DpAction::SetField { .. }
                | DpAction::PushVlan { .. }
                | DpAction::PopVlan
                | DpAction::FitRoute(..)
        )
    })
}

impl<'a> Straight<'a> {
    /// Actions of which [`is_straight`] is true. `None` for such as send nothing at the end.
    #[inline]
    #[must_use]
    pub fn new(actions: &'a [DpAction]) -> Option<Self> {
        match actions.split_last() {
            Some((DpAction::Output(port), changes)) => Some(Self {
                changes,
                port: *port,
            }),
            _ => None,
        }
    }

    /// Changes a packet whose headers lie as `layout` says. `None` when it went elsewhere, and that is
    /// counted.
    #[inline]
    pub fn change(
        self,
        mut packet: Packet,
        mut layout: Layout,
        pool: &mut FramePool,
        sink: &mut Sink,
        drops: &mut Drops,
    ) -> Option<Packet> {
        for action in self.changes {
            match action {
                DpAction::SetField { field, value, mask } => {
                    field::set(&mut packet, layout, *field, *value, *mask);
                }
                DpAction::PushVlan { tpid, tci } => {
                    if !header::push_vlan(&mut packet, &mut layout, *tpid, *tci) {
                        drops.count(DropReason::NoHeadroom);
                        pool.drop_packet(packet);
                        return None;
                    }
                }
                DpAction::PopVlan => header::pop_vlan(&mut packet, &mut layout),
                DpAction::FitRoute(mtu, what) => {
                    if is_unfit(&packet, layout, *mtu, what) {
                        sink.routed.push((**what, packet));
                        return None;
                    }
                }
                other => debug_assert!(false, "{other:?} is not straight"),
            }
        }
        Some(packet)
    }
}
