//! A switch with hosts: each port of some kind, and a namespace with addresses behind it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::netns::Namespace;
use crate::process::Switch;
use crate::{device, wait};

/// The kinds of port that have a host behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Afxdp,
    /// AF_XDP with the kernel's generic XDP hook, as a driver without its own gets it.
    AfxdpGeneric,
    Tap,
    Packet,
    Internal,
}

impl Kind {
    /// What `type=` and `mode=` say.
    fn settings(self) -> &'static [&'static str] {
        match self {
            Self::Afxdp => &["type=afxdp"],
            Self::AfxdpGeneric => &["type=afxdp", "mode=generic"],
            Self::Tap => &["type=tap"],
            Self::Packet => &["type=packet"],
            Self::Internal => &["type=internal"],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Afxdp => "afxdp",
            Self::AfxdpGeneric => "afxdp-generic",
            Self::Tap => "tap",
            Self::Packet => "packet",
            Self::Internal => "internal",
        })
    }
}

/// A host on the switch.
#[derive(Debug)]
pub struct Host {
    /// Where the host is: a namespace of its own, or the switch's for an internal port.
    pub namespace: Namespace,
    /// The port's name on the bridge.
    pub port: String,
    /// The host's device.
    pub device: String,
    pub kind: Kind,
    pub v4: IpAddr,
    pub v6: IpAddr,
}

/// How long the kernel may take to remove a namespace.
const PATIENCE: Duration = Duration::from_secs(5);

/// The device's name inside a host's own namespace.
const INSIDE: &str = "eth0";

/// Numbers hosts through the whole run, so that no two ever share a name or an address.
static NEXT: AtomicU32 = AtomicU32::new(1);

/// One bridge, and the hosts on it.
#[derive(Debug)]
pub struct Topology {
    pub switch: Switch,
    /// The namespace of the switch itself.
    pub here: Namespace,
    pub bridge: String,
    mtu: u32,
}

impl Topology {
    /// A running switch with one bridge that forwards, without ports.
    pub fn new(mtu: u32) -> Result<Self> {
        Self::on(Switch::start()?, mtu)
    }

    /// The same on a switch that runs already.
    pub fn on(switch: Switch, mtu: u32) -> Result<Self> {
        Self::with_bridge(switch, "br0", mtu)
    }

    /// The same with a name for the bridge, whose device must not meet another switch's.
    pub fn with_bridge(switch: Switch, bridge: &str, mtu: u32) -> Result<Self> {
        switch.vsctl(&["add-br", bridge])?;
        Ok(Self {
            switch,
            here: Namespace::here()?,
            bridge: bridge.to_owned(),
            mtu,
        })
    }

    /// Adds a port with a host behind it. An internal port's device stays with the switch when
    /// `moved` is false; there, only one of them can have addresses of the common subnet.
    pub fn host(&self, kind: Kind, moved: bool, settings: &[&str]) -> Result<Host> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        self.add_host(number, format!("p{number}"), kind, moved, settings)
    }

    /// The same with a name for the port, whose host is moved.
    pub fn named_host(&self, port: &str, kind: Kind) -> Result<Host> {
        // An earlier host's device of this name goes with its namespace, when the kernel gets to it.
        wait::until(PATIENCE, "the name of a device is free", || {
            Ok((!device::exists(&self.here, port)).then_some(()))
        })?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        self.add_host(number, port.to_owned(), kind, true, &[])
    }

    fn add_host(
        &self,
        number: u32,
        port: String,
        kind: Kind,
        moved: bool,
        settings: &[&str],
    ) -> Result<Host> {
        let name = format!("h{number}");
        let mtu_setting = format!("mtu={}", self.mtu);
        let stays = kind == Kind::Internal && !moved;
        let namespace = if stays {
            Namespace::here()?
        } else {
            Namespace::create(&name)?
        };
        let device = if stays {
            port.clone()
        } else {
            INSIDE.to_owned()
        };
        let has_veth = matches!(kind, Kind::Afxdp | Kind::AfxdpGeneric | Kind::Packet);
        if has_veth {
            device::veth((&self.here, &port), (&namespace, INSIDE), self.mtu)?;
        }
        let mut arguments = vec!["add-port", &self.bridge, &port];
        arguments.extend(kind.settings());
        arguments.push(&mtu_setting);
        arguments.extend(settings);
        self.switch
            .vsctl(&arguments)
            .with_context(|| format!("adding a port of type {kind}"))?;
        if stays {
            self.here.ip(&["link", "set", &port, "up"])?;
        } else if !has_veth {
            device::move_to(&self.here, &port, &namespace, INSIDE)?;
        }
        let number_bytes = u16::try_from(number)
            .context("too many hosts")?
            .to_be_bytes();
        let v4 = Ipv4Addr::new(10, 77, number_bytes[0], number_bytes[1]);
        let v6 = Ipv6Addr::new(
            0xfd00,
            0x77,
            0,
            0,
            0,
            0,
            0,
            u16::from_be_bytes(number_bytes),
        );
        device::addresses(
            &namespace,
            &device,
            &[&format!("{v4}/16"), &format!("{v6}/64")],
        )?;
        device::await_carrier(&namespace, &device)?;
        Ok(Host {
            namespace,
            port,
            device,
            kind,
            v4: v4.into(),
            v6: v6.into(),
        })
    }

    /// Takes a host's port away again; the host's namespace goes when `host` is dropped.
    pub fn remove(&self, host: &Host) -> Result<()> {
        self.switch.vsctl(&["del-port", &self.bridge, &host.port])?;
        Ok(())
    }
}
