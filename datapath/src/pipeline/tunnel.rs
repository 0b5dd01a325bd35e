//! Sending by a tunnel port, and taking out what came by one through a bridge.
//!
//! A packet that is sent by a tunnel port gets outer headers ([`Template`]) and then goes on as one
//! that came to another bridge by its internal port, or leaves by an uplink or a socket. Of its new
//! headers all is known here but the UDP source port and the ECN bits, which differ between packets
//! of one answer: where something reads these, the packet's headers are read again.
//!
//! A packet that a bridge gives to its internal port, for one of the host's addresses and the UDP
//! port of tunnels, is taken out of its tunnel instead, and comes in once more by the tunnel port.
//!
//! Law: what was asked of the network that carries tunnels is noted, so that the answer is worked
//! out again when that changes. An answer that waits for a neighbour is not kept.
//!
//! Spec: Open vSwitch `ofproto/tunnel.c` (`tnl_port_send`), `native_tunnel_output` and
//! `terminate_native_tunnel` in `ofproto/ofproto-dpif-xlate.c`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use vswitch_dpapi::{Endpoint, TunnelKey, TunnelKind, TunnelTos};
use vswitch_flow::{Field, FlowKey, FlowMask};
use vswitch_packet::{EtherType, MacAddr, Protocol};

use super::tables::Port;
use super::traffic::Crossing;
use super::translate::{Task, Visit, Walk};
use super::{DpAction, Effect, vlan};
use crate::counters::DropReason;
use crate::port::PortIndex;
use crate::tunnel::template::{Headers, Template};
use crate::tunnel::underlay::{NextHop, NoHop, Way};

/// The network identifiers that there are.
const KEYS: u128 = 0xff_ffff;

/// TTL of outer headers that are to have that of a header inside, when there is none.
const TTL: u8 = 64;

/// Bits of the type of service that are not ECN.
const DSCP: u128 = 0xfc;

/// What differs between the outer headers of packets of one answer.
fn differing() -> FlowMask {
    let mut mask = FlowMask::default();
    mask.set(Field::UdpSrc, Field::UdpSrc.info().max());
    mask.set(Field::IpEcn, Field::IpEcn.info().max());
    mask
}

impl Walk<'_> {
    /// Whether a lookup reads what differs between the outer headers of packets.
    pub(super) fn looks_at_differing(&self, table: u8, visit: Visit) -> bool {
        let mut key = *self.work.key();
        match visit {
            Visit::Goto => {}
            Visit::Resubmit { ct_tuple: true, .. } => return true,
            Visit::Resubmit { port, .. } => key.set(Field::InPort, port.into()),
        }
        let table = self.bridge().and_then(|bridge| bridge.table(table));
        let mut mask = FlowMask::default();
        let _ = table.and_then(|table| table.lookup(&key, &mut mask));
        mask.meets(&differing())
    }

    /// Sends the packet by a tunnel port.
    pub(super) fn tunnel(&mut self, port: &Arc<Port>) {
        let Some(spec) = &port.tunnel else {
            return self.note(DropReason::PortUnknown);
        };
        let Some(remote) = self.end(spec.remote, Field::TunDst, Field::TunIpv6Dst) else {
            return self.note(DropReason::TunnelNoRemote);
        };
        let local = spec
            .local
            .and_then(|local| self.end(local, Field::TunSrc, Field::TunIpv6Src));
        if local.is_some_and(|local| local.is_ipv4() != remote.is_ipv4()) {
            return self.note(DropReason::TunnelNoRemote);
        }
        let key = match spec.out_key {
            TunnelKey::Id(key) => key,
            TunnelKey::Flow => self.work.bits(Field::TunId, KEYS) as u32,
        };
        let inherits = spec.tos == TunnelTos::Inherit || spec.ttl.is_none();
        let is_ip = inherits && self.work.has(Field::IpTos);
        let tos = match spec.tos {
            TunnelTos::Set(tos) => u128::from(tos) & DSCP,
            TunnelTos::Inherit if is_ip => self.work.bits(Field::IpTos, DSCP),
            TunnelTos::Inherit => 0,
        };
        let ttl = match spec.ttl {
            Some(ttl) => ttl,
            None if is_ip => self.work.field(Field::IpTtl) as u8,
            None => TTL,
        };
        let oam = spec.kind == TunnelKind::Geneve && self.work.bits(Field::TunFlags, 1) != 0;
        self.out.seen.rest_on_underlay();
        let hop = match self.tables.underlay().next_hop(remote, local, spec.way) {
            Ok(hop) => hop,
            Err(why) => {
                return self.note(match why {
                    NoHop::Own => DropReason::TunnelSelf,
                    NoHop::NoRoute | NoHop::NoSource => DropReason::TunnelNoRoute,
                    NoHop::NoWay => DropReason::TunnelNoWay,
                });
            }
        };
        let Some(dst_mac) = self.neighbour(&hop) else {
            return;
        };
        let headers = Headers {
            dst_mac,
            src_mac: hop.own_mac,
            local: hop.source,
            remote,
            tos: tos as u8,
            ttl,
            dont_fragment: spec.dont_fragment,
            csum: spec.csum.unwrap_or(remote.is_ipv6()),
            udp_port: spec.udp_port,
            kind: spec.kind,
            key,
            oam,
            options: Box::default(),
        };
        self.detail(|| {
            let (src, dst) = (headers.src_mac, headers.dst_mac);
            let kind = match spec.kind {
                TunnelKind::Vxlan => "vxlan",
                TunnelKind::Geneve => "geneve",
            };
            let (local, remote, name) = (headers.local, headers.remote, &port.name);
            format!("tunneling from {src} {local} to {dst} {remote} by {kind} {name}")
        });
        self.cross_port(port, Crossing::Tx);
        let outer = key_of(&headers);
        let template = Template::new(port.index, headers, hop.mtu).within(port.mtu);
        self.work.emit_lasting(DpAction::Encap(Arc::new(template)));
        self.work.enter_tunnel(&outer);
        match hop.way {
            Way::Bridge(internal) => self.later(Task::Enter(internal)),
            Way::Uplink(port) | Way::Socket(port) => self.work.emit(DpAction::Output(port)),
        }
    }

    /// An end of a tunnel; `None` when flows were to say it and have not.
    fn end(&mut self, end: Endpoint, v4: Field, v6: Field) -> Option<IpAddr> {
        match end {
            Endpoint::Address(address) => Some(address),
            Endpoint::Flow => {
                let address = self.work.field(v4) as u32;
                if address != 0 {
                    return Some(Ipv4Addr::from(address).into());
                }
                let address = self.work.field(v6);
                (address != 0).then(|| Ipv6Addr::from(address).into())
            }
        }
    }

    /// The next hop's Ethernet address. Where it is not known the host is to find it out.
    fn neighbour(&mut self, hop: &NextHop) -> Option<MacAddr> {
        if matches!(hop.way, Way::Socket(_)) {
            // Nobody on the wire sees what is written here.
            return Some(MacAddr::default());
        }
        if hop.mac.is_none() {
            self.out.cacheable = false;
            self.effect(Effect::Resolve {
                device: hop.device,
                address: hop.neighbour,
            });
            self.note(DropReason::TunnelNoNeighbour);
        }
        hop.mac
    }

    /// Whether what is given to a port may be taken out of a tunnel.
    pub(super) fn may_take_out(&self, port: &Port) -> bool {
        port.internal && !self.tables.tunnels().is_empty()
    }

    /// Gives the packet to a port that has a device, or takes it out of its tunnel.
    pub(super) fn deliver(&mut self, port: &Port) {
        let action = match self.may_take_out(port) {
            true => self.taken_out(port),
            false => None,
        };
        self.work
            .emit(action.unwrap_or(DpAction::Output(port.index)));
    }

    /// How the packet is taken out of a tunnel, if it is for the host itself and in one.
    fn taken_out(&mut self, port: &Port) -> Option<DpAction> {
        // No later fragment has the field; the host waits in vain for the rest of its packet.
        if !self.work.has(Field::UdpDst) {
            return None;
        }
        let udp_port = self.work.field(Field::UdpDst) as u16;
        let kind = self.tables.tunnels().protocol(udp_port)?;
        self.out.seen.rest_on_underlay();
        let underlay = self.tables.underlay();
        let device = underlay.device_of(port.index)?;
        let is_tagged = self.work.bits(Field::VlanTci, vlan::PRESENT.into()) != 0;
        let dst = self.work.field(Field::EthDst).to_be_bytes();
        if is_tagged || !dst.ends_with(&device.mac) {
            return None;
        }
        let local: IpAddr = match self.work.field(Field::EthType) as u16 {
            kind if kind == EtherType::IPV4.0 => {
                Ipv4Addr::from(self.work.field(Field::Ipv4Dst) as u32).into()
            }
            _ => Ipv6Addr::from(self.work.field(Field::Ipv6Dst)).into(),
        };
        underlay.is_own(local).then_some(DpAction::Decap {
            kind,
            udp_port,
            at: port.index,
        })
    }
}

/// What a packet with these headers is to lookups, as far as all of its kind agree.
fn key_of(headers: &Headers) -> FlowKey {
    let mut key = FlowKey::default();
    key.set(Field::EthDst, headers.dst_mac.bits().into());
    key.set(Field::EthSrc, headers.src_mac.bits().into());
    match (headers.local, headers.remote) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            key.set(Field::EthType, EtherType::IPV4.0.into());
            key.set(Field::Ipv4Src, u32::from(src).into());
            key.set(Field::Ipv4Dst, u32::from(dst).into());
        }
        (src, dst) => {
            let bits = |address: IpAddr| match address {
                IpAddr::V4(address) => u128::from(address.to_ipv6_mapped()),
                IpAddr::V6(address) => u128::from(address),
            };
            key.set(Field::EthType, EtherType::IPV6.0.into());
            key.set(Field::Ipv6Src, bits(src));
            key.set(Field::Ipv6Dst, bits(dst));
        }
    }
    key.set(Field::IpProto, Protocol::UDP.0.into());
    key.set(Field::IpTos, headers.tos.into());
    key.set(Field::IpTtl, headers.ttl.into());
    key.set(Field::UdpDst, headers.udp_port.into());
    key
}

/// How `tnl_push` spells headers, as Open vSwitch does.
pub(super) fn push_text(template: &Template, name: impl Fn(PortIndex) -> String) -> String {
    let headers = &template.headers;
    let (src_mac, dst_mac) = (headers.src_mac, headers.dst_mac);
    let (src, dst) = (headers.local, headers.remote);
    let (tos, ttl, port) = (headers.tos, headers.ttl, headers.udp_port);
    let (ethertype, ip) = if dst.is_ipv6() {
        let text =
            format!("ipv6(src={src},dst={dst},label=0,proto=17,tclass={tos:#x},hlimit={ttl})");
        (EtherType::IPV6.0, text)
    } else {
        let frag = if headers.dont_fragment { "0x4000" } else { "0" };
        let text = format!("ipv4(src={src},dst={dst},proto=17,tos={tos:#x},ttl={ttl},frag={frag})");
        (EtherType::IPV4.0, text)
    };
    let csum = if headers.csum { "0xffff" } else { "0x0" };
    // The numbers of the protocols are Open vSwitch's (`enum ovs_vport_type`).
    let (kind, tunnel) = match headers.kind {
        TunnelKind::Vxlan => (4, format!("vxlan(flags=0x8000000,vni={:#x})", headers.key)),
        TunnelKind::Geneve => {
            let oam = if headers.oam { "oam," } else { "" };
            (5, format!("geneve({oam}vni={:#x})", headers.key))
        }
    };
    format!(
        "tnl_push(tnl_port({}),header(size={},type={kind},eth(dst={dst_mac},src={src_mac},\
         dl_type={ethertype:#06x}),{ip},udp(src=0,dst={port},csum={csum}),{tunnel}))",
        name(template.port),
        template.size(),
    )
}
