//! Which messages a controller wants without having asked (OpenFlow 1.3.5 §7.3.10, 1.4.1 §7.3.10).
//!
//! For each kind of message there are two masks of reasons: one while the controller is equal or
//! primary, one while it is secondary. 1.3 writes three kinds in a fixed layout, 1.4 writes six as
//! properties, of which a change may leave some out. Nicira's extension has both forms.

use crate::error::{ErrorCode, OfError};
use crate::header::Version;
use crate::property;
use crate::wire::{Reader, Writer};

/// How the masks are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AsyncForm {
    /// As the version has it; Nicira's fixed layout in 1.0, which has none.
    Standard,
    /// Nicira's `NXT_SET_ASYNC_CONFIG`: a fixed layout.
    Nicira,
    /// Nicira's `NXT_SET_ASYNC_CONFIG2`: properties, until 1.3.
    NiciraProperties,
}

/// Bits of reasons, `1 << number`, in which one kind of message is wanted; `None` is not said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reasons {
    /// While the controller is equal or primary.
    pub primary: Option<u32>,
    /// While it is secondary.
    pub secondary: Option<u32>,
}

/// What a controller wants to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsyncConfig {
    /// How it is written.
    pub form: AsyncForm,
    /// Packet-ins.
    pub packet_in: Reasons,
    /// Port status.
    pub port_status: Reasons,
    /// Removed flows.
    pub flow_removed: Reasons,
    /// Role status (1.4, properties).
    pub role_status: Reasons,
    /// Table status (1.4, properties).
    pub table_status: Reasons,
    /// Forwarded requests (1.4, properties).
    pub request_forward: Reasons,
}

impl AsyncConfig {
    /// Nothing said yet.
    #[must_use]
    pub fn new(form: AsyncForm) -> Self {
        Self {
            form,
            packet_in: Reasons::default(),
            port_status: Reasons::default(),
            flow_removed: Reasons::default(),
            role_status: Reasons::default(),
            table_status: Reasons::default(),
            request_forward: Reasons::default(),
        }
    }

    /// The kinds in the order of the wire, each with the reasons there are. Property `2 n` is the
    /// secondary mask of kind `n`, the next one the primary mask.
    fn kinds(&mut self, version: Version) -> [(&mut Reasons, u32); 6] {
        let packet_in = if version >= Version::V14 { 0x3f } else { 0x07 };
        [
            (&mut self.packet_in, packet_in),
            (&mut self.port_status, 0x07),
            (&mut self.flow_removed, 0x3f),
            (&mut self.role_status, 0x07),
            (&mut self.table_status, 0x18),
            (&mut self.request_forward, 0x03),
        ]
    }

    fn has_properties(form: AsyncForm, version: Version) -> bool {
        match form {
            AsyncForm::Standard => version >= Version::V14,
            AsyncForm::Nicira => false,
            AsyncForm::NiciraProperties => true,
        }
    }

    pub(crate) fn decode(
        from: &mut Reader<'_>,
        version: Version,
        form: AsyncForm,
    ) -> Result<Self, OfError> {
        let mut config = Self::new(form);
        let mut kinds = config.kinds(version);
        if Self::has_properties(form, version) {
            while !from.is_empty() {
                let (kind, mut value) = property::read(from)?;
                let about = "a choice of asynchronous messages";
                let row = kinds.get_mut(usize::from(kind / 2));
                let (reasons, known) = row.ok_or(property::unknown(kind, about))?;
                let mask = value.u32()?;
                value.finish()?;
                if mask & !*known != 0 {
                    return Err(ErrorCode::AcfcInvalid.about(about));
                }
                if kind % 2 == 0 {
                    reasons.secondary = Some(mask);
                } else {
                    reasons.primary = Some(mask);
                }
            }
        } else {
            // Bits of later versions may be set and mean nothing.
            for (reasons, known) in kinds.iter_mut().take(3) {
                reasons.primary = Some(from.u32()? & *known);
                reasons.secondary = Some(from.u32()? & *known);
            }
        }
        Ok(config)
    }

    pub(crate) fn encode(&self, to: &mut Writer, version: Version) {
        let mut config = *self;
        let kinds = config.kinds(version);
        if Self::has_properties(self.form, version) {
            for ((reasons, known), kind) in kinds.into_iter().zip((0_u16..).step_by(2)) {
                if let Some(mask) = reasons.secondary {
                    property::write_u32(to, kind, mask & known);
                }
                if let Some(mask) = reasons.primary {
                    property::write_u32(to, kind + 1, mask & known);
                }
            }
        } else {
            for (reasons, known) in kinds.into_iter().take(3) {
                to.u32(reasons.primary.unwrap_or(0) & known);
                to.u32(reasons.secondary.unwrap_or(0) & known);
            }
        }
    }
}
