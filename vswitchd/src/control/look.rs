//! Looking at devices after news of them: moved, renamed, up, down, gone, back.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;
use vswitch_dpapi::PortId;
use vswitch_dpapi::message::Request;

use super::Control;
use crate::dataplane::DataplaneError;
use crate::host::netlink::Link;
use crate::host::place::Place;
use crate::host::{Device, News, device};
use crate::model::Port;

/// How long news are gathered before devices are looked at: one change of a device makes several,
/// and namespaces come and go with many devices.
const GATHER: Duration = Duration::from_millis(10);

/// Devices of which there is news.
#[derive(Debug, Default)]
pub(super) struct Pending {
    ifindexes: BTreeSet<u32>,
    /// Those that left for another namespace.
    moved: BTreeSet<u32>,
    everything: bool,
    due: Option<Instant>,
}

impl Control {
    /// Takes note of news.
    pub fn hear(&mut self, news: News) {
        match news {
            News::Device(ifindex) => {
                self.news.ifindexes.insert(ifindex);
            }
            News::Moved(ifindex) => {
                self.news.ifindexes.insert(ifindex);
                self.news.moved.insert(ifindex);
            }
            News::Everything => self.news.everything = true,
        }
        self.news.due.get_or_insert_with(|| Instant::now() + GATHER);
    }

    /// When devices are to be looked at, if there is reason to.
    pub fn look_due(&self) -> Option<Instant> {
        self.news.due
    }

    /// Looks at the devices of which there was news and at those that are missing, and tells the
    /// datapath what has become of them.
    pub async fn look(&mut self) -> Result<(), DataplaneError> {
        let news = std::mem::take(&mut self.news);
        self.changed = true;
        // What could not be an uplink may have become one.
        self.failed.try_uplinks();
        self.underlay.stir();
        let ports: Vec<Port> = self
            .belief
            .switch
            .all_ports()
            .filter(|port| port.has_device())
            .cloned()
            .collect();
        let before = self.desired(&self.belief);
        let mut back = Vec::new();
        for port in &ports {
            match self.devices.get_mut(&port.id) {
                Some(device) => {
                    let link = device.link.as_ref();
                    let concerned = link.is_none_or(|link| news.ifindexes.contains(&link.ifindex));
                    if !concerned && !news.everything {
                        continue;
                    }
                    let was = (device.place.clone(), device.link.clone());
                    if device.look() {
                        tell(port, &was.0, was.1.as_ref(), device);
                    }
                    if device.is_lost() {
                        self.devices.remove(&port.id);
                        if let Some(link) = was.1 {
                            self.lost.insert(port.id, link);
                        }
                        self.errors.insert(port.id, "the device is gone".into());
                        let request = Request::Detach {
                            port: PortId(port.id),
                        };
                        self.dataplane.tell(&request, &[]).await?;
                        back.push(port);
                    }
                }
                None => back.push(port),
            }
        }
        for port in back {
            // A device is out of its namespace some time before the kernel says where it went.
            let lost = self.lost.get(&port.id).cloned();
            let moved = lost.filter(|link| news.moved.contains(&link.ifindex));
            if self.find_again(port, moved.as_ref()) {
                self.lost.remove(&port.id);
                tracing::info!(port = port.name, "the port has a device again");
            }
        }
        let desired = self.desired(&self.belief);
        if desired != before {
            let request = Request::SetDesired(Box::new(desired));
            self.dataplane.tell(&request, &[]).await?;
        }
        let fresh: Vec<u32> = ports
            .iter()
            .map(|port| port.id)
            .filter(|id| self.devices.contains_key(id) && self.errors.contains_key(id))
            .collect();
        for id in fresh {
            self.errors.remove(&id);
            match self.attach(id).await {
                Ok(()) => {}
                Err(error) if error.is_loss() => return Err(error),
                Err(error) => {
                    self.devices.remove(&id);
                    self.errors.insert(id, error.to_string());
                }
            }
        }
        self.steer();
        Ok(())
    }

    /// Takes the device that the port had, where it has moved to, or one of the port's name that has
    /// come or come back. A device that we made and somebody removed is not made again: whoever
    /// removed it meant it.
    fn find_again(&mut self, port: &Port, moved: Option<&Link>) -> bool {
        let found = match moved.and_then(device::search) {
            Some(found) => Ok(found),
            None => device::find(port.device(), port.settings.netns.as_deref()),
        };
        let found = match found {
            Ok(found) if found.link.is_some() => found,
            _ => return false,
        };
        match device::take(port, found) {
            Ok(device) => {
                self.devices.insert(port.id, device);
                true
            }
            Err(error) => {
                self.errors.insert(port.id, error.to_string());
                false
            }
        }
    }
}

/// Says what has happened to a device.
fn tell(port: &Port, place: &Place, link: Option<&Link>, device: &Device) {
    let port = &port.name;
    let Some(now) = &device.link else {
        tracing::warn!(port, "the device is gone");
        return;
    };
    if *place != device.place {
        let netns = device.place.label().unwrap_or("the switch's own");
        tracing::info!(port, netns, "the device was moved");
    }
    let Some(was) = link else {
        return;
    };
    if was.name != now.name {
        tracing::info!(
            port,
            from = was.name,
            to = now.name,
            "the device was renamed"
        );
    }
    if was.running != now.running {
        let state = if now.running { "up" } else { "down" };
        tracing::info!(port, "the device is {state}");
    }
    if was.mtu != now.mtu {
        tracing::info!(port, mtu = now.mtu, "the device has another MTU");
    }
}
