//! What a controller may set for the whole switch (OpenFlow 1.3.5 §7.3.2).

use crate::error::OfError;
use crate::wire::{Reader, Writer, bits};

bits! {
    /// `ofp_config_flags`.
    ConfigFlags: u16 {
        /// Drop fragments.
        FRAG_DROP = 1;
        /// Reassemble fragments.
        FRAG_REASM = 1 << 1;
        /// First fragments have ports to match (Nicira).
        FRAG_NX_MATCH = 3;
        /// Packets with a bad TTL go to the controller (OpenFlow 1.1 and 1.2).
        INVALID_TTL_TO_CONTROLLER = 1 << 2;
    }
}

impl ConfigFlags {
    /// The bits that say how fragments are handled; none set is as usual.
    pub const FRAG_MASK: Self = Self(3);
}

/// The switch's settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SwitchConfig {
    /// How fragments are handled.
    pub flags: ConfigFlags,
    /// Most bytes of a packet to send to the controller when no flow matches.
    pub miss_send_len: u16,
}

impl SwitchConfig {
    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, OfError> {
        Ok(Self {
            flags: ConfigFlags(from.u16()?),
            miss_send_len: from.u16()?,
        })
    }

    pub(crate) fn encode(self, to: &mut Writer) {
        to.u16(self.flags.0);
        to.u16(self.miss_send_len);
    }
}
