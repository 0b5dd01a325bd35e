//! What the datapath refuses, as OpenFlow's errors.

use vswitch_dpapi::ChangeRefusal;
use vswitch_openflow::ErrorCode;

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
        ChangeRefusal::NoTracking => ErrorCode::BacBadType,
    }
}
