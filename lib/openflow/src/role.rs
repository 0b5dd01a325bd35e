//! Roles of controllers, and news of them (OpenFlow 1.3.5 §7.3.9, 1.4.1 §7.4.4).
//!
//! Nicira's extension has the same roles without generations, with other numbers, in all versions.

use crate::error::{ErrorCode, OfError};
use crate::header::Version;
use crate::message::Layout;
use crate::property;
use crate::wire::{Reader, Writer, require, words};

words! {
    /// What a controller may do (`ofp_controller_role`).
    Role: u32 {
        /// Asks which role it has.
        NoChange = 0,
        /// Everything, as others do.
        Equal = 1,
        /// Everything, and there is no other primary.
        Primary = 2,
        /// Look.
        Secondary = 3,
    }
}

/// A request for a role, or the answer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleRequest {
    /// The specification's form or Nicira's, which is the only one of 1.0.
    pub layout: Layout,
    /// The role.
    pub role: Role,
    /// The count of elections among controllers, in the specification's form; all ones if there
    /// was none.
    pub generation: u64,
}

impl RoleRequest {
    pub(crate) fn decode(from: &mut Reader<'_>, layout: Layout) -> Result<Self, OfError> {
        let number = from.u32()?;
        let bad = ErrorCode::RrfcBadRole.about("a role request");
        match layout {
            Layout::Standard => {
                let role = Role::from_number(number).ok_or(bad)?;
                from.skip(4)?;
                Ok(Self {
                    layout,
                    role,
                    generation: from.u64()?,
                })
            }
            // Nicira has no way to ask: its numbers begin with the second role.
            Layout::Nicira => {
                let role = number.checked_add(1).and_then(Role::from_number);
                Ok(Self {
                    layout,
                    role: role.ok_or(bad)?,
                    generation: 0,
                })
            }
        }
    }

    pub(crate) fn encode(self, to: &mut Writer, version: Version, layout: Layout) {
        if layout == Layout::Nicira && self.role == Role::NoChange {
            to.not_in("asking for the role", version);
        }
        match layout {
            Layout::Standard => {
                to.u32(self.role.number());
                to.zeros(4);
                to.u64(self.generation);
            }
            Layout::Nicira => to.u32(self.role.number().saturating_sub(1)),
        }
    }
}

words! {
    /// Why a controller's role changed (`ofp_controller_role_reason`).
    RoleReason: u8 {
        /// Another controller became the primary one.
        PrimaryRequest = 0,
        /// Somebody configured the switch.
        Config = 1,
        /// An experimenter's reason.
        Experimenter = 2,
    }
}

/// News of a controller's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleStatus {
    /// The role it has now.
    pub role: Role,
    /// Why.
    pub reason: RoleReason,
    /// The count of elections among controllers; all ones if there was none.
    pub generation: u64,
}

impl RoleStatus {
    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, OfError> {
        let role = Role::from_number(from.u32()?).filter(|role| *role != Role::NoChange);
        let role = role.ok_or(ErrorCode::RrfcBadRole.about("a role status"))?;
        let reason = RoleReason::from_number(from.u8()?)
            .ok_or(ErrorCode::NxbrcBadReason.about("a role status"))?;
        from.skip(3)?;
        let generation = from.u64()?;
        while !from.is_empty() {
            let (kind, _) = property::read(from)?;
            let own = kind == property::EXPERIMENTER;
            require(own, ErrorCode::BpcBadType, "a role status")?;
        }
        Ok(Self {
            role,
            reason,
            generation,
        })
    }

    pub(crate) fn encode(self, to: &mut Writer) {
        to.u32(self.role.number());
        to.u8(self.reason.number());
        to.zeros(3);
        to.u64(self.generation);
    }
}
