//! Address translation at routers' ports: connections that leave with another source, and such as are led to
//! somebody behind the router.
//!
//! Translation asks about the packet's connection, and goes on at the router with what tracking made of the
//! packet, as flows do behind `ct(table=)`: at the way in, where the packet is for an address of a port that
//! translates; at the way out, where the port gives another source, and for answers of a host that others are
//! led to, which are found by asking at the way in without translating.
//!
//! Law: a packet is refused and found too large with the addresses that it came with, so that whoever is told
//! has sent it. It waits for a neighbour with those that it leaves with: when the neighbour does not answer,
//! it is told to who comes next. Bridges see what leaves as a packet that nobody has tracked.
//!
//! Not yet: hosts on one network that reach each other by the router's address; tracking translates either
//! source or destination of a connection.
//!
//! Spec: RFC 3022, RFC 4787 and RFC 5382 (what a translator keeps), by way of [`crate::conntrack`].

use std::net::IpAddr;
use std::sync::Arc;

use vswitch_flow::Field;
use vswitch_flow::action::{Nat, NatKind, NatRange};
use vswitch_flow::prefix::address_bits;

use super::router::{Addresses, Errand, Router, Stage, ToRouter};
use super::translate::{Task, Walk};
use super::{CtAction, DpAction};
use crate::conntrack::request::{Request, state};
use crate::port::PortIndex;

impl Walk<'_> {
    /// Whether the packet's connection is asked about before anything else is decided. `own` is the port
    /// whose address it is for.
    pub(super) fn asks_connection(
        &mut self,
        index: PortIndex,
        router: &Router,
        addresses: Addresses,
        own: Option<PortIndex>,
        stage: Stage,
    ) -> bool {
        match stage {
            Stage::Arrived => {
                let translates = own.is_some_and(|own| {
                    let port = self.tables.port(own).and_then(|port| port.router.as_ref());
                    port.is_some_and(|own| !own.spec.snat.is_empty() || !own.spec.dnat.is_empty())
                });
                if translates {
                    self.ask(index, router, false, Some(Nat::default()), Stage::Tracked);
                } else if self.is_led_to(router, addresses.from) {
                    self.ask(index, router, false, None, Stage::Seen);
                } else {
                    return false;
                }
                true
            }
            Stage::Tracked => {
                let Some(to) = own.and_then(|own| self.led_elsewhere(own)) else {
                    return false;
                };
                self.detail(|| format!("a connection to {} port {}", to.0, to.1));
                let nat = Nat {
                    range: Some(NatRange {
                        kind: NatKind::Destination,
                        addresses: Some((to.0, to.0)),
                        ports: Some((to.1, to.1)),
                    }),
                    ..Nat::default()
                };
                self.ask(index, router, true, Some(nat), Stage::Led);
                true
            }
            Stage::Seen | Stage::Led | Stage::Leaves { .. } => false,
        }
    }

    /// Whether a packet comes from a host that connections are led to.
    fn is_led_to(&mut self, router: &Router, (field, from): (Field, IpAddr)) -> bool {
        if router.led_to.is_empty() {
            return false;
        }
        self.read_leading(field, address_bits(from));
        router.led_to.contains(&from)
    }

    /// Whom a connection that the packet begins is for, which has come to an address of port `own`.
    fn led_elsewhere(&mut self, own: PortIndex) -> Option<(IpAddr, u16)> {
        let tables = self.tables;
        let rules = &tables.port(own)?.router.as_ref()?.spec.dnat;
        if rules.is_empty() || !self.begins() {
            return None;
        }
        // The connection knows its ports, whatever piece of a packet this is.
        let address = match self.work.field(Field::EthType) {
            0x86dd => Field::CtIpv6Dst,
            _ => Field::CtIpv4Dst,
        };
        self.work.field(address);
        let to = self.peek(address);
        let protocol = self.work.field(Field::CtProto) as u8;
        let port = self.work.field(Field::CtTpDst) as u16;
        rules.iter().find_map(|rule| rule.leads(protocol, to, port))
    }

    /// Whether the packet begins a connection.
    fn begins(&mut self) -> bool {
        let bits = u128::from(state::NEW | state::INVALID | state::RELATED);
        self.work.bits(Field::CtState, bits) == u128::from(state::NEW)
    }

    /// Whether the packet is to have another source before it leaves; then it is on its way to have it.
    pub(super) fn leaves_as_another(
        &mut self,
        index: PortIndex,
        router: &Router,
        (out, next): (PortIndex, IpAddr),
        stage: Stage,
    ) -> bool {
        let tables = self.tables;
        let Some(port) = tables.port(out) else {
            return false;
        };
        if stage == Stage::Seen {
            let answer = u128::from(state::REPLY | state::DNAT);
            if self.work.bits(Field::CtState, answer) == answer {
                self.detail(|| "an answer, which leaves as from whom it was asked of".to_owned());
                self.check_size(index, out, port.mtu);
                let then = Stage::Leaves { out, next };
                self.ask(index, router, false, Some(Nat::default()), then);
                return true;
            }
        }
        let mut ranges = port.router.iter().flat_map(|own| &own.spec.snat);
        let is_ipv4 = self.work.field(Field::EthType) == 0x0800;
        let Some(range) = ranges.find(|range| range.addresses.0.is_ipv4() == is_ipv4) else {
            return false;
        };
        // What has been translated at the way in is as it is to be.
        let translated = u128::from(state::SNAT | state::DNAT);
        if matches!(stage, Stage::Tracked | Stage::Led)
            && self.work.bits(Field::CtState, translated) != 0
        {
            return false;
        }
        let (first, last) = range.addresses;
        self.detail(|| {
            if first == last {
                format!("leaves as {first}")
            } else {
                format!("leaves as one of {first} to {last}")
            }
        });
        self.check_size(index, out, port.mtu);
        let nat = Nat {
            range: Some(NatRange {
                kind: NatKind::Source,
                addresses: Some(range.addresses),
                ports: range.ports,
            }),
            ..Nat::default()
        };
        self.ask(index, router, true, Some(nat), Stage::Leaves { out, next });
        true
    }

    /// Finds what is too large and may not be cut while it has the addresses that it came with.
    fn check_size(&mut self, index: PortIndex, out: PortIndex, mtu: u32) {
        let check = ToRouter {
            port: index,
            errand: Errand::TooBig { out },
        };
        self.work.emit(DpAction::FitRoute(mtu, Arc::new(check)));
    }

    /// Has the packet's connection asked about; what becomes of the packet goes on at the router.
    fn ask(
        &mut self,
        index: PortIndex,
        router: &Router,
        commit: bool,
        nat: Option<Nat>,
        then: Stage,
    ) {
        // A changed packet is news to the mirrors.
        self.work.state.mirrored = 0;
        let mut state = self.work.state.clone().without_headers().tracked();
        // Wherever it comes out, nobody there has tracked it.
        state.depth = state.depth.max(1);
        let go_on = Task::Route {
            port: index,
            stage: then,
        };
        let frozen = self.intern(state, vec![go_on]);
        let request = Request {
            zone: router.spec.zone,
            commit,
            nat,
            ..Request::default()
        };
        let translates = request.nat.is_some();
        self.work.untrack();
        self.work.emit_lasting(DpAction::Ct(Arc::new(CtAction {
            request,
            table: Some(frozen),
            rest: None,
        })));
        self.work.emitted.tracked = true;
        if translates {
            self.work.translated();
        }
    }
}
