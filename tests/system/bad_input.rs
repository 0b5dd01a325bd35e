//! A wrong command gets one clear sentence and status 1 (2 when the command line itself makes no
//! sense), and changes nothing.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use vswitch_tests::topology::{Kind, Topology};
use vswitch_tests::{device, traffic};

use crate::failed;

/// A command, and a word its refusal must contain: the thing that was wrong.
const REFUSED: &[(&[&str], &str)] = &[
    (&["add-br", "br0"], "br0"),
    (
        &["add-br", "a-name-that-is-too-long-for-linux"],
        "a-name-that-is-too-long-for-linux",
    ),
    (&["add-br", "with/slash"], "with/slash"),
    (&["add-br", "br1", "colour=blue"], "colour"),
    (&["add-br", "br1", "fail_mode=perhaps"], "perhaps"),
    (&["del-br", "br9"], "br9"),
    (&["list-ports", "br9"], "br9"),
    (&["add-port", "br9", "x0"], "br9"),
    (&["add-port", "br0", "missing0", "type=afxdp"], "missing0"),
    (&["add-port", "br0", "missing0", "type=packet"], "missing0"),
    (&["add-port", "br0", "x0", "type=teapot"], "teapot"),
    (
        &["add-port", "br0", "x0", "type=tap", "colour=blue"],
        "colour",
    ),
    (&["add-port", "br0", "x0", "type=tap", "tag=4096"], "4096"),
    (&["add-port", "br0", "x0", "type=tap", "tag=many"], "many"),
    (
        &["add-port", "br0", "x0", "type=tap", "of_port=0"],
        "of_port",
    ),
    (&["add-port", "br0", "x0", "type=tap", "mtu=10"], "mtu"),
    (
        &["add-port", "br0", "x0", "type=tap", "netns=nowhere"],
        "nowhere",
    ),
    (
        &["add-port", "br0", "x0", "type=tap", "vlan_mode=sideways"],
        "sideways",
    ),
    (
        &["add-port", "br0", "name-that-is-too-long", "type=tap"],
        "name-that-is-too-long",
    ),
    (&["del-port", "br0", "missing0"], "missing0"),
    (&["set-port", "br0", "missing0", "tag=5"], "missing0"),
    (&["get-port", "br0", "missing0"], "missing0"),
    (&["set-br", "br0", "mac_aging_time=soon"], "soon"),
    (&["set-br", "br9", "mac_aging_time=10"], "br9"),
    (&["fdb", "show", "br9"], "br9"),
];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("bad_input/is_refused_and_changes_nothing", || {
            refused().map_err(|e| failed(&e))
        }),
        Trial::test("bad_input/second_control_process_is_refused", || {
            second_is_refused().map_err(|e| failed(&e))
        }),
    ]
}

fn refused() -> Result<()> {
    let topology = Topology::new(1500)?;
    let host = topology.host(Kind::Tap, true, &[])?;
    let duplicate = ["add-port", "br0", &host.port, "type=tap"];
    let state = || -> Result<[String; 4]> {
        let bridges = topology.switch.vsctl(&["list-br"])?;
        let ports = topology.switch.vsctl(&["list-ports", "br0"])?;
        let settings = topology.switch.vsctl(&["get-port", "br0", &host.port])?;
        let devices = topology.here.ip(&["-br", "link", "show"])?;
        Ok([bridges, ports, settings, devices])
    };
    let before = state()?;
    let commands = REFUSED
        .iter()
        .map(|(command, word)| (command.to_vec(), *word))
        .chain([(duplicate.to_vec(), host.port.as_str())]);
    let mut wrong = Vec::new();
    for (command, word) in commands {
        let shown = command.join(" ");
        let answer = topology.switch.try_vsctl(&command)?;
        let said = String::from_utf8_lossy(&answer.stderr);
        let said = said.trim();
        if !matches!(answer.status.code(), Some(1 | 2)) {
            wrong.push(format!("`{shown}`: {}, want 1: {said}", answer.status));
        } else if said.lines().count() != 1 {
            wrong.push(format!("`{shown}` said more or less than one line: {said}"));
        } else if !said.contains(word) {
            wrong.push(format!("`{shown}` does not name {word:?}: {said}"));
        }
        let after = state().with_context(|| format!("after `{shown}`"))?;
        if after != before {
            wrong.push(format!("`{shown}` changed {before:?} to {after:?}"));
            break;
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn second_is_refused() -> Result<()> {
    let topology = Topology::new(1500)?;
    let a = topology.host(Kind::Tap, true, &[])?;
    let b = topology.host(Kind::Tap, true, &[])?;
    traffic::ping(&a.namespace, b.v4, 56, 2)?;
    let datapath = topology.switch.datapath_pid();

    let second = topology.switch.second_control()?;
    let said = String::from_utf8_lossy(&second.stderr);
    ensure!(
        second.status.code() == Some(1),
        "the second vswitchd ended with {}: {said}",
        second.status
    );
    let rundir = topology.switch.rundir().to_string_lossy();
    ensure!(
        said.contains(rundir.as_ref()),
        "it does not say where: {said}"
    );

    ensure!(topology.switch.datapath_pid() == datapath);
    topology.switch.vsctl(&["show"])?;
    ensure!(device::has_carrier(&a.namespace, &a.device)?);
    traffic::ping(&a.namespace, b.v4, 56, 2)
}
