//! A bridge's ports as peers see them, and what peers forbid them.

use std::time::Duration;

use vswitch_dpapi::message::{Reply, Request};
use vswitch_dpapi::{Fragments, PortConfig as Forbidden};
use vswitch_flow::OfPort;
use vswitch_openflow::ErrorCode;
use vswitch_openflow::config::ConfigFlags;
use vswitch_openflow::port::{
    PortConfig, PortDesc, PortMod, PortReason, PortState, PortStats, PortStatus,
};
use vswitch_packet::MacAddr;

use crate::control::Control;
use crate::dataplane::{DataplaneError, unexpected};
use crate::model::{Bridge, Port};

impl Control {
    /// The ports of a bridge in the order of their numbers.
    pub(super) fn port_descs(&self, bridge: &Bridge) -> Vec<PortDesc> {
        let ports = bridge.ports_by_number();
        ports
            .iter()
            .map(|port| self.port_desc(bridge, port))
            .collect()
    }

    fn port_desc(&self, bridge: &Bridge, port: &Port) -> PortDesc {
        let device = self.devices.get(&port.id);
        let link = device.and_then(|device| device.link.as_ref());
        let address = link
            .and_then(|link| link.mac)
            .or_else(|| self.mac_of(bridge, port));
        let mac = MacAddr(address.unwrap_or_default());
        let mut desc = PortDesc::new(OfPort(port.of_port), mac, &port.name);
        desc.config = config(port.config);
        let up = match link {
            Some(link) => link.running,
            None => !port.has_device(),
        };
        desc.state = if up {
            PortState::LIVE
        } else {
            PortState::LINK_DOWN
        };
        desc
    }

    fn mac_of(&self, bridge: &Bridge, port: &Port) -> Option<[u8; 6]> {
        if port.is_local() {
            Some(bridge.mac)
        } else {
            port.settings.addr
        }
    }

    /// The counters of a bridge's ports, or of one.
    pub(super) async fn port_counters(
        &mut self,
        bridge: u32,
        only: Option<OfPort>,
    ) -> Result<Vec<PortStats>, DataplaneError> {
        let counted = match self.dataplane.ask(&Request::Ports).await? {
            Reply::Ports(ports) => ports,
            other => return Err(unexpected(&other)),
        };
        let Some(bridge) = self.bridge_by_id(bridge) else {
            return Ok(Vec::new());
        };
        let ports = bridge.ports_by_number().into_iter();
        let wanted = ports.filter(|port| only.is_none_or(|only| only.0 == port.of_port));
        Ok(wanted
            .map(|port| {
                let mut stats = PortStats::new(OfPort(port.of_port));
                let mut rows = counted.iter();
                if let Some(row) = rows.find(|row| row.port.0 == port.id) {
                    let counters = &row.counters;
                    stats.rx_packets = counters.rx_packets;
                    stats.rx_bytes = counters.rx_bytes;
                    stats.rx_dropped = counters.rx_dropped;
                    stats.rx_errors = counters.rx_errors;
                    stats.tx_packets = counters.tx_packets;
                    stats.tx_bytes = counters.tx_bytes;
                    stats.tx_dropped = counters.tx_dropped;
                    stats.tx_errors = counters.tx_errors;
                }
                let since = self.port_since.get(&port.id);
                let age: Option<Duration> = since.map(tokio::time::Instant::elapsed);
                stats.duration = age.map(Into::into);
                stats
            })
            .collect())
    }

    /// Makes a change to a port's configuration.
    pub(super) async fn change_port(
        &mut self,
        bridge: u32,
        change: &PortMod,
    ) -> Result<(), ErrorCode> {
        let found = self.bridge_by_id(bridge).and_then(|bridge| {
            let mut ports = bridge.ports.values();
            let port = ports.find(|port| port.of_port == change.port.0)?;
            Some((bridge, port))
        });
        let (bridge, port) = found.ok_or(ErrorCode::PmfcBadPort)?;
        if self.port_desc(bridge, port).mac != change.mac {
            return Err(ErrorCode::PmfcBadHwAddr);
        }
        let before = config(port.config);
        let bits = before.0 & !change.mask.0 | change.config.0 & change.mask.0;
        let after = forbidden(PortConfig(bits));
        if after == port.config {
            return Ok(());
        }
        let mut next = self.belief.clone();
        let (bridge, port) = (bridge.name.clone(), port.name.clone());
        next.switch.forbid(&bridge, &port, after);
        self.commit(next, Vec::new()).await.map_err(|refusal| {
            tracing::warn!(bridge, port, %refusal, "a port's configuration was not changed");
            ErrorCode::PmfcEperm
        })
    }

    /// What the flows of a bridge see of fragments.
    pub(super) fn fragment_flags(&self, bridge: u32) -> ConfigFlags {
        let bridge = self.bridge_by_id(bridge);
        match bridge.map(|bridge| bridge.settings.fragments) {
            None | Some(Fragments::Normal) => ConfigFlags::default(),
            Some(Fragments::Drop) => ConfigFlags::FRAG_DROP,
            Some(Fragments::NxMatch) => ConfigFlags::FRAG_NX_MATCH,
        }
    }

    /// Changes what the flows of a bridge see of fragments.
    pub(super) async fn set_fragment_flags(
        &mut self,
        bridge: u32,
        flags: ConfigFlags,
    ) -> Result<(), ErrorCode> {
        let fragments = match flags {
            ConfigFlags::FRAG_REASM => return Err(ErrorCode::ScfcBadFlags),
            ConfigFlags::FRAG_DROP => Fragments::Drop,
            ConfigFlags::FRAG_NX_MATCH => Fragments::NxMatch,
            _ => Fragments::Normal,
        };
        let mut next = self.belief.clone();
        let mut bridges = next.switch.bridges.values_mut();
        let found = bridges.find(|found| found.id == bridge);
        found.ok_or(ErrorCode::ScfcEperm)?.settings.fragments = fragments;
        self.commit(next, Vec::new()).await.map_err(|refusal| {
            tracing::warn!(bridge, %refusal, "how fragments are handled was not changed");
            ErrorCode::ScfcEperm
        })
    }

    /// The bridge of this number.
    pub(crate) fn bridge_by_id(&self, id: u32) -> Option<&Bridge> {
        let mut bridges = self.belief.switch.bridges.values();
        bridges.find(|bridge| bridge.id == id)
    }
}

/// What became of ports.
pub(super) fn differences(before: &[PortDesc], after: &[PortDesc]) -> Vec<PortStatus> {
    let find = |list: &[PortDesc], desc: &PortDesc| -> Option<PortDesc> {
        let mut same = list.iter().filter(|other| other.port == desc.port);
        same.find(|other| other.name == desc.name).cloned()
    };
    let status = |reason, desc: &PortDesc| PortStatus {
        reason,
        desc: desc.clone(),
    };
    let gone = before.iter().filter(|desc| find(after, desc).is_none());
    let mut changes: Vec<PortStatus> = gone.map(|desc| status(PortReason::Delete, desc)).collect();
    for desc in after {
        match find(before, desc) {
            None => changes.push(status(PortReason::Add, desc)),
            Some(old) if old != *desc => changes.push(status(PortReason::Modify, desc)),
            Some(_) => {}
        }
    }
    changes
}

/// The part of the contract's words that a bit of the protocol's is.
type Part = fn(&mut Forbidden) -> &mut bool;

/// In the words of the protocol and in those of the contract.
const BITS: [(PortConfig, Part); 6] = [
    (PortConfig::PORT_DOWN, |forbidden| &mut forbidden.down),
    (PortConfig::NO_RECV, |forbidden| &mut forbidden.no_recv),
    (PortConfig::NO_RECV_STP, |forbidden| {
        &mut forbidden.no_recv_stp
    }),
    (PortConfig::NO_FLOOD, |forbidden| &mut forbidden.no_flood),
    (PortConfig::NO_FWD, |forbidden| &mut forbidden.no_fwd),
    (PortConfig::NO_PACKET_IN, |forbidden| {
        &mut forbidden.no_packet_in
    }),
];

fn config(mut forbidden: Forbidden) -> PortConfig {
    let mut config = PortConfig::default();
    for (bit, part) in BITS {
        if *part(&mut forbidden) {
            config = config.with(bit);
        }
    }
    config
}

fn forbidden(config: PortConfig) -> Forbidden {
    let mut forbidden = Forbidden::default();
    for (bit, part) in BITS {
        *part(&mut forbidden) = config.has(bit);
    }
    forbidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_told_once_and_as_what_they_are() {
        let desc =
            |port, name: &str| PortDesc::new(OfPort(port), MacAddr([2, 0, 0, 0, 0, 1]), name);
        let mut down = desc(2, "b");
        down.state = PortState::LINK_DOWN;
        let before = [desc(1, "a"), desc(2, "b"), desc(3, "c")];
        // Number 3 went to another port.
        let after = [desc(1, "a"), down.clone(), desc(3, "d"), desc(4, "e")];
        let told: Vec<_> = differences(&before, &after)
            .into_iter()
            .map(|status| (status.reason, status.desc))
            .collect();
        let want = [
            (PortReason::Delete, desc(3, "c")),
            (PortReason::Modify, down),
            (PortReason::Add, desc(3, "d")),
            (PortReason::Add, desc(4, "e")),
        ];
        assert_eq!(told, want);
        assert!(differences(&after, &after).is_empty());
    }

    #[test]
    fn what_is_forbidden_is_the_same_in_both_words() {
        for bits in 0..0x80 {
            let meant = PortConfig(bits).without(PortConfig::NO_STP);
            assert_eq!(config(forbidden(PortConfig(bits))), meant);
        }
    }
}
