//! Meters: changes, configuration, counters and what is possible (OpenFlow 1.3.5 §7.3.4.4, §7.3.5.12
//! to §7.3.5.14).

use vswitch_flow::meter::{METER_ALL, MeterFlags};
use vswitch_flow::{Band, BandKind, Meter, MeterMod};

use crate::elapsed::Elapsed;
use crate::error::{ErrorCode, OfError};
use crate::wire::{Reader, Writer};

const ADD: u16 = 0;
const MODIFY: u16 = 1;
const DELETE: u16 = 2;

const DROP: u16 = 1;
const DSCP_REMARK: u16 = 2;
/// Every band of the two types has this size, bytes.
const BAND_SIZE: u16 = 16;

pub(crate) fn decode_mod(from: &mut Reader<'_>) -> Result<MeterMod, OfError> {
    let (command, flags, id) = (from.u16()?, MeterFlags(from.u16()?), from.u32()?);
    match command {
        ADD | MODIFY => {
            if flags.has(MeterFlags::KBPS) && flags.has(MeterFlags::PKTPS) {
                let about = "a meter that counts both kilobits and packets";
                return Err(ErrorCode::MmfcBadFlags.about(about));
            }
            let bands = decode_bands(from)?;
            let meter = Meter { id, flags, bands };
            Ok(if command == ADD {
                MeterMod::Add(meter)
            } else {
                MeterMod::Modify(meter)
            })
        }
        DELETE => {
            // A deletion needs no bands; what is there has no meaning.
            from.take_rest();
            Ok(match id {
                METER_ALL => MeterMod::DeleteAll,
                id => MeterMod::Delete(id),
            })
        }
        _ => Err(ErrorCode::MmfcBadCommand.about("a change to a meter")),
    }
}

pub(crate) fn encode_mod(change: &MeterMod, to: &mut Writer) {
    let (command, meter) = match change {
        MeterMod::Add(meter) => (ADD, meter),
        MeterMod::Modify(meter) => (MODIFY, meter),
        MeterMod::Delete(id) => return encode_delete(*id, to),
        MeterMod::DeleteAll => return encode_delete(METER_ALL, to),
    };
    to.u16(command);
    to.u16(meter.flags.0);
    to.u32(meter.id);
    encode_bands(&meter.bands, to);
}

fn encode_delete(id: u32, to: &mut Writer) {
    to.u16(DELETE);
    to.u16(0);
    to.u32(id);
}

fn decode_bands(from: &mut Reader<'_>) -> Result<Vec<Band>, OfError> {
    let mut bands = Vec::new();
    while !from.is_empty() {
        let mut sized = from.clone();
        let (kind, size) = (sized.u16()?, sized.u16()?);
        if kind != DROP && kind != DSCP_REMARK {
            return Err(ErrorCode::MmfcBadBand.about("a meter"));
        }
        if size != BAND_SIZE {
            return Err(ErrorCode::BrcBadLen.about("a meter's band"));
        }
        let mut band = from.part(usize::from(size))?;
        band.skip(4)?;
        let (rate, burst) = (band.u32()?, band.u32()?);
        let kind = match kind {
            DROP => BandKind::Drop,
            _ => BandKind::DscpRemark { levels: band.u8()? },
        };
        bands.push(Band { kind, rate, burst });
    }
    Ok(bands)
}

fn encode_bands(bands: &[Band], to: &mut Writer) {
    for band in bands {
        let (kind, levels) = match band.kind {
            BandKind::Drop => (DROP, 0),
            BandKind::DscpRemark { levels } => (DSCP_REMARK, levels),
        };
        to.u16(kind);
        to.u16(BAND_SIZE);
        to.u32(band.rate);
        to.u32(band.burst);
        to.u8(levels);
        to.zeros(3);
    }
}

/// A request's body: one meter or [`METER_ALL`].
pub(crate) fn decode_select(from: &mut Reader<'_>) -> Result<u32, OfError> {
    let id = from.u32()?;
    from.skip(4)?;
    Ok(id)
}

pub(crate) fn encode_select(id: u32, to: &mut Writer) {
    to.u32(id);
    to.zeros(4);
}

/// An entry of the reply to a request for configuration.
pub(crate) fn decode_config(from: &mut Reader<'_>) -> Result<Meter, OfError> {
    let mut from = from.part(usize::from(from.peek_u16()?))?;
    from.skip(2)?;
    Ok(Meter {
        flags: MeterFlags(from.u16()?),
        id: from.u32()?,
        bands: decode_bands(&mut from)?,
    })
}

pub(crate) fn encode_config(meter: &Meter, to: &mut Writer) {
    let start = to.size();
    let length = to.length();
    to.u16(meter.flags.0);
    to.u32(meter.id);
    encode_bands(&meter.bands, to);
    to.fill_length(length, start, "a meter");
}

/// A meter's counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeterStats {
    /// Which meter.
    pub id: u32,
    /// Flows that use it.
    pub flows: u32,
    /// Packets that came to it.
    pub packets: u64,
    /// Bytes that came to it.
    pub bytes: u64,
    /// How long it has been there.
    pub duration: Elapsed,
    /// Packets and bytes that exceeded each band.
    pub bands: Vec<(u64, u64)>,
}

impl MeterStats {
    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, OfError> {
        let mut sized = from.clone();
        let id = sized.u32()?;
        let mut from = from.part(usize::from(sized.u16()?))?;
        from.skip(12)?;
        let mut stats = Self {
            id,
            flows: from.u32()?,
            packets: from.u64()?,
            bytes: from.u64()?,
            duration: Elapsed::read(&mut from)?,
            bands: Vec::new(),
        };
        while !from.is_empty() {
            stats.bands.push((from.u64()?, from.u64()?));
        }
        Ok(stats)
    }

    pub(crate) fn encode(&self, to: &mut Writer) {
        let start = to.size();
        to.u32(self.id);
        let length = to.length();
        to.zeros(6);
        to.u32(self.flows);
        to.u64(self.packets);
        to.u64(self.bytes);
        self.duration.write(to);
        for (packets, bytes) in &self.bands {
            to.u64(*packets);
            to.u64(*bytes);
        }
        to.fill_length(length, start, "a meter's counters");
    }
}

/// What meters can do here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MeterFeatures {
    /// Most meters.
    pub max_meters: u32,
    /// Types of bands: bit `n` is type `n`; 1 drops, 2 remarks.
    pub band_types: u32,
    /// What can be said of a meter, as bits of [`MeterFlags`].
    pub capabilities: u32,
    /// Most bands of a meter.
    pub max_bands: u8,
    /// Largest colour.
    pub max_color: u8,
}

impl MeterFeatures {
    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, OfError> {
        let features = Self {
            max_meters: from.u32()?,
            band_types: from.u32()?,
            capabilities: from.u32()?,
            max_bands: from.u8()?,
            max_color: from.u8()?,
        };
        from.skip(2)?;
        Ok(features)
    }

    pub(crate) fn encode(self, to: &mut Writer) {
        to.u32(self.max_meters);
        to.u32(self.band_types);
        to.u32(self.capabilities);
        to.u8(self.max_bands);
        to.u8(self.max_color);
        to.zeros(2);
    }
}
