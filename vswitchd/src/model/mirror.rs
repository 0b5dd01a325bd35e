//! A mirror: which packets are copied, and where the copies go.

use serde::{Deserialize, Serialize};

use super::key::{self, Key};
use super::refusal::ModelError;

/// A mirror. Ports are named; that they exist is [`super::Switch`]'s care.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mirror {
    /// Every packet is copied.
    pub select_all: bool,
    /// Packets that come in through these ports are copied.
    pub select_src: Vec<String>,
    /// Packets that go out through these ports are copied.
    pub select_dst: Vec<String>,
    /// Only packets of these VLANs are copied; empty means any.
    pub select_vlan: Vec<u16>,
    /// Copies leave here.
    pub output_port: Option<String>,
    /// Copies are flooded in this VLAN.
    pub output_vlan: Option<u16>,
}

fn ports(text: &str) -> Option<Vec<String>> {
    let mut names: Vec<String> = text.split(',').map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names.iter().all(|name| !name.is_empty()).then_some(names)
}

fn show_ports(ports: &[String]) -> Option<String> {
    (!ports.is_empty()).then(|| ports.join(","))
}

/// The settings of a mirror.
pub const KEYS: &[Key<Mirror>] = &[
    Key {
        name: "select_all",
        live: true,
        takes: "true or false",
        set: |mirror, text| {
            mirror.select_all = key::boolean(text)?;
            Some(())
        },
        clear: |mirror| mirror.select_all = false,
        show: |mirror| mirror.select_all.then(|| "true".into()),
    },
    Key {
        name: "select_src",
        live: true,
        takes: "names of ports of the bridge, with commas between",
        set: |mirror, text| {
            mirror.select_src = ports(text)?;
            Some(())
        },
        clear: |mirror| mirror.select_src.clear(),
        show: |mirror| show_ports(&mirror.select_src),
    },
    Key {
        name: "select_dst",
        live: true,
        takes: "names of ports of the bridge, with commas between",
        set: |mirror, text| {
            mirror.select_dst = ports(text)?;
            Some(())
        },
        clear: |mirror| mirror.select_dst.clear(),
        show: |mirror| show_ports(&mirror.select_dst),
    },
    Key {
        name: "select_vlan",
        live: true,
        takes: "VLANs from 0 to 4095 and ranges of them, with commas between",
        set: |mirror, text| {
            mirror.select_vlan = key::vlans(text)?;
            Some(())
        },
        clear: |mirror| mirror.select_vlan.clear(),
        show: |mirror| {
            (!mirror.select_vlan.is_empty()).then(|| key::show_vlans(&mirror.select_vlan))
        },
    },
    Key {
        name: "output_port",
        live: true,
        takes: "the name of a port of the bridge",
        set: |mirror, text| {
            mirror.output_port = Some(text.into());
            Some(())
        },
        clear: |mirror| mirror.output_port = None,
        show: |mirror| mirror.output_port.clone(),
    },
    Key {
        name: "output_vlan",
        live: true,
        takes: "a VLAN from 1 to 4095",
        set: |mirror, text| {
            mirror.output_vlan = Some(key::number(text, 1..=4095)?);
            Some(())
        },
        clear: |mirror| mirror.output_vlan = None,
        show: |mirror| mirror.output_vlan.map(|vlan| vlan.to_string()),
    },
];

impl Mirror {
    /// Every port it names.
    pub fn port_names(&self) -> impl Iterator<Item = &String> {
        let selected = self.select_src.iter().chain(&self.select_dst);
        selected.chain(&self.output_port)
    }

    /// Refuses a mirror without an end or a beginning.
    pub fn check(&self) -> Result<(), ModelError> {
        let selects = self.select_all || !self.select_src.is_empty() || !self.select_dst.is_empty();
        if !selects {
            return Err(ModelError::Mirror(
                "a mirror copies nothing without select_all, select_src or select_dst",
            ));
        }
        match (&self.output_port, self.output_vlan) {
            (None, None) => Err(ModelError::Mirror(
                "a mirror needs output_port or output_vlan: where the copies go",
            )),
            (Some(_), Some(_)) => Err(ModelError::Mirror(
                "a mirror has either output_port or output_vlan, not both",
            )),
            _ => Ok(()),
        }
    }
}
