//! Network devices as tests need them: veth pairs, addresses, MTU, moves and renames, made with
//! the programs that users have (`ip`, `ethtool`).

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::netns::Namespace;
use crate::wait;

/// Makes a veth pair whose ends lie in two namespaces, both up, offloads as the kernel makes them.
pub fn veth(a: (&Namespace, &str), b: (&Namespace, &str), mtu: u32) -> Result<()> {
    let mtu = mtu.to_string();
    let mut arguments = vec!["link", "add", a.1, "mtu", &mtu, "type", "veth"];
    arguments.extend(["peer", "name", b.1, "mtu", &mtu]);
    if let Some(name) = b.0.name() {
        arguments.extend(["netns", name]);
    }
    a.0.ip(&arguments)?;
    a.0.ip(&["link", "set", a.1, "up"])?;
    b.0.ip(&["link", "set", b.1, "up"])?;
    Ok(())
}

/// Moves a device to another namespace under a new name, and sets it up there.
pub fn move_to(from: &Namespace, device: &str, to: &Namespace, new_name: &str) -> Result<()> {
    let name = to
        .name()
        .context("only a named namespace can be moved to")?;
    from.ip(&["link", "set", device, "netns", name, "name", new_name])?;
    to.ip(&["link", "set", new_name, "up"])?;
    Ok(())
}

/// Gives a device addresses with their prefix lengths, usable at once.
pub fn addresses(namespace: &Namespace, device: &str, addresses: &[&str]) -> Result<()> {
    for address in addresses {
        namespace.ip(&["addr", "add", address, "dev", device, "nodad"])?;
    }
    Ok(())
}

/// Whether a device is there.
pub fn exists(namespace: &Namespace, device: &str) -> bool {
    namespace.ip(&["link", "show", "dev", device]).is_ok()
}

/// A device's Ethernet address.
pub fn mac(namespace: &Namespace, device: &str) -> Result<[u8; 6]> {
    let line = namespace.ip(&["-o", "link", "show", "dev", device])?;
    mac_after(&line, "link/ether")
}

/// The Ethernet address that a namespace's kernel has found for an address of its network.
pub fn neighbour(namespace: &Namespace, address: IpAddr) -> Result<[u8; 6]> {
    let line = namespace.ip(&["neigh", "show", &address.to_string()])?;
    mac_after(&line, "lladdr")
}

fn mac_after(line: &str, word: &str) -> Result<[u8; 6]> {
    let mut words = line.split_whitespace().skip_while(|at| *at != word);
    let text = words.nth(1).context("no MAC address")?;
    let bytes: Vec<u8> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16))
        .collect::<Result<_, _>>()?;
    bytes.try_into().ok().context("a MAC address has six bytes")
}

/// Waits until a device is there and has a carrier.
pub fn await_carrier(namespace: &Namespace, device: &str) -> Result<()> {
    wait::until(
        Duration::from_secs(5),
        &format!("{device} has a carrier"),
        || Ok(has_carrier(namespace, device)?.then_some(())),
    )
}

/// Whether a device's link is up from its user's side.
pub fn has_carrier(namespace: &Namespace, device: &str) -> Result<bool> {
    let shown = namespace.ip(&["-o", "link", "show", "dev", device])?;
    Ok(shown.contains("LOWER_UP"))
}

/// Asserts that a device still has an offload on, as the kernel made it.
pub fn ensure_offload(namespace: &Namespace, device: &str, feature: &str) -> Result<()> {
    let shown = namespace.must("ethtool", &["-k", device])?;
    let state = shown
        .lines()
        .find_map(|line| line.trim().strip_prefix(feature)?.strip_prefix(": "))
        .with_context(|| format!("{device} knows no {feature}"))?;
    ensure!(
        state.starts_with("on"),
        "{device}: {feature} is {state}; nobody should have touched it"
    );
    Ok(())
}
