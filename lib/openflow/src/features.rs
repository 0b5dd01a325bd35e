//! What the switch is, told once at the beginning (OpenFlow 1.0.1 §5.3.1, 1.3.5 §7.3.1).

use crate::error::OfError;
use crate::header::Version;
use crate::port::PortDesc;
use crate::wire::{Reader, Writer, bits};

bits! {
    /// `ofp_capabilities`. Bits mean different things in different versions.
    Capabilities: u32 {
        /// Flow statistics.
        FLOW_STATS = 1;
        /// Table statistics.
        TABLE_STATS = 1 << 1;
        /// Port statistics.
        PORT_STATS = 1 << 2;
        /// Spanning tree (1.0).
        STP = 1 << 3;
        /// Group statistics (since 1.1).
        GROUP_STATS = 1 << 3;
        /// Fragments can be reassembled.
        IP_REASM = 1 << 5;
        /// Queue statistics.
        QUEUE_STATS = 1 << 6;
        /// The addresses within ARP can be matched (1.0).
        ARP_MATCH_IP = 1 << 7;
        /// Ports that would loop are blocked (since 1.2).
        PORT_BLOCKED = 1 << 8;
        /// Bundles (since 1.4).
        BUNDLES = 1 << 9;
        /// Flow monitors (since 1.4).
        FLOW_MONITORING = 1 << 10;
    }
}

/// The answer to a request for features.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SwitchFeatures {
    /// The switch's number: 16 bits of its choice, then usually an Ethernet address.
    pub datapath_id: u64,
    /// Packets it can keep for a controller.
    pub buffers: u32,
    /// Tables it has.
    pub tables: u8,
    /// Which connection this is, 0 for the main one (since 1.3).
    pub auxiliary: u8,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Bit `n` is set if action `n` of OpenFlow 1.0 is supported (1.0 only).
    pub actions: u32,
    /// Its ports (1.0 only; later versions ask for them by themselves).
    pub ports: Vec<PortDesc>,
}

impl SwitchFeatures {
    pub(crate) fn decode(from: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let mut features = Self {
            datapath_id: from.u64()?,
            buffers: from.u32()?,
            tables: from.u8()?,
            auxiliary: from.u8()?,
            ..Self::default()
        };
        from.skip(2)?;
        features.capabilities = Capabilities(from.u32()?);
        let actions = from.u32()?;
        if version == Version::V10 {
            features.auxiliary = 0;
            features.actions = actions;
            features.ports = PortDesc::decode_list(from, version)?;
        }
        Ok(features)
    }

    pub(crate) fn encode(&self, to: &mut Writer, version: Version) {
        let old = version == Version::V10;
        to.u64(self.datapath_id);
        to.u32(self.buffers);
        to.u8(self.tables);
        to.u8(if old { 0 } else { self.auxiliary });
        to.zeros(2);
        to.u32(self.capabilities.0);
        to.u32(if old { self.actions } else { 0 });
        if old {
            self.ports.iter().for_each(|port| port.encode(to, version));
        }
    }
}
