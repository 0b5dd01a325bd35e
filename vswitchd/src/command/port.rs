//! Ports.

use vswitch_dpapi::message::{PortStats, Reply, Request};
use vswitch_rpc::Refusal;
use vswitch_rpc::method::{Done, Options};
use vswitch_rpc::port::{
    AddPort, Added, Counters, DelPort, DumpPorts, ListPorts, ReadPort, SetPort,
};

use crate::control::Control;
use crate::dataplane::unexpected;
use crate::driver;
use crate::host::{Device, DeviceError, device};
use crate::model::switch::NewPort;
use crate::model::{ModelError, key, port};

impl Control {
    pub(super) async fn add_port(&mut self, call: AddPort) -> Result<Added, Refusal> {
        let mut next = self.belief.clone();
        let settings = next
            .switch
            .read_port(&call.bridge, &call.name, &call.options)?;
        self.check_udp_port(&settings)?;
        let (kind, why, makes_device) = {
            let name = settings.ifname.as_deref().unwrap_or(&call.name);
            let needs_device = settings.kind.is_none_or(has_device);
            if needs_device {
                let found = device::find(name, settings.netns.as_deref())?;
                let (kind, why) = match settings.kind {
                    Some(kind) => (kind, String::new()),
                    None => device::choose(name, &found),
                };
                (kind, why, device::is_to_be_made(kind, &found))
            } else {
                let kind = settings.kind.expect("asked just now");
                (kind, String::new(), false)
            }
        };
        let new = NewPort {
            name: call.name.clone(),
            kind,
            why,
            makes_device,
            settings,
        };
        let port = next.switch.add_port(&call.bridge, new)?.clone();
        self.check_untaken(&port)?;
        let made = device::make(&port, port.settings.addr)?;
        let why = [port.why.as_str(), made.why.as_str()]
            .into_iter()
            .filter(|why| !why.is_empty())
            .collect::<Vec<_>>()
            .join("; ");
        let added = Added {
            of_port: port.of_port,
            kind,
            why,
        };
        self.commit(next, vec![(port.id, made)]).await?;
        Ok(added)
    }

    /// Refuses a device that another port has.
    pub(crate) fn check_untaken(&self, new: &port::Port) -> Result<(), DeviceError> {
        if !new.has_device() {
            return Ok(());
        }
        let found = device::find(new.device(), new.settings.netns.as_deref())?;
        let Some(link) = found.link else {
            return Ok(());
        };
        let has = |device: &&Device| {
            let same = |held: &crate::host::netlink::Link| held.ifindex == link.ifindex;
            device.link.as_ref().is_some_and(same) && device.place.is_same(&found.place)
        };
        let holder = self.devices.iter().find(|(_, device)| has(device));
        match holder {
            Some((id, _)) => Err(DeviceError::Taken {
                name: link.name,
                port: self.port_name(*id),
            }),
            None => Ok(()),
        }
    }

    pub(super) async fn del_port(&mut self, call: DelPort) -> Result<Done, Refusal> {
        let mut next = self.belief.clone();
        let containers = &next.containers;
        let endpoint = driver::bridge::endpoint_of(containers, &call.name);
        if let Some(network) = endpoint.and_then(|one| containers.network_by_id(&one.network)) {
            return Err(ModelError::OfNetwork {
                what: format!("the port {}", call.name),
                network: network.name.clone(),
            }
            .into());
        }
        let port = next.switch.del_port(&call.bridge, &call.name)?;
        self.check_unrouted([&port])?;
        self.commit(next, Vec::new()).await?;
        Ok(Done {})
    }

    pub(super) fn list_ports(&self, call: &ListPorts) -> Result<Vec<String>, Refusal> {
        Ok(self.belief.switch.bridge(&call.bridge)?.removable())
    }

    pub(super) async fn set_port(&mut self, call: SetPort) -> Result<Done, Refusal> {
        let mut next = self.belief.clone();
        let before = next.switch.port(&call.bridge, &call.name)?.clone();
        next.switch
            .set_port(&call.bridge, &call.name, &call.options)?;
        let after = next.switch.port(&call.bridge, &call.name)?;
        let mut restore = None;
        if let (Some(mtu), Some(device)) = (after.settings.mtu, self.devices.get_mut(&before.id)) {
            let was = device.link.as_ref().map(|link| link.mtu);
            if was != Some(mtu) {
                device.set_mtu(mtu)?;
                device.look();
                restore = was;
            }
        }
        let result = self.commit(next, Vec::new()).await;
        if let (Err(_), Some(mtu), Some(device)) =
            (&result, restore, self.devices.get_mut(&before.id))
        {
            if let Err(error) = device.set_mtu(mtu) {
                tracing::warn!(%error, "an MTU could not be put back");
            }
            device.look();
        }
        result?;
        Ok(Done {})
    }

    pub(super) fn read_port(&self, call: &ReadPort) -> Result<Options, Refusal> {
        let port = self.belief.switch.port(&call.bridge, &call.name)?;
        let mut options = key::show(port::KEYS, &port.settings);
        options.insert("type".into(), port.kind.name().into());
        options.insert("of_port".into(), port.of_port.to_string());
        let mode = port.settings.vlan().mode;
        options.insert("vlan_mode".into(), mode.name().into());
        if let Some(device) = self.devices.get(&port.id) {
            for (key, value) in device.detail() {
                if matches!(key, "queues" | "mode" | "mtu") {
                    options.insert(key.into(), value);
                }
            }
        }
        Ok(options)
    }

    /// The datapath's view of all ports.
    pub(super) async fn port_stats(&mut self) -> Result<Vec<PortStats>, Refusal> {
        match self.dataplane.ask(&Request::Ports).await? {
            Reply::Ports(ports) => Ok(ports),
            other => Err(unexpected(&other).into()),
        }
    }

    pub(super) async fn dump_ports(&mut self, call: &DumpPorts) -> Result<Vec<Counters>, Refusal> {
        if let Some(name) = &call.port {
            self.belief.switch.port(&call.bridge, name)?;
        }
        self.belief.switch.bridge(&call.bridge)?;
        let stats = self.port_stats().await?;
        let bridge = self.belief.switch.bridge(&call.bridge)?;
        let ports = bridge.ports_by_number();
        let wanted = ports
            .iter()
            .filter(|port| call.port.as_ref().is_none_or(|name| *name == port.name));
        Ok(wanted
            .map(|port| {
                let stats = stats.iter().find(|stats| stats.port.0 == port.id);
                let counters = stats
                    .map(|stats| stats.counters.clone())
                    .unwrap_or_default();
                Counters {
                    of_port: port.of_port,
                    port: port.name.clone(),
                    rx_packets: counters.rx_packets,
                    rx_bytes: counters.rx_bytes,
                    rx_dropped: counters.rx_dropped,
                    rx_errors: counters.rx_errors,
                    tx_packets: counters.tx_packets,
                    tx_bytes: counters.tx_bytes,
                    tx_dropped: counters.tx_dropped,
                    tx_errors: counters.tx_errors,
                }
            })
            .collect())
    }
}

fn has_device(kind: vswitch_rpc::port::Kind) -> bool {
    use vswitch_rpc::port::Kind;
    matches!(
        kind,
        Kind::Afxdp | Kind::Tap | Kind::Packet | Kind::Internal
    )
}
