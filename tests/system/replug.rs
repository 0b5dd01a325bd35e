//! A device is moved, renamed, set down and up, or deleted and made again while its port is
//! attached: the switch notices and goes on by itself.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use vswitch_tests::netns::Namespace;
use vswitch_tests::topology::{Host, Kind, Topology};
use vswitch_tests::{device, traffic};

use crate::failed;

/// How long the switch may take to notice.
const NOTICE: Duration = Duration::from_secs(3);

/// Ports whose device is the user's own and can be taken from under the switch.
const ON_VETH: [Kind; 2] = [Kind::Afxdp, Kind::Packet];

/// What is done to the device of an attached port.
type Change = fn(&Topology, &Host) -> Result<()>;

pub(crate) fn trials() -> Vec<Trial> {
    let changes: [(&str, Change); 4] = [
        ("down_and_up", down_and_up),
        ("renamed", renamed),
        ("moved_to_another_namespace", moved),
        ("deleted_and_made_again", made_again),
    ];
    let mut trials = Vec::new();
    for kind in ON_VETH {
        for (name, change) in changes {
            trials.push(Trial::test(format!("replug/{name}/{kind}"), move || {
                try_change(kind, change).map_err(|error| failed(&error))
            }));
        }
    }
    trials.push(Trial::test("replug/down_and_up/tap", || {
        try_change(Kind::Tap, tap_down_and_up).map_err(|error| failed(&error))
    }));
    trials
}

/// Two hosts, of which the second's device is changed.
fn try_change(kind: Kind, change: Change) -> Result<()> {
    let topology = Topology::new(1500)?;
    let steady = topology.host(Kind::Tap, true, &[])?;
    let changed = topology.host(kind, true, &[])?;
    traffic::ping(&steady.namespace, changed.v4, 56, 2)?;
    let outcome = change(&topology, &changed).and_then(|()| {
        // In this direction first: a device made again has another MAC address, which its owner's
        // own question tells the neighbours.
        traffic::await_ping(&changed.namespace, steady.v4, NOTICE)?;
        traffic::await_ping(&steady.namespace, changed.v4, NOTICE)?;
        traffic::tcp(&steady.namespace, &changed.namespace, changed.v4, 2_000_000)?;
        let ports = topology.switch.vsctl(&["list-ports", &topology.bridge])?;
        ensure!(
            ports.split_whitespace().any(|port| port == changed.port),
            "the port is gone from its bridge: {ports}"
        );
        Ok(())
    });
    outcome.with_context(|| format!("the switch said:\n{}\n", topology.switch.log_tail()))
}

fn down_and_up(topology: &Topology, host: &Host) -> Result<()> {
    topology.here.ip(&["link", "set", &host.port, "down"])?;
    topology.here.ip(&["link", "set", &host.port, "up"])?;
    Ok(())
}

fn tap_down_and_up(_: &Topology, host: &Host) -> Result<()> {
    host.namespace.ip(&["link", "set", &host.device, "down"])?;
    host.namespace.ip(&["link", "set", &host.device, "up"])?;
    Ok(())
}

fn renamed(topology: &Topology, host: &Host) -> Result<()> {
    let new_name = format!("{}x", host.port);
    topology.here.ip(&["link", "set", &host.port, "down"])?;
    topology
        .here
        .ip(&["link", "set", &host.port, "name", &new_name])?;
    topology.here.ip(&["link", "set", &new_name, "up"])?;
    Ok(())
}

/// The switch's end goes to a third namespace, which lives on after this function as long as the
/// device's socket does.
fn moved(topology: &Topology, host: &Host) -> Result<()> {
    let elsewhere = Namespace::create(&format!("{}-else", host.port))?;
    device::move_to(&topology.here, &host.port, &elsewhere, &host.port)?;
    // Removing the namespace would remove the device; the sandbox removes both in the end.
    std::mem::forget(elsewhere);
    Ok(())
}

fn made_again(topology: &Topology, host: &Host) -> Result<()> {
    topology.here.ip(&["link", "del", &host.port])?;
    device::veth(
        (&topology.here, &host.port),
        (&host.namespace, &host.device),
        1500,
    )?;
    let (v4, v6) = (format!("{}/16", host.v4), format!("{}/64", host.v6));
    device::addresses(&host.namespace, &host.device, &[&v4, &v6])
}
