//! The demonstration's hosts: two behind TAPs, two behind veth pairs with AF_XDP, one of those on a
//! VLAN trunk.
//!
//! All are in VLAN 10. Three send untagged frames and their ports put them into it (`tag=10`). The
//! fourth is on a trunk, where the host itself tags; a kernel without 802.1Q devices cannot do
//! that, and there the trunk's native VLAN is 10.

use anyhow::{Context, Result};
use vswitch_tests::topology::{Host, Kind, Topology};
use vswitch_tests::{device, traffic};

/// A host and what the demonstration says of it.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) name: &'static str,
    pub(crate) host: Host,
    says: String,
}

#[derive(Debug)]
pub(crate) struct Hosts {
    all: [Named; 4],
}

const ACCESS: &[&str] = &["tag=10"];

impl Hosts {
    pub(crate) fn add(topology: &Topology) -> Result<Self> {
        let access = |name, kind: Kind, device: &str| -> Result<Named> {
            Ok(Named {
                name,
                host: topology.host(kind, true, ACCESS)?,
                says: format!("{device}, access port of VLAN 10"),
            })
        };
        Ok(Self {
            all: [
                access("red", Kind::Tap, "TAP")?,
                access("green", Kind::Tap, "TAP")?,
                access("blue", Kind::Afxdp, "veth, AF_XDP")?,
                trunk(topology)?,
            ],
        })
    }

    pub(crate) fn print(&self) {
        for named in &self.all {
            println!(
                "    {:5}  {:11}  port {}  {}",
                named.name,
                named.host.v4.to_string(),
                named.host.port,
                named.says
            );
        }
    }

    /// The pairs that carry long traffic: equal kinds, and one of each.
    pub(crate) fn pairs(&self) -> [(&Named, &Named); 3] {
        let [red, green, blue, grey] = &self.all;
        [(red, green), (blue, grey), (red, blue)]
    }

    /// Every host pings every other; a lost answer is an error.
    pub(crate) fn ping_all(&self) -> Result<()> {
        for from in &self.all {
            let mut answered = Vec::new();
            for to in self.all.iter().filter(|to| to.name != from.name) {
                traffic::ping(&from.host.namespace, to.host.v4, 56, 3)
                    .and_then(|()| traffic::ping(&from.host.namespace, to.host.v6, 56, 3))
                    .with_context(|| format!("{} pings {}", from.name, to.name))?;
                answered.push(to.name);
            }
            println!("    {:>5} -> {}: answered", from.name, answered.join(", "));
        }
        Ok(())
    }
}

fn trunk(topology: &Topology) -> Result<Named> {
    let name = "grey";
    let host = topology.host(Kind::Afxdp, true, &["vlan_mode=trunk", "trunks=10"])?;
    let tagged = "eth0.10";
    let made = host.namespace.ip(&[
        "link",
        "add",
        "link",
        &host.device,
        "name",
        tagged,
        "type",
        "vlan",
        "id",
        "10",
    ]);
    if made.is_err() {
        let native = [
            "set-port",
            &topology.bridge,
            &host.port,
            "vlan_mode=native-untagged",
        ];
        topology
            .switch
            .vsctl(&[&native[..], &["tag=10"]].concat())?;
        return Ok(Named {
            name,
            host,
            says: "veth, AF_XDP, trunk of VLAN 10 whose native VLAN is 10 too: this kernel has no \
                   802.1Q devices, so the host cannot tag"
                .into(),
        });
    }
    host.namespace
        .ip(&["addr", "flush", "dev", &host.device, "scope", "global"])?;
    host.namespace.ip(&["link", "set", tagged, "up"])?;
    let addresses = [format!("{}/16", host.v4), format!("{}/64", host.v6)];
    device::addresses(&host.namespace, tagged, &[&addresses[0], &addresses[1]])?;
    Ok(Named {
        name,
        host,
        says: "veth, AF_XDP, trunk: the host sends tagged frames of VLAN 10".into(),
    })
}
