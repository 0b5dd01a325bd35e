//! `vsctl shutdown` ends both processes and gives every device back as it was.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use vswitch_tests::topology::{Host, Kind, Topology};
use vswitch_tests::{device, traffic};

use crate::failed;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("shutdown/gives_every_device_back", || {
            gives_back().map_err(|error| failed(&error))
        }),
        Trial::test("shutdown/del_port_gives_its_device_back", || {
            del_port_gives_back().map_err(|error| failed(&error))
        }),
    ]
}

/// Devices of the switch's namespace with all that others may have hung on them.
fn devices(topology: &Topology) -> Result<String> {
    topology.here.ip(&["-br", "link", "show"])
}

fn gives_back() -> Result<()> {
    let mut topology = Topology::new(1500)?;
    let [afxdp, packet] = [
        topology.host(Kind::Afxdp, true, &[])?,
        topology.host(Kind::Packet, true, &[])?,
    ];
    let tap = topology.host(Kind::Tap, true, &[])?;
    let internal = topology.host(Kind::Internal, false, &[])?;
    for host in [&packet, &tap, &internal] {
        traffic::ping(&afxdp.namespace, host.v4, 56, 2)?;
    }
    ensure!(device::exists(&topology.here, &topology.bridge), "no LOCAL");

    topology.switch.shut_down()?;

    for (namespace, name) in [
        (&tap.namespace, tap.device.as_str()),
        (&topology.here, &internal.port),
        (&topology.here, &topology.bridge),
    ] {
        ensure!(
            !device::exists(namespace, name),
            "{name} was the switch's own and is still there"
        );
    }
    for host in [&afxdp, &packet] {
        is_the_users_again(&topology, host)?;
    }
    Ok(())
}

fn del_port_gives_back() -> Result<()> {
    let topology = Topology::new(1500)?;
    let before = devices(&topology)?;
    for kind in [Kind::Afxdp, Kind::Packet] {
        let host = topology.host(kind, true, &[])?;
        topology.remove(&host)?;
        is_the_users_again(&topology, &host)?;
        topology.here.ip(&["link", "del", &host.port])?;
    }
    let tap = topology.host(Kind::Tap, true, &[])?;
    topology.remove(&tap)?;
    ensure!(
        !device::exists(&tap.namespace, &tap.device),
        "the TAP is still there"
    );
    // Devices of an earlier trial may go meanwhile: the kernel takes a namespace apart in its own
    // time.
    let after = devices(&topology)?;
    let is_new = |line: &&str| !before.lines().any(|old| old == *line);
    let left: Vec<_> = after.lines().filter(is_new).collect();
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

/// A veth end that the switch let go carries its owner's own traffic, whole and in both
/// directions: no program and no filter is left on it.
fn is_the_users_again(topology: &Topology, host: &Host) -> Result<()> {
    let shown = topology
        .here
        .ip(&["-d", "link", "show", "dev", &host.port])?;
    ensure!(
        !shown.contains("xdp"),
        "XDP is left on {}: {shown}",
        host.port
    );
    let own = format!("10.77.255.{}", 1 + host.port.len());
    device::addresses(&topology.here, &host.port, &[&format!("{own}/16")])?;
    traffic::ping(&host.namespace, own.parse()?, 3200, 2)?;
    traffic::tcp(&host.namespace, &topology.here, own.parse()?, 5_000_000)?;
    topology.here.ip(&["addr", "flush", "dev", &host.port])?;
    Ok(())
}
