//! What may stand beside what, and within what.

use vswitch_flow::{Action, Field};

use super::Within;
use crate::error::{ErrorCode, OfError};
use crate::wire::require;

/// The field that an action writes, if it does nothing else.
fn written(action: &Action) -> Option<Field> {
    match action {
        Action::SetField { field, .. } => Some(*field),
        Action::Load { dst, .. } | Action::Move { dst, .. } => Some(dst.field),
        _ => None,
    }
}

/// Mark and label of a connection, which only `ct` may write.
fn is_connections(field: Field) -> bool {
    matches!(field, Field::CtMark | Field::CtLabel)
}

/// Looks at a list as a whole (`ofpacts_verify`): a conjunction is alone but for notes, and what a
/// connection has is written within `ct` and nothing else is.
pub(super) fn verify(list: &[Action], within: Within) -> Result<(), OfError> {
    if within == Within::Set {
        return verify_set(list);
    }
    let conjunction = |action: &Action| matches!(action, Action::Conjunction { .. });
    for action in list {
        if conjunction(action) {
            let alone = |action| conjunction(action) || matches!(action, Action::Note(_));
            let alone = list.iter().all(alone);
            return require(alone, ErrorCode::NxbacBadConjunction, "conjunction");
        }
        match (within, written(action)) {
            (Within::List, Some(field)) if is_connections(field) => {
                let code = ErrorCode::BacBadSetArgument;
                return Err(code.about("ct_mark or ct_label outside ct(exec())"));
            }
            (Within::Ct, field) if !field.is_some_and(is_connections) => {
                let code = ErrorCode::BacBadArgument;
                return Err(code.about("ct(exec()) of something else than ct_mark or ct_label"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether all actions of a list may be in an action set (`ofpact_is_allowed_in_actions_set`).
fn verify_set(list: &[Action]) -> Result<(), OfError> {
    let allowed = |action: &Action| match action {
        Action::Output(_)
        | Action::Group(_)
        | Action::Resubmit { .. }
        | Action::Ct(_)
        | Action::CtClear
        | Action::SetField { .. }
        | Action::Load { .. }
        | Action::Move { .. }
        | Action::SetQueue(_)
        | Action::SetVlanVid(_)
        | Action::SetVlanPcp(_)
        | Action::PushVlan(_)
        | Action::PopVlan
        | Action::PushMpls(_)
        | Action::PopMpls(_)
        | Action::PushPbb(_)
        | Action::PopPbb
        | Action::DecTtl(_)
        | Action::DecMplsTtl
        | Action::CopyTtlOut
        | Action::CopyTtlIn => true,
        // `output:CONTROLLER` and no more.
        Action::Controller(to) => is_plain(to),
        _ => false,
    };
    let allowed = list.iter().all(allowed);
    require(allowed, ErrorCode::BacBadType, "an action in write_actions")
}

/// Whether `controller` says nothing but a length, so that an output says it.
pub(super) fn is_plain(to: &vswitch_flow::action::ToController) -> bool {
    let vswitch_flow::action::ToController {
        max_len: _,
        id,
        reason,
        userdata,
        pause,
        meter,
    } = to;
    let action = *reason == vswitch_flow::action::Reason::Action;
    *id == 0 && action && userdata.is_empty() && !pause && meter.is_none()
}
