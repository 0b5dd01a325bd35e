//! NORMAL: what a bridge does that learns addresses and knows VLANs.
//!
//! Law: a packet that floods never goes back to where it came from; a port gets a packet only when
//! it carries the packet's VLAN. Ports that take the packet as it is come first, so that a tag is
//! pushed or taken off once.
//!
//! Spec: IEEE 802.1Q-2018 §8.6 (forwarding), §8.7 (learning); `xlate_normal` of Open vSwitch.

use std::sync::Arc;

use vswitch_flow::Field;
use vswitch_packet::MacAddr;

use super::Learn;
use super::tables::{Bridge, Port};
use super::translate::{Task, Walk};
use crate::counters::DropReason;
use crate::fdb::MacKey;
use crate::port::PortIndex;

/// 802.1Q-2018 table 8-1: 01:80:c2:00:00:00 to 0f are not forwarded. (Open vSwitch adds some
/// vendors' protocols to them in `eth_addr_is_reserved`.)
const RESERVED: u64 = 0x0180_c200_0000;
const RESERVED_BITS: u64 = 0xffff_ffff_fff0;

/// Further protocols between neighbours that Open vSwitch does not forward either.
const VENDOR_RESERVED: [u64; 7] = [
    0x00e0_2b00_0000, // Extreme Discovery Protocol
    0x00e0_2b00_0004, // Ethernet Automatic Protection Switching
    0x00e0_2b00_0006, // the same
    0x0100_0c00_0000, // Inter-Switch Link
    0x0100_0ccc_cccc, // Cisco Discovery Protocol, VTP, DTP, PAgP, UDLD
    0x0100_0ccc_cccd, // PVST+
    0x0100_0ccd_cdcd, // STP uplink fast
];

impl Walk<'_> {
    /// Whether the destination is an address that switches keep to themselves.
    pub(super) fn is_reserved(&mut self) -> bool {
        let dst = self.work.field(Field::EthDst) as u64;
        dst & RESERVED_BITS == RESERVED || VENDOR_RESERVED.contains(&dst)
    }

    /// The action NORMAL.
    pub(super) fn normal(&mut self) {
        let Some(bridge) = self.bridge() else { return };
        let vid = self.outer_vid();
        // A controller's own packet comes from no port: it is as from a trunk, and teaches nothing.
        let in_port = self.in_port();
        let Some(vlan) = in_port.map_or(Some(vid), |port| port.vlan.vlan_of(vid)) else {
            return self.note(DropReason::VlanNotAllowed);
        };
        if self.is_reserved() {
            return self.note(DropReason::ReservedMac);
        }
        if let Some(in_port) = in_port
            && !self.see_source(bridge, in_port, vlan)
        {
            return self.note(DropReason::RouterMac);
        }
        let from = in_port.map(|port| port.index);

        let dst = MacKey::new(vlan, self.work.field(Field::EthDst) as u64);
        if dst.is_multicast() {
            self.detail(|| "no learned MAC for destination, flooding".to_owned());
            return self.flood(bridge, from, vlan);
        }
        if let Some(port) = bridge.station(dst).filter(|port| Some(*port) != from) {
            self.detail(|| "forwarding to the router's port".to_owned());
            return self.later(Task::Emit {
                port,
                vid: Some(0),
                max_len: None,
            });
        }
        let (dep, entry) = bridge.fdb.lookup(dst);
        self.depend(dep);
        // An address behind a port that no longer takes it is as good as unknown.
        let port = entry
            .and_then(|entry| self.tables.port(entry.port()))
            .filter(|port| port.bridge == bridge.id && port.vlan.carries(vlan));
        match port {
            Some(port) if Some(port.index) == from => {
                self.note(DropReason::FdbSamePort);
            }
            Some(port) => {
                self.detail(|| "forwarding to learned port".to_owned());
                self.later(Task::Emit {
                    port: port.index,
                    vid: Some(port.vlan.vid_of(vlan)),
                    max_len: None,
                });
            }
            None => {
                self.detail(|| "no learned MAC for destination, flooding".to_owned());
                self.flood(bridge, from, vlan);
            }
        }
    }

    /// Notes where the source is. False when it is where it cannot be.
    fn see_source(&mut self, bridge: &Bridge, in_port: &Port, vlan: u16) -> bool {
        let key = MacKey::new(vlan, self.work.field(Field::EthSrc) as u64);
        if key.is_multicast() {
            return true;
        }
        // Where routers are need not be learned.
        if let Some(port) = bridge.station(key) {
            return port == in_port.index;
        }
        let (dep, entry) = bridge.fdb.lookup(key);
        self.depend(dep);
        match entry.filter(|entry| entry.port() == in_port.index) {
            Some(entry) => {
                if !self
                    .out
                    .touch
                    .iter()
                    .any(|known| Arc::ptr_eq(known, &entry))
                {
                    self.out.touch.push(entry);
                }
            }
            None => {
                if self.trace.as_ref().is_some_and(|trace| trace.teaches()) {
                    self.detail(|| {
                        let (mac, port) = (MacAddr(key.mac()), &in_port.name);
                        format!("learned that {mac} is on port {port} in VLAN {vlan}")
                    });
                }
                self.learn(Learn {
                    bridge: bridge.id,
                    key,
                    port: in_port.index,
                });
            }
        }
        true
    }

    fn flood(&mut self, bridge: &Bridge, from: Option<PortIndex>, vlan: u16) {
        let now = self.outer_vid();
        let takers = || {
            bridge
                .ports()
                .iter()
                .filter_map(|index| self.tables.port(*index))
                .filter(|port| Some(port.index) != from && port.vlan.carries(vlan))
                .filter(|port| !port.mirror_output && !port.config.no_flood)
                .map(|port| (port.index, port.vlan.vid_of(vlan)))
        };
        let mut order: Vec<_> = takers().filter(|(_, vid)| *vid == now).collect();
        order.extend(takers().filter(|(_, vid)| *vid != now));
        if order.is_empty() {
            return self.note(DropReason::FloodNowhere);
        }
        for (port, vid) in order.into_iter().rev() {
            self.later(Task::Emit {
                port,
                vid: Some(vid),
                max_len: None,
            });
        }
    }
}
