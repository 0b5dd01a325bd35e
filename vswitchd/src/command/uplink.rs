//! Uplinks: devices shared with the host.

use std::collections::{BTreeMap, BTreeSet};

use vswitch_dpapi::message::PortStats;
use vswitch_rpc::method::Done;
use vswitch_rpc::uplink::{Info, Steered, UplinkAdd, UplinkRm};
use vswitch_rpc::{Code, Refusal};

use crate::control::Control;
use crate::control::uplinks::steer_device;
use crate::host::{DeviceError, device, holder};
use crate::model::uplink::Protocol;
use crate::model::{Port, Steer, Uplink};

impl Control {
    pub(super) async fn add_uplink(&mut self, call: UplinkAdd) -> Result<Info, Refusal> {
        let mut next = self.belief.clone();
        let uplink = next.switch.add_uplink(&call.device, &call.options)?.clone();
        check_services(uplink.asked.iter().flat_map(|asked| &asked.steer))?;
        let rules = self.steered(&uplink);
        let mut made = Vec::new();
        match self.devices.get(&uplink.port.id) {
            // The switch has it for itself already, and what is steered grows.
            Some(device) => steer_device(device, rules.keys())?,
            None => {
                self.check_untaken(&uplink.port)?;
                let device = device::make(&uplink.port, None).map_err(refuse)?;
                steer_device(&device, rules.keys())?;
                made.push((uplink.port.id, device));
            }
        }
        let result = self.commit(next, made).await;
        if result.is_err() {
            self.steer();
        }
        result?;
        let stats = self.port_stats().await.unwrap_or_default();
        Ok(self.uplink_info(&uplink, &stats))
    }

    pub(super) async fn rm_uplink(&mut self, call: &UplinkRm) -> Result<Done, Refusal> {
        let mut next = self.belief.clone();
        let needed = self.is_needed(&call.device);
        next.switch.del_uplink(&call.device, needed)?;
        self.commit(next, Vec::new()).await?;
        self.steer();
        Ok(Done {})
    }

    pub(super) async fn list_uplinks(&mut self) -> Result<Vec<Info>, Refusal> {
        Ok(self.loose_ports().await.0)
    }

    /// All uplinks, and the host's sockets.
    pub(super) async fn loose_ports(&mut self) -> (Vec<Info>, Option<Info>) {
        let switch = &self.belief.switch;
        if switch.loose_ports().next().is_none() {
            return (Vec::new(), None);
        }
        // Without a datapath there are no counters, and the rest is told all the same.
        let stats = self.port_stats().await.unwrap_or_default();
        let switch = &self.belief.switch;
        let uplinks = switch.uplinks.values();
        let socket = switch.socket.as_ref();
        (
            uplinks.map(|one| self.uplink_info(one, &stats)).collect(),
            socket.map(|port| self.loose_info(port, &stats)),
        )
    }

    fn uplink_info(&self, uplink: &Uplink, stats: &[PortStats]) -> Info {
        let device = self.devices.get(&uplink.port.id);
        let addresses = device.and_then(|device| device.addresses().ok());
        let addresses = addresses.unwrap_or_default();
        let mut steered: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (rule, users) in self.steered(uplink) {
            let with = |address| Steer { address, ..rule }.to_string();
            let rules: Vec<String> = match rule.address {
                Some(_) => vec![rule.to_string()],
                None if addresses.is_empty() => vec![rule.to_string()],
                None => addresses.iter().map(|one| with(Some(*one))).collect(),
            };
            for rule in rules {
                steered
                    .entry(rule)
                    .or_default()
                    .extend(users.iter().cloned());
            }
        }
        Info {
            asked: uplink.asked.is_some(),
            steered: steered
                .into_iter()
                .map(|(rule, users)| Steered {
                    rule,
                    users: users.into_iter().collect(),
                })
                .collect(),
            ..self.loose_info(&uplink.port, stats)
        }
    }

    fn loose_info(&self, port: &Port, stats: &[PortStats]) -> Info {
        let device = self.devices.get(&port.id);
        let detail = device.map(|device| device.detail()).unwrap_or_default();
        let stats = stats.iter().find(|stats| stats.port.0 == port.id);
        let errors = [self.errors.get(&port.id), self.unsteered.get(&port.id)];
        let mut errors = errors.into_iter().flatten();
        Info {
            name: port.name.clone(),
            state: self.port_state(port),
            asked: false,
            why: device.map(|device| device.why.clone()).unwrap_or_default(),
            detail: detail
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
            steered: Vec::new(),
            error: errors.next().cloned(),
            rx_packets: stats.map_or(0, |stats| stats.counters.rx_packets),
            tx_packets: stats.map_or(0, |stats| stats.counters.tx_packets),
        }
    }
}

/// An uplink is never made by us.
fn refuse(error: DeviceError) -> Refusal {
    match error {
        DeviceError::Missing { .. } => {
            Refusal::new(Code::NotFound, error.to_string()).hint("make it first")
        }
        error => error.into(),
    }
}

/// Refuses to take a port from a service that the host has. Of ranges it is not asked: a client's
/// port comes and goes.
fn check_services<'a>(rules: impl Iterator<Item = &'a Steer>) -> Result<(), Refusal> {
    for rule in rules.filter(|rule| rule.first == rule.last) {
        let holder = match rule.protocol {
            Protocol::Udp => holder::of_udp(rule.first),
            Protocol::Tcp => holder::of_tcp(rule.first),
            Protocol::Sctp | Protocol::Icmp => None,
        };
        if let Some(holder) = holder {
            let text = format!(
                "{rule} is not possible: that port belongs to {holder}, which would hear nothing \
                 any more"
            );
            return Err(Refusal::new(Code::Exists, text)
                .hint("end the service first, or steer another port"));
        }
    }
    Ok(())
}
