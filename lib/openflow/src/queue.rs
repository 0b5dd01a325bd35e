//! Queues of ports: how they are configured and their counters.
//!
//! Until 1.3 a message of its own asks for the queues of one port, in 1.4 a multipart message asks
//! for those of any port.
//!
//! Spec: OpenFlow 1.0.1 §5.3.4, §5.3.5; 1.3.5 §7.2.2, §7.3.5.8, §7.3.6; 1.4.1 §7.3.5.8, §7.3.5.10.

use vswitch_flow::OfPort;

use crate::elapsed::{self, Elapsed};
use crate::error::{ErrorCode, OfError};
use crate::header::Version;
use crate::property;
use crate::wire::{Reader, Writer};

/// All queues, in requests (`OFPQ_ALL`).
pub const QUEUE_ALL: u32 = 0xffff_ffff;

const MIN_RATE: u16 = 1;
const MAX_RATE: u16 = 2;

/// Which queues a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSelect {
    /// Of this port; [`OfPort::ANY`] is all ports.
    pub port: OfPort,
    /// This queue, or [`QUEUE_ALL`].
    pub queue: u32,
}

impl QueueSelect {
    pub(crate) fn decode(from: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let port = if version == Version::V10 {
            let port = from.port16()?;
            from.skip(2)?;
            // 1.0 says `OFPP_ALL` where later versions say `OFPP_ANY`.
            if port == OfPort::ALL {
                OfPort::ANY
            } else {
                port
            }
        } else {
            from.port()?
        };
        let queue = from.u32()?;
        Ok(Self { port, queue })
    }

    pub(crate) fn encode(self, to: &mut Writer, version: Version) {
        if version == Version::V10 {
            let any = self.port == OfPort::ANY;
            to.port16(if any { OfPort::ALL } else { self.port });
            to.zeros(2);
        } else {
            to.port(self.port);
        }
        to.u32(self.queue);
    }
}

/// A queue's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueDesc {
    /// The port it belongs to.
    pub port: OfPort,
    /// Its number.
    pub queue: u32,
    /// Rate it is sure of, in tenths of a per cent of the port's; more than 1000 is none.
    pub min_rate: Option<u16>,
    /// Rate it may not exceed, alike (since 1.1).
    pub max_rate: Option<u16>,
}

impl QueueDesc {
    /// `port` is what the message says of all its queues, in versions that say it there.
    fn decode(from: &mut Reader<'_>, version: Version, port: OfPort) -> Result<Self, OfError> {
        let mut desc = Self {
            port,
            queue: 0,
            min_rate: None,
            max_rate: None,
        };
        let mut sized = from.clone();
        let mut from = match version {
            Version::V10 => {
                desc.queue = sized.u32()?;
                let mut all = from.part(usize::from(sized.u16()?))?;
                all.skip(8)?;
                all
            }
            Version::V13 => {
                desc.queue = sized.u32()?;
                desc.port = sized.port()?;
                let mut all = from.part(usize::from(sized.u16()?))?;
                all.skip(16)?;
                all
            }
            Version::V14 | Version::V15 => {
                desc.port = sized.port()?;
                desc.queue = sized.u32()?;
                let mut all = from.part(usize::from(sized.u16()?))?;
                all.skip(16)?;
                all
            }
        };
        while !from.is_empty() {
            let (kind, mut value) = if version >= Version::V14 {
                property::read(&mut from)?
            } else {
                old_property(&mut from)?
            };
            // Experimenters' properties mean nothing to the switch.
            match kind {
                MIN_RATE => desc.min_rate = Some(value.u16()?),
                MAX_RATE if version > Version::V10 => desc.max_rate = Some(value.u16()?),
                _ => {}
            }
        }
        Ok(desc)
    }

    fn encode(&self, to: &mut Writer, version: Version) {
        let start = to.size();
        match version {
            Version::V10 => to.u32(self.queue),
            Version::V13 => {
                to.u32(self.queue);
                to.port(self.port);
            }
            Version::V14 | Version::V15 => {
                to.port(self.port);
                to.u32(self.queue);
            }
        }
        let length = to.length();
        to.zeros(if version == Version::V10 { 2 } else { 6 });
        let rates = [(MIN_RATE, self.min_rate), (MAX_RATE, self.max_rate)];
        for (kind, rate) in rates {
            let Some(rate) = rate else { continue };
            match version {
                Version::V10 if kind == MAX_RATE => {}
                Version::V10 | Version::V13 => {
                    to.u16(kind);
                    to.u16(16);
                    to.zeros(4);
                    to.u16(rate);
                    to.zeros(6);
                }
                Version::V14 | Version::V15 => property::write_u16(to, kind, rate),
            }
        }
        to.fill_length(length, start, "a queue's description");
    }

    /// The body of a reply in 1.4.
    pub(crate) fn decode_14(from: &mut Reader<'_>) -> Result<Self, OfError> {
        Self::decode(from, Version::V14, OfPort::ANY)
    }

    /// The body of a reply in 1.4.
    pub(crate) fn encode_14(&self, to: &mut Writer) {
        self.encode(to, Version::V14);
    }
}

/// A property of queues until 1.3: its value begins at the eighth byte.
fn old_property<'a>(from: &mut Reader<'a>) -> Result<(u16, Reader<'a>), OfError> {
    let mut sized = from.clone();
    let (kind, size) = (sized.u16()?, usize::from(sized.u16()?));
    let mut value = from.part_with(size, ErrorCode::BpcBadLen.about("a queue's property"))?;
    value.skip(8)?;
    Ok((kind, value))
}

/// Asks for the queues of a port (until 1.3).
pub(crate) fn decode_config_request(
    from: &mut Reader<'_>,
    version: Version,
) -> Result<OfPort, OfError> {
    if version == Version::V10 {
        let port = from.port16()?;
        from.skip(2)?;
        Ok(port)
    } else {
        let port = from.port()?;
        from.skip(4)?;
        Ok(port)
    }
}

pub(crate) fn encode_config_request(port: OfPort, to: &mut Writer, version: Version) {
    if version == Version::V10 {
        to.port16(port);
        to.zeros(2);
    } else {
        to.port(port);
        to.zeros(4);
    }
}

/// The queues of a port (until 1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// Which port.
    pub port: OfPort,
    /// Its queues.
    pub queues: Vec<QueueDesc>,
}

impl QueueConfig {
    pub(crate) fn decode(from: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let port = if version == Version::V10 {
            let port = from.port16()?;
            from.skip(6)?;
            port
        } else {
            let port = from.port()?;
            from.skip(4)?;
            port
        };
        let mut queues = Vec::new();
        while !from.is_empty() {
            queues.push(QueueDesc::decode(from, version, port)?);
        }
        Ok(Self { port, queues })
    }

    pub(crate) fn encode(&self, to: &mut Writer, version: Version) {
        if version == Version::V10 {
            to.port16(self.port);
            to.zeros(6);
        } else {
            to.port(self.port);
            to.zeros(4);
        }
        self.queues
            .iter()
            .for_each(|queue| queue.encode(to, version));
    }
}

/// A queue's counters; `u64::MAX` where something is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueStats {
    /// The port it belongs to.
    pub port: OfPort,
    /// Its number.
    pub queue: u32,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Packets for which there was no room.
    pub tx_errors: u64,
    /// How long the queue has been there, if that is known (since 1.3).
    pub duration: Option<Elapsed>,
}

impl QueueStats {
    pub(crate) fn decode(from: &mut Reader<'_>, version: Version) -> Result<Self, OfError> {
        let mut all = match version {
            Version::V10 | Version::V13 => {
                from.part(if version == Version::V10 { 32 } else { 40 })?
            }
            Version::V14 | Version::V15 => {
                let mut all = from.part(usize::from(from.peek_u16()?))?;
                all.skip(8)?;
                all
            }
        };
        let port = if version == Version::V10 {
            let port = all.port16()?;
            all.skip(2)?;
            port
        } else {
            all.port()?
        };
        Ok(Self {
            port,
            queue: all.u32()?,
            tx_bytes: all.u64()?,
            tx_packets: all.u64()?,
            tx_errors: all.u64()?,
            // What may follow in 1.4 are experimenters' properties.
            duration: match version {
                Version::V10 => None,
                Version::V13 | Version::V14 | Version::V15 => elapsed::decode(&mut all)?,
            },
        })
    }

    pub(crate) fn encode(&self, to: &mut Writer, version: Version) {
        let start = to.size();
        let length = (version >= Version::V14).then(|| {
            let length = to.length();
            to.zeros(6);
            length
        });
        if version == Version::V10 {
            to.port16(self.port);
            to.zeros(2);
        } else {
            to.port(self.port);
        }
        to.u32(self.queue);
        to.u64(self.tx_bytes);
        to.u64(self.tx_packets);
        to.u64(self.tx_errors);
        if version > Version::V10 {
            elapsed::encode(self.duration, to);
        }
        if let Some(length) = length {
            to.fill_length(length, start, "a queue's counters");
        }
    }
}
