//! What the datapath or the language refuses, as OpenFlow's errors.

use vswitch_dpapi::ChangeRefusal;
use vswitch_flow::check::Fault;
use vswitch_openflow::ErrorCode;

/// The error for what the language cannot mean.
pub fn fault(why: &Fault) -> ErrorCode {
    match why {
        Fault::NotInActionSet(_) => ErrorCode::BacBadType,
        Fault::OutPort(_) => ErrorCode::BacBadOutPort,
        Fault::OutGroup(_) => ErrorCode::BacBadOutGroup,
        Fault::Argument(_) => ErrorCode::BacBadArgument,
        Fault::Tag => ErrorCode::BacBadTag,
        Fault::SetLength { .. } => ErrorCode::BacBadSetLen,
        // The code for masks came with 1.5.
        Fault::SetArgument { .. } | Fault::SetMask { .. } => ErrorCode::BacBadSetArgument,
        Fault::Inconsistent { .. } => ErrorCode::BacMatchInconsistent,
        Fault::Conjunction(_) => ErrorCode::NxbacBadConjunction,
        Fault::Goto { .. } => ErrorCode::BicBadTableId,
        Fault::Meter(_) => ErrorCode::MmfcInvalidMeter,
        Fault::MatchPrerequisite { .. } => ErrorCode::BmcBadPrereq,
        Fault::MatchMask { .. } => ErrorCode::BmcBadMask,
        Fault::Table(_) => ErrorCode::FmfcBadTableId,
        Fault::Group(_) => ErrorCode::GmfcInvalidGroup,
        Fault::Watch => ErrorCode::GmfcWatchUnsupported,
        Fault::BucketTwice(_) => ErrorCode::GmfcBucketExists,
        Fault::MeterFlags => ErrorCode::MmfcBadFlags,
        Fault::Rate => ErrorCode::MmfcBadRate,
        Fault::Burst => ErrorCode::MmfcBadBurst,
        Fault::BandValue => ErrorCode::MmfcBadBandValue,
    }
}

/// The error for a change that was refused.
pub fn code(why: ChangeRefusal) -> ErrorCode {
    match why {
        ChangeRefusal::NoTable(_) => ErrorCode::FmfcBadTableId,
        ChangeRefusal::GotoBack { .. } => ErrorCode::BicBadTableId,
        ChangeRefusal::Overlap => ErrorCode::FmfcOverlap,
        ChangeRefusal::TableFull(_) => ErrorCode::FmfcTableFull,
        ChangeRefusal::NoOutGroup(_) => ErrorCode::BacBadOutGroup,
        ChangeRefusal::NoFlowMeter(_) => ErrorCode::MmfcInvalidMeter,
        ChangeRefusal::GroupExists(_) => ErrorCode::GmfcGroupExists,
        ChangeRefusal::NoGroup(_) => ErrorCode::GmfcUnknownGroup,
        ChangeRefusal::TooManyGroups => ErrorCode::GmfcOutOfGroups,
        ChangeRefusal::GroupLoop(_) => ErrorCode::GmfcLoop,
        ChangeRefusal::BadBuckets(_) => ErrorCode::GmfcInvalidGroup,
        ChangeRefusal::BadWatch(_) => ErrorCode::GmfcBadWatch,
        ChangeRefusal::BucketExists(_) => ErrorCode::GmfcBucketExists,
        ChangeRefusal::NoBucket(_) => ErrorCode::GmfcUnknownBucket,
        ChangeRefusal::MeterExists(_) => ErrorCode::MmfcMeterExists,
        ChangeRefusal::NoMeter(_) => ErrorCode::MmfcUnknownMeter,
        ChangeRefusal::TooManyMeters => ErrorCode::MmfcOutOfMeters,
    }
}
