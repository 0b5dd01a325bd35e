//! Whether one endpoint reaches another, and why: what networks say of it, and what is done with a packet.

use std::net::IpAddr;

use vswitch_dpapi::BridgeId;
use vswitch_dpapi::message::{TraceFrame, TraceRequest};
use vswitch_flow::{Field, FlowKey};
use vswitch_rpc::Refusal;
use vswitch_rpc::network::{Explained, NetworkExplain};

use crate::control::Control;
use crate::driver::bridge;
use crate::model::Bridge;
use crate::model::containers::{Driver, Endpoint, Network};

impl Control {
    pub(in crate::command) async fn network_explain(
        &mut self,
        call: NetworkExplain,
    ) -> Result<Explained, Refusal> {
        let containers = &self.belief.containers;
        let from = containers.endpoint(&call.from)?;
        let to = containers.endpoint(&call.to)?;
        let (reaches, why) = self.judge(from, to);
        let mut explained = Explained {
            from: self.path(from),
            to: self.path(to),
            reaches,
            why,
            ..Explained::default()
        };
        let packet = self.echo(from, to);
        if let Some(request) = packet {
            let port = bridge::port_name(to);
            let story = self.follow(request).await?;
            let mut ways = story.datapath_actions.split(',');
            explained.carried = Some(story.failure.is_none() && ways.any(|way| way == port));
            explained.story = Some(story);
        }
        Ok(explained)
    }

    /// `NETWORK/NAME`.
    fn path(&self, endpoint: &Endpoint) -> String {
        let network = self.belief.containers.network_by_id(&endpoint.network);
        let network = network.map_or("?", |network| network.name.as_str());
        format!("{network}/{}", endpoint.name)
    }

    /// What networks say.
    fn judge(&self, from: &Endpoint, to: &Endpoint) -> (bool, String) {
        let containers = &self.belief.containers;
        for endpoint in [from, to] {
            if endpoint.joined.is_none() {
                let why = format!("{} is in no sandbox", self.path(endpoint));
                return (false, why);
            }
        }
        if from.id == to.id {
            return (true, "they are one endpoint".into());
        }
        let network = |endpoint: &Endpoint| containers.network_by_id(&endpoint.network);
        let (Some(here), Some(there)) = (network(from), network(to)) else {
            return (false, "a network is not there".into());
        };
        if here.id != there.id {
            return (false, self.apart(from, to, [here, there]));
        }
        match here.driver {
            Driver::Bridge => {}
            Driver::Host => return (true, "both are in the host's own namespace".into()),
            Driver::None | Driver::Null => {
                return (false, format!("network {} has only loopback", here.name));
            }
        }
        let name = &here.name;
        match bridge::Options::read(&here.options) {
            Ok(options) if !options.icc => (
                false,
                format!(
                    "members of network {name} do not reach each other \
                     (com.docker.network.bridge.enable_icc=false)"
                ),
            ),
            _ => (true, format!("both are on network {name}")),
        }
    }

    /// Why members of two networks are apart, and how they might meet.
    fn apart(&self, from: &Endpoint, to: &Endpoint, networks: [&Network; 2]) -> String {
        let [here, there] = networks.map(|network| &network.name);
        let mut why = format!("networks {here} and {there} are apart");
        let joined = from.joined.as_ref();
        let other = joined.and_then(|joined| {
            let mut own = self.belief.containers.in_sandbox(&joined.sandbox);
            own.find(|endpoint| endpoint.network == to.network)
        });
        if let Some(other) = other {
            why += &format!("; its sandbox has {} there", self.path(other));
        }
        why
    }

    /// An echo request from one to the other, where a bridge carries it.
    fn echo(&self, from: &Endpoint, to: &Endpoint) -> Option<TraceRequest> {
        let network = from.network.to_string();
        let bridge: &Bridge = self.belief.switch.network_bridge(&network).ok()?;
        let port = bridge.ports.get(&bridge::port_name(from))?;
        let mut key = FlowKey::default();
        let mac = |bytes: [u8; 6]| {
            let bytes = bytes.into_iter();
            bytes.fold(0, |number, byte| number << 8 | u128::from(byte))
        };
        key.set(Field::InPort, port.of_port.into());
        key.set(Field::EthSrc, mac(from.mac));
        let destination = if from.network == to.network {
            to.mac
        } else {
            bridge.mac
        };
        key.set(Field::EthDst, mac(destination));
        let mut pairs = from.addresses().flat_map(|from| {
            let of_family = move |to: &ipnet::IpNet| to.addr().is_ipv4() == from.addr().is_ipv4();
            let to = to.addresses().find(of_family)?;
            Some((from.addr(), to.addr()))
        });
        match pairs.next()? {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                key.set(Field::EthType, 0x0800);
                key.set(Field::IpProto, 1);
                key.set(Field::IcmpType, 8);
                key.set(Field::Ipv4Src, from.to_bits().into());
                key.set(Field::Ipv4Dst, to.to_bits().into());
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                key.set(Field::EthType, 0x86dd);
                key.set(Field::IpProto, 58);
                key.set(Field::Icmp6Type, 128);
                key.set(Field::Ipv6Src, from.to_bits());
                key.set(Field::Ipv6Dst, to.to_bits());
            }
            _ => return None,
        }
        key.set(Field::IpTtl, 64);
        Some(TraceRequest {
            bridge: BridgeId(bridge.id),
            key,
            frame: TraceFrame::None,
            actions: None,
            names: true,
            ct_next: Vec::new(),
        })
    }
}
