//! Hello: how two sides find a version (OpenFlow 1.3.5 §6.3.1, §7.5.1).

use crate::error::{ErrorCode, OfError};
use crate::header::Version;
use crate::wire::{Reader, Writer};

/// The element that lists versions (`OFPHET_VERSIONBITMAP`).
const VERSION_BITMAP: u16 = 1;

/// What a side says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The header's version: the highest that the side speaks.
    pub version: u8,
    /// Which versions it speaks, if it says: bit `n % 32` of word `n / 32` is version `n`.
    pub bitmap: Option<Vec<u32>>,
}

impl Hello {
    /// Says that we speak `versions`.
    #[must_use]
    pub fn new(versions: &[Version]) -> Self {
        let bits = versions.iter().map(|version| 1 << version.number());
        Self {
            version: versions.iter().max().map_or(0, |max| max.number()),
            bitmap: Some(vec![bits.fold(0, |all, bit: u32| all | bit)]),
        }
    }

    /// Whether the side speaks a version. One that does not list them speaks all up to its highest.
    #[must_use]
    pub fn speaks(&self, version: Version) -> bool {
        let number = version.number();
        match &self.bitmap {
            Some(words) => words.first().is_some_and(|word| word >> number & 1 != 0),
            None => number <= self.version,
        }
    }

    /// The highest of `ours` that this side speaks too; without one the answer is
    /// [`ErrorCode::HfcIncompatible`].
    pub fn agree(&self, ours: &[Version]) -> Result<Version, OfError> {
        let common = ours.iter().copied().filter(|ours| self.speaks(*ours));
        common
            .max()
            .ok_or(ErrorCode::HfcIncompatible.about("hello"))
    }

    /// A body that is not understood is passed over, since versions to come may put anything there.
    pub(crate) fn decode(from: &mut Reader<'_>, version: u8) -> Self {
        let mut bitmap = None;
        while let Ok((kind, mut value)) = element(from) {
            if kind == VERSION_BITMAP {
                let mut words = Vec::new();
                while let Ok(word) = value.u32() {
                    words.push(word);
                }
                bitmap = Some(words);
            }
        }
        from.take_rest();
        Self { version, bitmap }
    }

    pub(crate) fn encode(&self, to: &mut Writer) {
        let Some(words) = &self.bitmap else { return };
        let start = to.size();
        to.u16(VERSION_BITMAP);
        let length = to.length();
        words.iter().for_each(|word| to.u32(*word));
        to.fill_length(length, start, "the list of versions");
        to.pad8(start);
    }
}

/// The next element: type and value. The last one's zeros may be missing.
fn element<'a>(from: &mut Reader<'a>) -> Result<(u16, Reader<'a>), OfError> {
    let (kind, size) = (from.u16()?, usize::from(from.u16()?));
    let value = from.part(size.checked_sub(4).ok_or(from.bad_len())?)?;
    let zeros = size.next_multiple_of(8) - size;
    from.skip(zeros.min(from.left()))?;
    Ok((kind, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(version: u8, body: &[u8]) -> Hello {
        let mut from = Reader::new(body, ErrorCode::BrcBadLen.about("hello"));
        Hello::decode(&mut from, version)
    }

    /// `ovs-ofctl encode-hello 0x72`, without the header.
    const BITMAP: [u8; 8] = [0, 1, 0, 8, 0, 0, 0, 0x72];

    #[test]
    fn versions_are_listed_in_a_bitmap() {
        let hello = Hello::new(&Version::ALL);
        let mut to = Writer::new();
        hello.encode(&mut to);
        assert_eq!(to.finish().unwrap(), BITMAP);
        assert_eq!(decode(6, &BITMAP), hello);
    }

    #[test]
    fn the_highest_common_version_is_agreed() {
        let all = Version::ALL;
        assert_eq!(decode(5, &BITMAP).agree(&all), Ok(Version::V15));
        // 1.0, 1.1 and 1.2 only.
        let gaps = decode(6, &[0, 1, 0, 8, 0, 0, 0, 0x0e]);
        assert_eq!(gaps.agree(&all), Ok(Version::V10));
        // Without a list: everything up to 1.1, or to 1.3.
        assert_eq!(decode(2, &[]).agree(&all), Ok(Version::V10));
        assert_eq!(decode(4, &[]).agree(&all), Ok(Version::V13));
        let refused = decode(4, &[0, 1, 0, 8, 0, 0, 0, 0x0c]).agree(&all);
        assert_eq!(refused.unwrap_err().code, ErrorCode::HfcIncompatible);
    }

    #[test]
    fn a_body_that_is_not_understood_is_passed_over() {
        for body in [
            &[1, 2, 3][..],
            &[0, 1, 0, 3, 0, 0, 0, 0],
            &[0, 1, 0, 99],
            &[0, 2, 0, 5, 9, 0, 0, 0],
        ] {
            assert_eq!(decode(4, body).bitmap, None, "{body:?}");
        }
        let after_unknown = [&[0, 9, 0, 5, 1, 0, 0, 0][..], &BITMAP].concat();
        assert_eq!(decode(4, &after_unknown).bitmap, Some(vec![0x72]));
    }
}
