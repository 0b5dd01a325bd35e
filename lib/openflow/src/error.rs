//! Errors of the protocol: one table from which names, meanings and wire forms follow.
//!
//! A decoder returns an [`OfError`]: the code that `OFPT_ERROR` must carry and what it was about.
//! The agent answers with an [`ErrorMessage`]. An error that a version has no number for is written
//! as `NXBRC_UNENCODABLE_ERROR`, as Open vSwitch does.
//!
//! Spec: OpenFlow 1.0.1 §5.4.4, 1.3.5 §7.4.4, 1.4.1 §7.5.4; Open vSwitch's
//! `include/openvswitch/ofp-errors.h` for the experimenters' numbers and for the names, some of
//! which the specification changed over time (`OFPBRC_BAD_STAT` became `OFPBRC_BAD_MULTIPART`).

use std::fmt;

use crate::header::Version;
use crate::wire::{EncodeError, Reader, Writer};

/// Nicira's number as an experimenter.
pub const NICIRA: u32 = 0x0000_2320;

/// The Open Networking Foundation's number as an experimenter.
pub const ONF: u32 = 0x4f4e_4600;

/// Experimenter errors since OpenFlow 1.2: the code is the experimenter's type.
const EXPERIMENTER: u16 = 0xffff;

/// Nicira's frame for errors in OpenFlow 1.0 (`NXET_VENDOR`): vendor, type and code follow.
const NICIRA_VENDOR: u16 = 0xb0c2;

/// How an error is written in one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Not at all.
    None,
    /// Type and code.
    Standard(u16, u16),
    /// OpenFlow 1.0: type and code within Nicira's frame.
    Framed(u16, u16),
    /// The experimenter's number and its type.
    Experimenter(u32, u16),
}

const fn of(kind: u16, code: u16) -> Form {
    Form::Standard(kind, code)
}

const fn nx10(kind: u16, code: u16) -> Form {
    Form::Framed(kind, code)
}

const fn nx(kind: u16) -> Form {
    Form::Experimenter(NICIRA, kind)
}

const fn onf(kind: u16) -> Form {
    Form::Experimenter(ONF, kind)
}

#[expect(non_upper_case_globals, reason = "a word in the table below")]
const none: Form = Form::None;

/// The errors that OpenFlow 1.5 writes otherwise than 1.4.
const FORMS_15: [(ErrorCode, Form); 4] = [
    (ErrorCode::BrcPipelineFieldsOnly, of(1, 17)),
    (ErrorCode::BacBadSetMask, of(2, 16)),
    (ErrorCode::GmfcUnknownBucket, of(6, 15)),
    (ErrorCode::GmfcBucketExists, of(6, 16)),
];

/// One row of the table.
struct Row {
    code: ErrorCode,
    name: &'static str,
    meaning: &'static str,
    /// In OpenFlow 1.0, 1.3 and 1.4; [`FORMS_15`] has what is otherwise in 1.5.
    forms: [Form; 3],
}

macro_rules! errors {
    ($($code:ident: $name:literal, $meaning:literal, [$($form:expr),*];)*) => {
        /// What went wrong, in the specification's numbering.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $(#[doc = concat!("`", $name, "`: ", $meaning, ".")] $code,)*
        }

        /// In the order of [`ErrorCode`].
        const ROWS: &[Row] = &[$(Row {
            code: ErrorCode::$code,
            name: $name,
            meaning: $meaning,
            forms: [$($form),*],
        },)*];
    };
}

// Name in Open vSwitch, meaning, form in 1.0, 1.3 and 1.4. Where two rows have the same form, the
// first is what is read.
errors! {
    // OFPET_HELLO_FAILED
    HfcIncompatible: "OFPHFC_INCOMPATIBLE", "the two sides speak no version in common", [of(0, 0), of(0, 0), of(0, 0)];
    HfcEperm: "OFPHFC_EPERM", "the peer may not connect", [of(0, 1), of(0, 1), of(0, 1)];

    // OFPET_BAD_REQUEST
    BrcBadVersion: "OFPBRC_BAD_VERSION", "this version is not spoken here", [of(1, 0), of(1, 0), of(1, 0)];
    BrcBadType: "OFPBRC_BAD_TYPE", "no such message type", [of(1, 1), of(1, 1), of(1, 1)];
    BrcBadStat: "OFPBRC_BAD_STAT", "no such kind of statistics or multipart message", [of(1, 2), of(1, 2), of(1, 2)];
    BrcBadVendor: "OFPBRC_BAD_VENDOR", "nobody here knows this experimenter", [of(1, 3), of(1, 3), of(1, 3)];
    BrcBadSubtype: "OFPBRC_BAD_SUBTYPE", "the experimenter has no such message", [of(1, 4), of(1, 4), of(1, 4)];
    BrcEperm: "OFPBRC_EPERM", "not permitted", [of(1, 5), of(1, 5), of(1, 5)];
    BrcBadLen: "OFPBRC_BAD_LEN", "the message has the wrong length", [of(1, 6), of(1, 6), of(1, 6)];
    BrcBufferEmpty: "OFPBRC_BUFFER_EMPTY", "the buffered packet has been used already", [of(1, 7), of(1, 7), of(1, 7)];
    BrcBufferUnknown: "OFPBRC_BUFFER_UNKNOWN", "no packet is buffered under this number", [of(1, 8), of(1, 8), of(1, 8)];
    BrcBadTableId: "OFPBRC_BAD_TABLE_ID", "no such table", [nx10(1, 512), of(1, 9), of(1, 9)];
    BrcIsSecondary: "OFPBRC_IS_SECONDARY", "a secondary controller may not change anything", [of(1, 5), of(1, 10), of(1, 10)];
    BrcBadPort: "OFPBRC_BAD_PORT", "no such port, or none given", [nx10(1, 514), of(1, 11), of(1, 11)];
    BrcBadPacket: "OFPBRC_BAD_PACKET", "the packet to send is malformed", [none, of(1, 12), of(1, 12)];
    BrcMultipartBufferOverflow: "OFPBRC_MULTIPART_BUFFER_OVERFLOW", "the parts of the request are too much together", [none, of(1, 13), of(1, 13)];
    BrcMultipartRequestTimeout: "OFPBRC_MULTIPART_REQUEST_TIMEOUT", "the rest of the request did not come in time", [none, onf(2640), of(1, 14)];
    BrcPipelineFieldsOnly: "OFPBRC_PIPELINE_FIELDS_ONLY", "only fields beside the packet may be said here", [none, none, none];
    BrcMultipartReplyTimeout: "OFPBRC_MULTIPART_REPLY_TIMEOUT", "the rest of the reply did not come in time", [none, onf(2641), of(1, 15)];
    NxbrcNxmInvalid: "NXBRC_NXM_INVALID", "the NXM match is malformed", [nx10(1, 256), nx(2), nx(2)];
    NxbrcNxmBadType: "NXBRC_NXM_BAD_TYPE", "an NXM field is unknown, or has the wrong length or mask here", [nx10(1, 257), nx(3), nx(3)];
    NxbrcMustBeZero: "NXBRC_MUST_BE_ZERO", "bytes that must be zero are not", [nx10(1, 515), nx(4), nx(4)];
    NxbrcBadReason: "NXBRC_BAD_REASON", "a port status has no such reason", [nx10(1, 516), nx(5), nx(5)];
    NxbrcFmBadEvent: "NXBRC_FM_BAD_EVENT", "a flow monitor has no such event", [nx10(1, 520), nx(9), nx(9)];
    NxbrcUnencodableError: "NXBRC_UNENCODABLE_ERROR", "an error happened that this version cannot name", [nx10(1, 521), nx(10), nx(10)];

    // OFPET_BAD_ACTION
    BacBadType: "OFPBAC_BAD_TYPE", "no such action", [of(2, 0), of(2, 0), of(2, 0)];
    BacBadLen: "OFPBAC_BAD_LEN", "an action has the wrong length", [of(2, 1), of(2, 1), of(2, 1)];
    BacBadVendor: "OFPBAC_BAD_VENDOR", "nobody here knows this action's experimenter", [of(2, 2), of(2, 2), of(2, 2)];
    BacBadVendorType: "OFPBAC_BAD_VENDOR_TYPE", "the experimenter has no such action", [of(2, 3), of(2, 3), of(2, 3)];
    BacBadOutPort: "OFPBAC_BAD_OUT_PORT", "no such port to send to", [of(2, 4), of(2, 4), of(2, 4)];
    BacBadArgument: "OFPBAC_BAD_ARGUMENT", "an action's argument is wrong", [of(2, 5), of(2, 5), of(2, 5)];
    BacEperm: "OFPBAC_EPERM", "the action is not permitted", [of(2, 6), of(2, 6), of(2, 6)];
    BacTooMany: "OFPBAC_TOO_MANY", "too many actions", [of(2, 7), of(2, 7), of(2, 7)];
    BacBadQueue: "OFPBAC_BAD_QUEUE", "no such queue to send by", [of(2, 8), of(2, 8), of(2, 8)];
    BacBadOutGroup: "OFPBAC_BAD_OUT_GROUP", "no such group to send to", [nx10(2, 9), of(2, 9), of(2, 9)];
    BacMatchInconsistent: "OFPBAC_MATCH_INCONSISTENT", "the action needs more of the match", [nx10(1, 522), of(2, 10), of(2, 10)];
    BacUnsupportedOrder: "OFPBAC_UNSUPPORTED_ORDER", "actions cannot be done in this order", [none, of(2, 11), of(2, 11)];
    BacBadTag: "OFPBAC_BAD_TAG", "the action's tag type is not supported", [none, of(2, 12), of(2, 12)];
    BacBadSetType: "OFPBAC_BAD_SET_TYPE", "the field to set is unknown", [nx10(1, 523), of(2, 13), of(2, 13)];
    BacBadSetLen: "OFPBAC_BAD_SET_LEN", "the bits to set are none, or not within the field", [nx10(1, 524), of(2, 14), of(2, 14)];
    BacBadSetArgument: "OFPBAC_BAD_SET_ARGUMENT", "the field cannot be set, or not to this value", [nx10(1, 525), of(2, 15), of(2, 15)];
    BacBadSetMask: "OFPBAC_BAD_SET_MASK", "set_field may not have a mask here", [none, onf(4250), onf(4250)];
    NxbacMustBeZero: "NXBAC_MUST_BE_ZERO", "bytes of an action that must be zero are not", [nx10(2, 256), nx(11), nx(11)];
    NxbacBadConjunction: "NXBAC_BAD_CONJUNCTION", "conjunction(id, k/n) must be alone, with 1 <= k <= n and 2 <= n <= 64", [nx10(2, 526), nx(15), nx(15)];
    NxbacBadHeaderType: "NXBAC_BAD_HEADER_TYPE", "encap or decap of this packet type is not supported", [none, nx(39), nx(39)];
    NxbacUnknownEdProp: "NXBAC_UNKNOWN_ED_PROP", "no such property of encap or decap", [none, nx(40), nx(40)];
    NxbacBadEdProp: "NXBAC_BAD_ED_PROP", "a property of encap or decap is wrong", [none, nx(41), nx(41)];
    NxbacCtDatapathSupport: "NXBAC_CT_DATAPATH_SUPPORT", "the datapath does not track connections in this way", [nx10(1, 265), nx(42), nx(42)];

    // OFPET_BAD_INSTRUCTION
    BicUnknownInst: "OFPBIC_UNKNOWN_INST", "no such instruction", [none, of(3, 0), of(3, 0)];
    BicUnsupInst: "OFPBIC_UNSUP_INST", "the table does not support the instruction", [nx10(2, 257), of(3, 1), of(3, 1)];
    BicBadTableId: "OFPBIC_BAD_TABLE_ID", "the instruction's table does not exist or comes earlier", [none, of(3, 2), of(3, 2)];
    BicUnsupMetadata: "OFPBIC_UNSUP_METADATA", "the metadata value is not supported", [none, of(3, 3), of(3, 3)];
    BicUnsupMetadataMask: "OFPBIC_UNSUP_METADATA_MASK", "the metadata mask is not supported", [none, of(3, 4), of(3, 4)];
    BicBadExperimenter: "OFPBIC_BAD_EXPERIMENTER", "nobody here knows this instruction's experimenter", [none, of(3, 5), of(3, 5)];
    BicBadExpType: "OFPBIC_BAD_EXP_TYPE", "the experimenter has no such instruction", [none, of(3, 6), of(3, 6)];
    BicBadLen: "OFPBIC_BAD_LEN", "an instruction has the wrong length", [none, of(3, 7), of(3, 7)];
    BicEperm: "OFPBIC_EPERM", "the instruction is not permitted", [none, of(3, 8), of(3, 8)];
    BicDupInst: "OFPBIC_DUP_INST", "an instruction is there twice", [none, onf(2600), of(3, 9)];

    // OFPET_BAD_MATCH
    BmcBadType: "OFPBMC_BAD_TYPE", "no such kind of match", [none, of(4, 0), of(4, 0)];
    BmcBadLen: "OFPBMC_BAD_LEN", "a match has the wrong length", [none, of(4, 1), of(4, 1)];
    BmcBadTag: "OFPBMC_BAD_TAG", "the match's tag type is not supported", [none, of(4, 2), of(4, 2)];
    BmcBadDlAddrMask: "OFPBMC_BAD_DL_ADDR_MASK", "this mask of an Ethernet address is not supported", [none, of(4, 3), of(4, 3)];
    BmcBadNwAddrMask: "OFPBMC_BAD_NW_ADDR_MASK", "this mask of a network address is not supported", [none, of(4, 4), of(4, 4)];
    BmcBadWildcards: "OFPBMC_BAD_WILDCARDS", "this combination of wildcards is not supported", [nx10(1, 262), of(4, 5), of(4, 5)];
    BmcBadField: "OFPBMC_BAD_FIELD", "a matched field is unknown", [nx10(0, 263), of(4, 6), of(4, 6)];
    BmcBadValue: "OFPBMC_BAD_VALUE", "a field cannot have this value", [nx10(1, 258), of(4, 7), of(4, 7)];
    BmcBadMask: "OFPBMC_BAD_MASK", "a field cannot be masked in this way", [nx10(1, 259), of(4, 8), of(4, 8)];
    BmcBadPrereq: "OFPBMC_BAD_PREREQ", "a field is matched whose prerequisite is not", [nx10(1, 260), of(4, 9), of(4, 9)];
    BmcDupField: "OFPBMC_DUP_FIELD", "a field is matched twice", [nx10(1, 261), of(4, 10), of(4, 10)];
    BmcEperm: "OFPBMC_EPERM", "the match is not permitted", [none, of(4, 11), of(4, 11)];
    NxbmcCtDatapathSupport: "NXBMC_CT_DATAPATH_SUPPORT", "the datapath does not track connections in this way", [nx10(1, 264), nx(43), nx(43)];

    // OFPET_FLOW_MOD_FAILED
    FmfcUnknown: "OFPFMFC_UNKNOWN", "the flow could not be changed", [none, of(5, 0), of(5, 0)];
    FmfcTableFull: "OFPFMFC_TABLE_FULL", "the table is full", [of(3, 0), of(5, 1), of(5, 1)];
    FmfcBadTableId: "OFPFMFC_BAD_TABLE_ID", "no such table", [none, of(5, 2), of(5, 2)];
    FmfcOverlap: "OFPFMFC_OVERLAP", "the flow overlaps another of the same priority", [of(3, 1), of(5, 3), of(5, 3)];
    FmfcEperm: "OFPFMFC_EPERM", "changing this flow is not permitted", [of(3, 2), of(5, 4), of(5, 4)];
    FmfcBadTimeout: "OFPFMFC_BAD_TIMEOUT", "this timeout is not supported", [none, of(5, 5), of(5, 5)];
    FmfcBadEmergTimeout: "OFPFMFC_BAD_EMERG_TIMEOUT", "an emergency flow may not have a timeout", [of(3, 3), none, none];
    FmfcBadCommand: "OFPFMFC_BAD_COMMAND", "no such command for flows", [of(3, 4), of(5, 6), of(5, 6)];
    FmfcBadFlags: "OFPFMFC_BAD_FLAGS", "unknown flags, or flags that exclude each other", [nx10(3, 258), of(5, 7), of(5, 7)];
    FmfcCantSync: "OFPFMFC_CANT_SYNC", "the synchronised table cannot follow", [none, none, of(5, 8)];
    FmfcBadPriority: "OFPFMFC_BAD_PRIORITY", "this priority is not supported", [none, onf(2360), of(5, 9)];
    FmfcIsSync: "OFPFMFC_IS_SYNC", "a synchronised flow cannot be changed", [none, none, of(5, 10)];
    FmfcUnsupported: "OFPFMFC_UNSUPPORTED", "this list of actions is not supported", [of(3, 5), none, none];
    NxfmfcHardware: "NXFMFC_HARDWARE", "the hardware failed", [nx10(5, 256), nx(12), nx(12)];
    NxfmfcBadTableId: "NXFMFC_BAD_TABLE_ID", "the table must be all, or one that exists", [nx10(5, 257), nx(13), nx(13)];
    NxfmfcInvalidTlvField: "NXFMFC_INVALID_TLV_FIELD", "a tunnel metadata field is used that is not mapped", [nx10(1, 536), nx(37), nx(37)];

    // OFPET_GROUP_MOD_FAILED
    GmfcGroupExists: "OFPGMFC_GROUP_EXISTS", "the group exists already", [nx10(6, 0), of(6, 0), of(6, 0)];
    GmfcInvalidGroup: "OFPGMFC_INVALID_GROUP", "the group's number or buckets are not valid", [nx10(6, 1), of(6, 1), of(6, 1)];
    GmfcWeightUnsupported: "OFPGMFC_WEIGHT_UNSUPPORTED", "weights are not supported here", [nx10(6, 2), of(6, 2), of(6, 2)];
    GmfcOutOfGroups: "OFPGMFC_OUT_OF_GROUPS", "the group table is full", [nx10(6, 3), of(6, 3), of(6, 3)];
    GmfcOutOfBuckets: "OFPGMFC_OUT_OF_BUCKETS", "the group has too many buckets", [nx10(6, 4), of(6, 4), of(6, 4)];
    GmfcChainingUnsupported: "OFPGMFC_CHAINING_UNSUPPORTED", "a group cannot forward to a group", [nx10(6, 5), of(6, 5), of(6, 5)];
    GmfcWatchUnsupported: "OFPGMFC_WATCH_UNSUPPORTED", "this port or group cannot be watched", [nx10(6, 6), of(6, 6), of(6, 6)];
    GmfcLoop: "OFPGMFC_LOOP", "groups would forward in a circle", [nx10(6, 7), of(6, 7), of(6, 7)];
    GmfcUnknownGroup: "OFPGMFC_UNKNOWN_GROUP", "no such group", [nx10(6, 8), of(6, 8), of(6, 8)];
    GmfcChainedGroup: "OFPGMFC_CHAINED_GROUP", "another group forwards to this one", [nx10(6, 9), of(6, 9), of(6, 9)];
    GmfcBadType: "OFPGMFC_BAD_TYPE", "no such type of group", [nx10(6, 10), of(6, 10), of(6, 10)];
    GmfcBadCommand: "OFPGMFC_BAD_COMMAND", "no such command for groups", [nx10(6, 11), of(6, 11), of(6, 11)];
    GmfcBadBucket: "OFPGMFC_BAD_BUCKET", "a bucket is wrong", [nx10(6, 12), of(6, 12), of(6, 12)];
    GmfcBadWatch: "OFPGMFC_BAD_WATCH", "what a bucket watches is wrong", [nx10(6, 13), of(6, 13), of(6, 13)];
    GmfcEperm: "OFPGMFC_EPERM", "changing groups is not permitted", [nx10(6, 14), of(6, 14), of(6, 14)];
    GmfcUnknownBucket: "OFPGMFC_UNKNOWN_BUCKET", "the group has no such bucket", [nx10(6, 15), none, none];
    GmfcBucketExists: "OFPGMFC_BUCKET_EXISTS", "the group has this bucket already", [nx10(6, 16), none, none];

    // OFPET_PORT_MOD_FAILED
    PmfcBadPort: "OFPPMFC_BAD_PORT", "no such port", [of(4, 0), of(7, 0), of(7, 0)];
    PmfcBadHwAddr: "OFPPMFC_BAD_HW_ADDR", "the port has another hardware address", [of(4, 1), of(7, 1), of(7, 1)];
    PmfcBadConfig: "OFPPMFC_BAD_CONFIG", "the port cannot be configured so", [none, of(7, 2), of(7, 2)];
    PmfcBadAdvertise: "OFPPMFC_BAD_ADVERTISE", "the port cannot advertise this", [none, of(7, 3), of(7, 3)];
    PmfcEperm: "OFPPMFC_EPERM", "changing the port is not permitted", [none, of(7, 4), of(7, 4)];

    // OFPET_TABLE_MOD_FAILED
    TmfcBadTable: "OFPTMFC_BAD_TABLE", "no such table", [none, of(8, 0), of(8, 0)];
    TmfcBadConfig: "OFPTMFC_BAD_CONFIG", "the table cannot be configured so", [none, of(8, 1), of(8, 1)];
    TmfcEperm: "OFPTMFC_EPERM", "changing the table is not permitted", [none, of(8, 2), of(8, 2)];

    // OFPET_QUEUE_OP_FAILED
    QofcBadPort: "OFPQOFC_BAD_PORT", "no such port", [of(5, 0), of(9, 0), of(9, 0)];
    QofcBadQueue: "OFPQOFC_BAD_QUEUE", "no such queue", [of(5, 1), of(9, 1), of(9, 1)];
    QofcEperm: "OFPQOFC_EPERM", "asking for the queue is not permitted", [of(5, 2), of(9, 2), of(9, 2)];
    NxqofcQueueError: "NXQOFC_QUEUE_ERROR", "the system could not tell of its queues", [none, none, nx(23)];

    // OFPET_SWITCH_CONFIG_FAILED
    ScfcBadFlags: "OFPSCFC_BAD_FLAGS", "unknown flags for the switch", [none, of(10, 0), of(10, 0)];
    ScfcBadLen: "OFPSCFC_BAD_LEN", "the switch cannot send this many bytes on a miss", [none, of(10, 1), of(10, 1)];
    ScfcEperm: "OFPSCFC_EPERM", "changing the switch is not permitted", [none, of(10, 2), of(10, 2)];

    // OFPET_ROLE_REQUEST_FAILED
    RrfcStale: "OFPRRFC_STALE", "the generation is older than one seen before", [none, of(11, 0), of(11, 0)];
    RrfcUnsup: "OFPRRFC_UNSUP", "roles cannot be changed here", [none, of(11, 1), of(11, 1)];
    RrfcBadRole: "OFPRRFC_BAD_ROLE", "no such role", [nx10(1, 513), of(11, 2), of(11, 2)];

    // OFPET_METER_MOD_FAILED
    MmfcUnknown: "OFPMMFC_UNKNOWN", "the meter could not be changed", [none, of(12, 0), of(12, 0)];
    MmfcMeterExists: "OFPMMFC_METER_EXISTS", "the meter exists already", [none, of(12, 1), of(12, 1)];
    MmfcInvalidMeter: "OFPMMFC_INVALID_METER", "the meter's number is not valid", [none, of(12, 2), of(12, 2)];
    MmfcUnknownMeter: "OFPMMFC_UNKNOWN_METER", "no such meter", [none, of(12, 3), of(12, 3)];
    MmfcBadCommand: "OFPMMFC_BAD_COMMAND", "no such command for meters", [none, of(12, 4), of(12, 4)];
    MmfcBadFlags: "OFPMMFC_BAD_FLAGS", "these flags of a meter are not supported", [none, of(12, 5), of(12, 5)];
    MmfcBadRate: "OFPMMFC_BAD_RATE", "this rate is not supported", [none, of(12, 6), of(12, 6)];
    MmfcBadBurst: "OFPMMFC_BAD_BURST", "this burst size is not supported", [none, of(12, 7), of(12, 7)];
    MmfcBadBand: "OFPMMFC_BAD_BAND", "no such type of band", [none, of(12, 8), of(12, 8)];
    MmfcBadBandValue: "OFPMMFC_BAD_BAND_VALUE", "this value of a band is not supported", [none, of(12, 9), of(12, 9)];
    MmfcOutOfMeters: "OFPMMFC_OUT_OF_METERS", "no more meters are available", [none, of(12, 10), of(12, 10)];
    MmfcOutOfBands: "OFPMMFC_OUT_OF_BANDS", "the meter has too many bands", [none, of(12, 11), of(12, 11)];

    // OFPET_TABLE_FEATURES_FAILED
    TffcBadTable: "OFPTFFC_BAD_TABLE", "no such table", [none, of(13, 0), of(13, 0)];
    TffcBadMetadata: "OFPTFFC_BAD_METADATA", "this metadata mask is not supported", [none, of(13, 1), of(13, 1)];
    TffcEperm: "OFPTFFC_EPERM", "changing a table's features is not permitted", [none, of(13, 5), of(13, 5)];
    NxtffcDupTable: "NXTFFC_DUP_TABLE", "a table is there twice", [none, nx(44), nx(44)];

    // OFPET_BAD_PROPERTY
    BpcBadType: "OFPBPC_BAD_TYPE", "no such property", [nx10(13, 2), of(13, 2), of(14, 0)];
    BpcBadLen: "OFPBPC_BAD_LEN", "a property has the wrong length", [nx10(13, 3), of(13, 3), of(14, 1)];
    BpcBadValue: "OFPBPC_BAD_VALUE", "a property cannot have this value", [nx10(13, 4), of(13, 4), of(14, 2)];
    BpcTooMany: "OFPBPC_TOO_MANY", "too many properties", [nx10(14, 3), onf(4443), of(14, 3)];
    BpcDupType: "OFPBPC_DUP_TYPE", "a property is there twice", [nx10(14, 4), onf(4444), of(14, 4)];
    BpcBadExperimenter: "OFPBPC_BAD_EXPERIMENTER", "nobody here knows this property's experimenter", [nx10(14, 5), onf(4445), of(14, 5)];
    BpcBadExpType: "OFPBPC_BAD_EXP_TYPE", "the experimenter has no such property", [nx10(14, 6), onf(4446), of(14, 6)];
    BpcBadExpValue: "OFPBPC_BAD_EXP_VALUE", "the experimenter's property cannot have this value", [nx10(14, 7), onf(4447), of(14, 7)];
    BpcEperm: "OFPBPC_EPERM", "the property is not permitted", [nx10(14, 8), onf(4448), of(14, 8)];

    // OFPET_ASYNC_CONFIG_FAILED
    AcfcInvalid: "OFPACFC_INVALID", "a mask of asynchronous messages is not valid", [none, onf(2370), of(15, 0)];
    AcfcUnsupported: "OFPACFC_UNSUPPORTED", "these asynchronous messages are not supported", [none, onf(2371), of(15, 1)];
    AcfcEperm: "OFPACFC_EPERM", "choosing asynchronous messages is not permitted", [none, onf(2372), of(15, 2)];

    // OFPET_BUNDLE_FAILED
    BfcUnknown: "OFPBFC_UNKNOWN", "the bundle failed", [none, onf(2300), of(17, 0)];
    BfcEperm: "OFPBFC_EPERM", "bundles are not permitted", [none, onf(2301), of(17, 1)];
    BfcBadId: "OFPBFC_BAD_ID", "no such bundle", [none, onf(2302), of(17, 2)];
    BfcBundleExist: "OFPBFC_BUNDLE_EXIST", "the bundle exists already", [none, onf(2303), of(17, 3)];
    BfcBundleClosed: "OFPBFC_BUNDLE_CLOSED", "the bundle is closed", [none, onf(2304), of(17, 4)];
    BfcOutOfBundles: "OFPBFC_OUT_OF_BUNDLES", "too many bundles are open", [none, onf(2305), of(17, 5)];
    BfcBadType: "OFPBFC_BAD_TYPE", "no such bundle control message", [none, onf(2306), of(17, 6)];
    BfcBadFlags: "OFPBFC_BAD_FLAGS", "unknown flags, or others than the bundle was opened with", [none, onf(2307), of(17, 7)];
    BfcMsgBadLen: "OFPBFC_MSG_BAD_LEN", "a message in a bundle has the wrong length", [none, onf(2308), of(17, 8)];
    BfcMsgBadXid: "OFPBFC_MSG_BAD_XID", "a message in a bundle has another xid than the message around it", [none, onf(2309), of(17, 9)];
    BfcMsgUnsup: "OFPBFC_MSG_UNSUP", "this message cannot be in a bundle", [none, onf(2310), of(17, 10)];
    BfcMsgConflict: "OFPBFC_MSG_CONFLICT", "this message cannot be in one bundle with the others", [none, onf(2311), of(17, 11)];
    BfcMsgTooMany: "OFPBFC_MSG_TOO_MANY", "too many messages in the bundle", [none, onf(2312), of(17, 12)];
    BfcMsgFailed: "OFPBFC_MSG_FAILED", "a message of the bundle failed", [none, onf(2313), of(17, 13)];
    BfcTimeout: "OFPBFC_TIMEOUT", "the bundle took too long", [none, onf(2314), of(17, 14)];
    BfcBundleInProgress: "OFPBFC_BUNDLE_IN_PROGRESS", "the bundle holds what is asked for", [none, onf(2315), of(17, 15)];
    BfcBadVersion: "OFPBFC_BAD_VERSION", "a message in a bundle has another version than the message around it", [none, none, nx(22)];

    // OFPET_FLOW_MONITOR_FAILED
    MofcUnknown: "OFPMOFC_UNKNOWN", "the flow monitor failed", [none, none, of(16, 0)];
    MofcMonitorExists: "OFPMOFC_MONITOR_EXISTS", "the flow monitor exists already", [nx10(1, 517), nx(6), of(16, 1)];
    MofcInvalidMonitor: "OFPMOFC_INVALID_MONITOR", "the flow monitor is not valid", [none, none, of(16, 2)];
    MofcUnknownMonitor: "OFPMOFC_UNKNOWN_MONITOR", "no such flow monitor", [nx10(1, 519), nx(8), of(16, 3)];
    MofcBadCommand: "OFPMOFC_BAD_COMMAND", "no such command for flow monitors", [none, none, of(16, 4)];
    MofcBadFlags: "OFPMOFC_BAD_FLAGS", "these flags of a flow monitor are not supported", [nx10(1, 518), nx(7), of(16, 5)];
    MofcBadTableId: "OFPMOFC_BAD_TABLE_ID", "no such table to monitor", [none, none, of(16, 6)];
    MofcBadOut: "OFPMOFC_BAD_OUT", "no such port or group to monitor", [none, none, of(16, 7)];

    // OFPET_TLV_TABLE_MOD_FAILED
    NxttmfcBadCommand: "NXTTMFC_BAD_COMMAND", "no such command for the TLV table", [nx10(1, 527), nx(16), nx(16)];
    NxttmfcBadOptLen: "NXTTMFC_BAD_OPT_LEN", "an option cannot have this length", [nx10(1, 528), nx(17), nx(17)];
    NxttmfcBadFieldIdx: "NXTTMFC_BAD_FIELD_IDX", "no such tun_metadata field", [nx10(1, 529), nx(18), nx(18)];
    NxttmfcTableFull: "NXTTMFC_TABLE_FULL", "the options are too much together", [nx10(1, 530), nx(19), nx(19)];
    NxttmfcAlreadyMapped: "NXTTMFC_ALREADY_MAPPED", "the field has an option already", [nx10(1, 531), nx(20), nx(20)];
    NxttmfcDupEntry: "NXTTMFC_DUP_ENTRY", "the option has a field already", [nx10(1, 532), nx(21), nx(21)];
    NxttmfcInvalidTlvDel: "NXTTMFC_INVALID_TLV_DEL", "a flow uses the mapping", [nx10(1, 537), nx(38), nx(38)];

    // NXT_RESUME
    NxrNotSupported: "NXR_NOT_SUPPORTED", "packets cannot be resumed here", [nx10(1, 533), nx(34), nx(34)];
    NxrStale: "NXR_STALE", "the packet's continuation is from another time or switch", [nx10(1, 534), nx(35), nx(35)];

    // NXT_STATS
    NxstNotConfigured: "NXST_NOT_CONFIGURED", "the protocol is not configured here", [nx10(1, 535), nx(36), nx(36)];
}

impl ErrorCode {
    /// Every one.
    pub fn all() -> impl Iterator<Item = Self> {
        ROWS.iter().map(|row| row.code)
    }

    fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// The specification's name: `OFPFMFC_TABLE_FULL`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// What it means, for a person.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        self.row().meaning
    }

    /// The one with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        ROWS.iter().find(|row| row.name == name).map(|row| row.code)
    }

    /// This, said of something.
    #[must_use]
    pub const fn about(self, about: &'static str) -> OfError {
        OfError { code: self, about }
    }

    fn form(self, version: Version) -> Form {
        let forms = self.row().forms;
        match version {
            Version::V10 => forms[0],
            Version::V13 => forms[1],
            Version::V14 => forms[2],
            Version::V15 => {
                let other = FORMS_15.iter().find(|(code, _)| *code == self);
                other.map_or(forms[2], |(_, form)| *form)
            }
        }
    }

    fn from_form(version: Version, form: Form) -> Option<Self> {
        let mut rows = ROWS.iter().filter(|_| form != Form::None);
        let row = rows.find(|row| row.code.form(version) == form)?;
        Some(row.code)
    }
}

/// `OFPFMFC_TABLE_FULL`.
impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A refusal of something a peer said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{about}: {} ({code})", .code.meaning())]
pub struct OfError {
    /// What went wrong.
    pub code: ErrorCode,
    /// Of what.
    pub about: &'static str,
}

/// What an `OFPT_ERROR` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// An error that is in the table.
    Known(ErrorCode),
    /// Another one. An experimenter's number is the first four bytes of the data.
    Other {
        /// Its type.
        kind: u16,
        /// Its code.
        code: u16,
    },
}

/// An `OFPT_ERROR`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorMessage {
    /// What went wrong.
    pub kind: ErrorKind,
    /// The message that was refused, or its beginning; text if the error is about hello.
    pub data: Vec<u8>,
}

impl ErrorMessage {
    /// Largest data, bytes, so that the message stays below 65536 in any form.
    pub const DATA_MAX: usize = 65_000;

    /// The answer to a message: it carries the message, or what fits of it.
    #[must_use]
    pub fn refuse(message: &[u8], code: ErrorCode) -> Self {
        Self {
            kind: ErrorKind::Known(code),
            data: message[..message.len().min(Self::DATA_MAX)].to_vec(),
        }
    }

    pub(crate) fn decode(from: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let (kind, code) = (from.u16()?, from.u16()?);
        let data = from.peek();
        let form = match kind {
            EXPERIMENTER if version != Version::V10 => {
                Form::Experimenter(from.u32().unwrap_or_default(), code)
            }
            NICIRA_VENDOR if version == Version::V10 && code == 0 => framed(from),
            _ => Form::Standard(kind, code),
        };
        let known = ErrorCode::from_form(version, form);
        Ok(match known {
            Some(known) => Self {
                kind: ErrorKind::Known(known),
                data: from.take_rest().to_vec(),
            },
            None => {
                from.take_rest();
                Self {
                    kind: ErrorKind::Other { kind, code },
                    data: data.to_vec(),
                }
            }
        })
    }

    pub(crate) fn encode(&self, to: &mut Writer, version: Version) {
        let form = match self.kind {
            ErrorKind::Other { kind, code } => Form::Standard(kind, code),
            ErrorKind::Known(code) => match code.form(version) {
                Form::None => ErrorCode::NxbrcUnencodableError.form(version),
                form => form,
            },
        };
        match form {
            Form::Standard(kind, code) => {
                to.u16(kind);
                to.u16(code);
            }
            Form::Framed(kind, code) => {
                to.u16(NICIRA_VENDOR);
                to.u16(0);
                to.u32(NICIRA);
                to.u16(kind);
                to.u16(code);
            }
            Form::Experimenter(id, kind) => {
                to.u16(EXPERIMENTER);
                to.u16(kind);
                to.u32(id);
            }
            Form::None => to.fail(EncodeError::NotIn {
                what: "this error",
                version,
            }),
        }
        to.bytes(&self.data);
    }
}

/// Vendor, type and code within Nicira's frame.
fn framed(from: &mut Reader<'_>) -> Form {
    let read = |from: &mut Reader<'_>| Ok::<_, OfError>((from.u32()?, from.u16()?, from.u16()?));
    match read(from) {
        Ok((NICIRA, kind, code)) => Form::Framed(kind, code),
        _ => Form::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(message: &ErrorMessage, version: Version) -> Vec<u8> {
        let mut to = Writer::new();
        message.encode(&mut to, version);
        to.finish().unwrap()
    }

    fn decode(bytes: &[u8], version: Version) -> ErrorMessage {
        let mut from = Reader::new(bytes, ErrorCode::BrcBadLen.about("an error"));
        ErrorMessage::decode(&mut from, version).unwrap()
    }

    fn known(code: ErrorCode) -> ErrorMessage {
        ErrorMessage {
            kind: ErrorKind::Known(code),
            data: vec![4, 14, 0, 8, 0, 0, 0, 9],
        }
    }

    #[test]
    fn rows_are_where_their_codes_say() {
        for code in ErrorCode::all() {
            assert_eq!(code.row().code, code);
            assert_eq!(ErrorCode::from_name(code.name()), Some(code));
        }
    }

    #[test]
    fn numbers_change_with_the_version() {
        let full = known(ErrorCode::FmfcTableFull);
        assert_eq!(encode(&full, Version::V10)[..4], [0, 3, 0, 0]);
        assert_eq!(encode(&full, Version::V13)[..4], [0, 5, 0, 1]);
        let bundle = known(ErrorCode::BfcMsgFailed);
        let onf = [0xff, 0xff, 0x09, 0x09, 0x4f, 0x4e, 0x46, 0x00, 4, 14, 0, 8];
        assert_eq!(encode(&bundle, Version::V13)[..12], onf);
        assert_eq!(encode(&bundle, Version::V14)[..4], [0, 17, 0, 13]);
        let prerequisite = known(ErrorCode::BmcBadPrereq);
        let framed = [0xb0, 0xc2, 0, 0, 0, 0, 0x23, 0x20, 0, 1, 1, 4, 4, 14];
        assert_eq!(encode(&prerequisite, Version::V10)[..14], framed);
    }

    #[test]
    fn every_error_reads_as_it_was_written() {
        for version in Version::ALL {
            for code in ErrorCode::all() {
                let message = known(code);
                let bytes = encode(&message, version);
                let read = decode(&bytes, version);
                assert_eq!(read.data, message.data);
                if code.form(version) == Form::None {
                    let stand_in = ErrorKind::Known(ErrorCode::NxbrcUnencodableError);
                    assert_eq!(read.kind, stand_in, "{code} in {version}");
                } else if (code, version) == (ErrorCode::BrcIsSecondary, Version::V10) {
                    // One number stood for both.
                    assert_eq!(read.kind, ErrorKind::Known(ErrorCode::BrcEperm));
                } else {
                    assert_eq!(read, message, "{code} in {version}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_in_the_table_stays_as_it_is() {
        for bytes in [
            &[0, 99, 0, 7, 1, 2, 3][..],
            &[0xff, 0xff, 0, 1, 0, 0, 0x23, 0x21, 9],
            &[0xff, 0xff, 0, 1, 0, 0],
            &[0xb0, 0xc2, 0, 0, 0, 0, 0x23, 0x21, 0, 1, 0, 1],
            &[0xb0, 0xc2, 0, 0, 0, 0, 0x23],
        ] {
            for version in Version::ALL {
                let read = decode(bytes, version);
                assert!(matches!(read.kind, ErrorKind::Other { .. }), "{read:?}");
                assert_eq!(encode(&read, version), bytes);
            }
        }
    }

    #[test]
    fn an_error_says_what_it_was_about() {
        let error = ErrorCode::BacBadLen.about("set_field");
        assert_eq!(
            error.to_string(),
            "set_field: an action has the wrong length (OFPBAC_BAD_LEN)"
        );
    }
}
