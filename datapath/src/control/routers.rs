//! Routers: their routes, which change without anything else changing, and what is known of neighbours
//! and given addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use vswitch_dpapi::message::Reply;
use vswitch_dpapi::{PortId, RouteSpec, RouterId};
use vswitch_flow::Prefix;

use super::{Control, Refusal};
use crate::neigh::Waiting;

impl Control {
    pub(super) fn set_routes(
        &mut self,
        router: RouterId,
        routes: &[RouteSpec],
    ) -> Result<Reply, Refusal> {
        let before = Arc::clone(self.ledger.tables());
        self.ledger.set_routes(router, routes)?;
        self.publish(before)?;
        Ok(Reply::Done)
    }

    pub(super) fn change_routes(
        &mut self,
        router: RouterId,
        remove: &[(Prefix, Option<Prefix>)],
        add: &[RouteSpec],
    ) -> Result<Reply, Refusal> {
        let before = Arc::clone(self.ledger.tables());
        self.ledger.change_routes(router, remove, add)?;
        self.publish(before)?;
        Ok(Reply::Done)
    }

    pub(super) fn find_route(
        &self,
        router: RouterId,
        from: Option<IpAddr>,
        to: IpAddr,
    ) -> Result<Reply, Refusal> {
        let router = self.ledger.tables().router(router)?;
        let nobody = match to {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Ok(Reply::Route(router.answer(from.unwrap_or(nobody), to)))
    }

    pub(super) fn neighbours(&self, router: RouterId) -> Result<Reply, Refusal> {
        let router = self.ledger.tables().router(router)?;
        Ok(Reply::Neighbours {
            rows: router.neighbours.rows(self.now()),
            stats: router.neighbours.stats(),
        })
    }

    pub(super) fn flush_neighbours(
        &mut self,
        router: RouterId,
        port: Option<PortId>,
        address: Option<IpAddr>,
    ) -> Result<Reply, Refusal> {
        let router = Arc::clone(self.ledger.tables().router(router)?);
        let (len, waiting) = router.neighbours.flush(|key| {
            port.is_none_or(|port| port.0 == key.port.0)
                && address.is_none_or(|address| address == key.address)
        });
        self.give_up(waiting);
        Ok(Reply::Flushed(len as u64))
    }

    pub(super) fn leases(&self) -> Reply {
        Reply::Leases(self.gateway.leases(self.now()))
    }

    /// Drops packets that waited for neighbours which are no longer asked for.
    pub(super) fn give_up(&mut self, waiting: Vec<Waiting>) {
        for waiting in waiting {
            self.drops
                .count(crate::counters::DropReason::NeighbourFailed);
            self.fragment_frames.drop_packet(waiting.packet);
        }
        self.fragment_frames.drain();
    }
}
