//! Ports: what they are, news of them, changes to them, and their counters.
//!
//! Bits of configuration and state have the same numbers in all versions, each version having some
//! of them. Bits of features moved after 1.0; values here have the numbers since 1.1.
//!
//! Spec: OpenFlow 1.0.1 §5.2.1, §5.3.3, §5.3.5; 1.3.5 §7.2.1, §7.3.4.3, §7.3.5.6; 1.4.1 §7.2.1 for
//! the layouts with properties.

use vswitch_flow::OfPort;
use vswitch_packet::MacAddr;

use crate::elapsed::{self, Elapsed};
use crate::error::{ErrorCode, OfError};
use crate::header::Version;
use crate::property;
use crate::wire::{Reader, Text, Writer, bits, words};

bits! {
    /// How a port is configured (`ofp_port_config`).
    PortConfig: u32 {
        /// Administratively down.
        PORT_DOWN = 1;
        /// No spanning tree (1.0).
        NO_STP = 1 << 1;
        /// Drops what it receives.
        NO_RECV = 1 << 2;
        /// Drops spanning tree packets that it receives (1.0).
        NO_RECV_STP = 1 << 3;
        /// Left out when flooding (1.0).
        NO_FLOOD = 1 << 4;
        /// Drops what is sent to it.
        NO_FWD = 1 << 5;
        /// Its packets cause no packet-in.
        NO_PACKET_IN = 1 << 6;
    }
}

impl PortConfig {
    /// The bits that a version has.
    #[must_use]
    pub const fn known(version: Version) -> Self {
        match version {
            Version::V10 => Self(0x7f),
            Version::V13 | Version::V14 | Version::V15 => Self(0x65),
        }
    }
}

bits! {
    /// What a port's state is (`ofp_port_state`).
    PortState: u32 {
        /// No link.
        LINK_DOWN = 1;
        /// Blocked by a protocol outside of OpenFlow (since 1.1).
        BLOCKED = 1 << 1;
        /// Alive for fast failover (since 1.1).
        LIVE = 1 << 2;
        /// Spanning tree (1.0): learning but not forwarding.
        STP_LEARN = 1 << 8;
        /// Spanning tree (1.0): learning and forwarding.
        STP_FORWARD = 2 << 8;
        /// Spanning tree (1.0): blocked.
        STP_BLOCK = 3 << 8;
    }
}

impl PortState {
    const fn known(version: Version) -> Self {
        match version {
            Version::V10 => Self(0x301),
            Version::V13 | Version::V14 | Version::V15 => Self(0x7),
        }
    }
}

bits! {
    /// Speeds and media (`ofp_port_features`), numbered as since 1.1.
    PortFeatures: u32 {
        /// 10 Mb/s half duplex.
        MB10_HD = 1;
        /// 10 Mb/s.
        MB10_FD = 1 << 1;
        /// 100 Mb/s half duplex.
        MB100_HD = 1 << 2;
        /// 100 Mb/s.
        MB100_FD = 1 << 3;
        /// 1 Gb/s half duplex.
        GB1_HD = 1 << 4;
        /// 1 Gb/s.
        GB1_FD = 1 << 5;
        /// 10 Gb/s.
        GB10_FD = 1 << 6;
        /// 40 Gb/s (since 1.1).
        GB40_FD = 1 << 7;
        /// 100 Gb/s (since 1.1).
        GB100_FD = 1 << 8;
        /// 1 Tb/s (since 1.1).
        TB1_FD = 1 << 9;
        /// Another speed (since 1.1).
        OTHER = 1 << 10;
        /// Copper.
        COPPER = 1 << 11;
        /// Fibre.
        FIBER = 1 << 12;
        /// Finds its speed by itself.
        AUTONEG = 1 << 13;
        /// Pause frames.
        PAUSE = 1 << 14;
        /// Pause frames in one direction.
        PAUSE_ASYM = 1 << 15;
    }
}

impl PortFeatures {
    /// Bits that have the same number in 1.0.
    const SPEEDS_10: u32 = 0x7f;
    /// Medium and pause lie this much lower in 1.0.
    const MEDIUM_SHIFT_10: u32 = 4;

    fn decode(from: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let bits = from.u32()?;
        Ok(match version {
            Version::V10 => Self(bits & Self::SPEEDS_10 | (bits & 0xf80) << Self::MEDIUM_SHIFT_10),
            Version::V13 | Version::V14 | Version::V15 => Self(bits & 0xffff),
        })
    }

    fn encode(self, to: &mut Writer, version: Version) {
        to.u32(match version {
            Version::V10 => self.0 & Self::SPEEDS_10 | (self.0 & 0xf800) >> Self::MEDIUM_SHIFT_10,
            Version::V13 | Version::V14 | Version::V15 => self.0 & 0xffff,
        });
    }

    /// The fastest of the speeds, kilobits a second; 0 if none is named.
    #[must_use]
    pub fn fastest(self) -> u32 {
        const SPEEDS: [(u32, u32); 7] = [
            (1 << 9, 1_000_000_000),
            (1 << 8, 100_000_000),
            (1 << 7, 40_000_000),
            (1 << 6, 10_000_000),
            (3 << 4, 1_000_000),
            (3 << 2, 100_000),
            (3, 10_000),
        ];
        let mut speeds = SPEEDS.iter();
        let fastest = speeds.find(|(bits, _)| self.0 & bits != 0);
        fastest.map_or(0, |(_, speed)| *speed)
    }
}

/// Room for a port's name, bytes with the zero at its end.
pub const NAME_SIZE: usize = 16;

/// What a port is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortDesc {
    /// Its number.
    pub port: OfPort,
    /// Its Ethernet address.
    pub mac: MacAddr,
    /// Its name.
    pub name: Text<NAME_SIZE>,
    /// How it is configured.
    pub config: PortConfig,
    /// How it is.
    pub state: PortState,
    /// Features in use.
    pub current: PortFeatures,
    /// Features it tells its peer of.
    pub advertised: PortFeatures,
    /// Features it has.
    pub supported: PortFeatures,
    /// Features its peer tells of.
    pub peer: PortFeatures,
    /// Speed in use, kilobits a second (since 1.1; read from the features in 1.0).
    pub current_speed: u32,
    /// Highest speed, kilobits a second (since 1.1; read from the features in 1.0).
    pub max_speed: u32,
}

impl PortDesc {
    /// A port of which nothing more is known.
    #[must_use]
    pub fn new(port: OfPort, mac: MacAddr, name: &str) -> Self {
        Self {
            port,
            mac,
            name: Text::from(name),
            config: PortConfig::default(),
            state: PortState::default(),
            current: PortFeatures::default(),
            advertised: PortFeatures::default(),
            supported: PortFeatures::default(),
            peer: PortFeatures::default(),
            current_speed: 0,
            max_speed: 0,
        }
    }

    pub(crate) fn decode_list(
        from: &mut Reader<'_>,
        version: Version,
    ) -> Result<Vec<Self>, OfError> {
        let mut ports = Vec::new();
        while !from.is_empty() {
            ports.push(Self::decode(from, version)?);
        }
        Ok(ports)
    }

    pub(crate) fn decode(from: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        match version {
            Version::V10 => {
                let (port, mac) = (from.port16()?, from.mac()?);
                let mut desc = Self::new(port, mac, "");
                desc.name_and_state(from, version)?;
                desc.features(from, version)?;
                desc.current_speed = desc.current.fastest();
                desc.max_speed = desc.supported.fastest();
                Ok(desc)
            }
            Version::V13 => {
                let port = from.port()?;
                from.skip(4)?;
                let mut desc = Self::new(port, from.mac()?, "");
                from.skip(2)?;
                desc.name_and_state(from, version)?;
                desc.features(from, version)?;
                desc.current_speed = from.u32()?;
                desc.max_speed = from.u32()?;
                Ok(desc)
            }
            Version::V14 | Version::V15 => Self::decode_14(from),
        }
    }

    fn decode_14(from: &mut Reader<'_>) -> Result<Self, OfError> {
        let version = Version::V14;
        let mut sized = from.clone();
        let port = sized.port()?;
        let mut from = from.part(usize::from(sized.u16()?))?;
        from.skip(8)?;
        let mut desc = Self::new(port, from.mac()?, "");
        from.skip(2)?;
        desc.name_and_state(&mut from, version)?;
        while !from.is_empty() {
            let (kind, mut value) = property::read(&mut from)?;
            // Optical ports and experimenters have more to say, which the switch has no use for.
            if kind == ETHERNET {
                value.skip(4)?;
                desc.features(&mut value, version)?;
                desc.current_speed = value.u32()?;
                desc.max_speed = value.u32()?;
                value.finish()?;
            }
        }
        Ok(desc)
    }

    fn name_and_state(&mut self, from: &mut Reader<'_>, version: Version) -> Result<(), OfError> {
        self.name = from.text()?;
        self.config = PortConfig(from.u32()? & PortConfig::known(version).0);
        self.state = PortState(from.u32()? & PortState::known(version).0);
        Ok(())
    }

    fn features(&mut self, from: &mut Reader<'_>, version: Version) -> Result<(), OfError> {
        self.current = PortFeatures::decode(from, version)?;
        self.advertised = PortFeatures::decode(from, version)?;
        self.supported = PortFeatures::decode(from, version)?;
        self.peer = PortFeatures::decode(from, version)?;
        Ok(())
    }

    pub(crate) fn encode(&self, to: &mut Writer, version: Version) {
        let start = to.size();
        let length = match version {
            Version::V10 => {
                to.port16(self.port);
                to.mac(self.mac);
                None
            }
            Version::V13 => {
                to.port(self.port);
                to.zeros(4);
                to.mac(self.mac);
                to.zeros(2);
                None
            }
            Version::V14 | Version::V15 => {
                to.port(self.port);
                let length = to.length();
                to.zeros(2);
                to.mac(self.mac);
                to.zeros(2);
                Some(length)
            }
        };
        to.text(&self.name);
        to.u32(self.config.0 & PortConfig::known(version).0);
        to.u32(self.state.0 & PortState::known(version).0);
        let features = |to: &mut Writer| {
            for features in [self.current, self.advertised, self.supported, self.peer] {
                features.encode(to, version);
            }
        };
        let speeds = |to: &mut Writer| {
            to.u32(self.current_speed);
            to.u32(self.max_speed);
        };
        match version {
            Version::V10 => features(to),
            Version::V13 => {
                features(to);
                speeds(to);
            }
            Version::V14 | Version::V15 => property::write(to, ETHERNET, |to| {
                to.zeros(4);
                features(to);
                speeds(to);
            }),
        }
        if let Some(length) = length {
            to.fill_length(length, start, "a port's description");
        }
    }
}

/// The property of Ethernet ports, in descriptions, changes and counters alike.
const ETHERNET: u16 = 0;

words! {
    /// What happened to a port (`ofp_port_reason`).
    PortReason: u8 {
        /// It is new.
        Add = 0,
        /// It is gone.
        Delete = 1,
        /// Something about it changed.
        Modify = 2,
    }
}

/// News of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortStatus {
    /// What happened.
    pub reason: PortReason,
    /// The port as it is now, or was last.
    pub desc: PortDesc,
}

impl PortStatus {
    pub(crate) fn decode(from: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let reason = PortReason::from_number(from.u8()?)
            .ok_or(ErrorCode::NxbrcBadReason.about("a port status"))?;
        from.skip(7)?;
        let desc = PortDesc::decode(from, version)?;
        Ok(Self { reason, desc })
    }

    pub(crate) fn encode(&self, to: &mut Writer, version: Version) {
        to.u8(self.reason.number());
        to.zeros(7);
        self.desc.encode(to, version);
    }
}

/// A change to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortMod {
    /// Which port.
    pub port: OfPort,
    /// Its Ethernet address, to be sure that it is the one meant.
    pub mac: MacAddr,
    /// The new configuration, in the bits of `mask`.
    pub config: PortConfig,
    /// Which bits change.
    pub mask: PortConfig,
    /// What it is to tell its peer; none leaves that as it is.
    pub advertise: PortFeatures,
}

impl PortMod {
    pub(crate) fn decode(from: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let (port, mac) = if version == Version::V10 {
            (from.port16()?, from.mac()?)
        } else {
            let port = from.port()?;
            from.skip(4)?;
            let mac = from.mac()?;
            from.skip(2)?;
            (port, mac)
        };
        let known = PortConfig::known(version).0;
        let mut change = Self {
            port,
            mac,
            config: PortConfig(from.u32()? & known),
            mask: PortConfig(from.u32()? & known),
            advertise: PortFeatures::default(),
        };
        if version < Version::V14 {
            change.advertise = PortFeatures::decode(from, version)?;
            from.skip(4)?;
        }
        while !from.is_empty() && version >= Version::V14 {
            let (kind, mut value) = property::read(from)?;
            if kind != ETHERNET {
                return Err(property::unknown(kind, "a change to a port"));
            }
            change.advertise = PortFeatures::decode(&mut value, version)?;
            value.finish()?;
        }
        Ok(change)
    }

    pub(crate) fn encode(&self, to: &mut Writer, version: Version) {
        if version == Version::V10 {
            to.port16(self.port);
            to.mac(self.mac);
        } else {
            to.port(self.port);
            to.zeros(4);
            to.mac(self.mac);
            to.zeros(2);
        }
        let known = PortConfig::known(version).0;
        to.u32(self.config.0 & known);
        to.u32(self.mask.0 & known);
        if version < Version::V14 {
            self.advertise.encode(to, version);
            to.zeros(4);
        } else if self.advertise != PortFeatures::default() {
            property::write(to, ETHERNET, |to| self.advertise.encode(to, version));
        }
    }
}

/// A port's counters; `u64::MAX` where something is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortStats {
    /// Which port.
    pub port: OfPort,
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Received packets that were dropped.
    pub rx_dropped: u64,
    /// Packets that were dropped instead of sent.
    pub tx_dropped: u64,
    /// Errors in receiving, those below included.
    pub rx_errors: u64,
    /// Errors in sending.
    pub tx_errors: u64,
    /// Frames that did not end at a byte.
    pub rx_frame_err: u64,
    /// Packets for which there was no room.
    pub rx_over_err: u64,
    /// Wrong checksums of frames.
    pub rx_crc_err: u64,
    /// Collisions.
    pub collisions: u64,
    /// How long the port has been there, if that is known (since 1.3).
    pub duration: Option<Elapsed>,
}

impl PortStats {
    /// A port of which nothing is counted.
    #[must_use]
    pub fn new(port: OfPort) -> Self {
        Self {
            port,
            rx_packets: u64::MAX,
            tx_packets: u64::MAX,
            rx_bytes: u64::MAX,
            tx_bytes: u64::MAX,
            rx_dropped: u64::MAX,
            tx_dropped: u64::MAX,
            rx_errors: u64::MAX,
            tx_errors: u64::MAX,
            rx_frame_err: u64::MAX,
            rx_over_err: u64::MAX,
            rx_crc_err: u64::MAX,
            collisions: u64::MAX,
            duration: None,
        }
    }

    /// The counters that every port has, in the order of the wire.
    fn traffic(&mut self) -> [&mut u64; 8] {
        [
            &mut self.rx_packets,
            &mut self.tx_packets,
            &mut self.rx_bytes,
            &mut self.tx_bytes,
            &mut self.rx_dropped,
            &mut self.tx_dropped,
            &mut self.rx_errors,
            &mut self.tx_errors,
        ]
    }

    /// The counters of Ethernet ports, in the order of the wire.
    fn ethernet(&mut self) -> [&mut u64; 4] {
        [
            &mut self.rx_frame_err,
            &mut self.rx_over_err,
            &mut self.rx_crc_err,
            &mut self.collisions,
        ]
    }

    pub(crate) fn decode(from: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        if version >= Version::V14 {
            return Self::decode_14(from);
        }
        let port = if version == Version::V10 {
            let port = from.port16()?;
            from.skip(6)?;
            port
        } else {
            let port = from.port()?;
            from.skip(4)?;
            port
        };
        let mut stats = Self::new(port);
        read_counters(from, stats.traffic())?;
        read_counters(from, stats.ethernet())?;
        if version == Version::V13 {
            stats.duration = elapsed::decode(from)?;
        }
        Ok(stats)
    }

    fn decode_14(from: &mut Reader<'_>) -> Result<Self, OfError> {
        let mut from = from.part(usize::from(from.peek_u16()?))?;
        from.skip(4)?;
        let mut stats = Self::new(from.port()?);
        stats.duration = elapsed::decode(&mut from)?;
        read_counters(&mut from, stats.traffic())?;
        while !from.is_empty() {
            let (kind, mut value) = property::read(&mut from)?;
            if kind == ETHERNET {
                value.skip(4)?;
                read_counters(&mut value, stats.ethernet())?;
                value.finish()?;
            }
        }
        Ok(stats)
    }

    pub(crate) fn encode(&self, to: &mut Writer, version: Version) {
        let mut stats = *self;
        let counters = |to: &mut Writer, counters: &[&mut u64]| {
            counters.iter().for_each(|counter| to.u64(**counter));
        };
        match version {
            Version::V10 => {
                to.port16(self.port);
                to.zeros(6);
                counters(to, &stats.traffic());
                counters(to, &stats.ethernet());
            }
            Version::V13 => {
                to.port(self.port);
                to.zeros(4);
                counters(to, &stats.traffic());
                counters(to, &stats.ethernet());
                elapsed::encode(self.duration, to);
            }
            Version::V14 | Version::V15 => {
                let start = to.size();
                let length = to.length();
                to.zeros(2);
                to.port(self.port);
                elapsed::encode(self.duration, to);
                counters(to, &stats.traffic());
                property::write(to, ETHERNET, |to| {
                    to.zeros(4);
                    counters(to, &stats.ethernet());
                });
                to.fill_length(length, start, "a port's counters");
            }
        }
    }
}

fn read_counters<const N: usize>(
    from: &mut Reader<'_>,
    counters: [&mut u64; N],
) -> Result<(), OfError> {
    for counter in counters {
        *counter = from.u64()?;
    }
    Ok(())
}
