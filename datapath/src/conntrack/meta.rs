//! What tracking found, as the words of a packet's key.
//!
//! The words are those of [`vswitch_flow::CT_WORD`] and after. A key has no room for the identifier
//! of an ICMP query: it shows type and code as ports, as Open vSwitch does (`write_ct_md` in
//! `lib/conntrack.c`), so a tuple that was read from a key has identifier 0.

use vswitch_flow::{CT_WORD, CT_WORDS, Field, SparseKey};

use super::request::Meta;
use super::tuple::{Family, Tuple};

/// Ethernet type of IPv4.
const IPV4: u16 = 0x0800;

/// Places in the words; the tests hold them against the field table.
const STATE_SHIFT: u32 = 32;
const ZONE_SHIFT: u32 = 16;
const PROTOCOL_SHIFT: u32 = 8;
const MARK_SHIFT: u32 = 32;
const SRC_PORT_SHIFT: u32 = 16;
const IPV4_SRC_SHIFT: u32 = 32;

impl Meta {
    /// The words of a key.
    #[must_use]
    pub fn words(&self) -> [u64; CT_WORDS] {
        let halves = |value: u128| [(value >> 64) as u64, value as u64];
        let [label_high, label_low] = halves(self.label);
        let mut words = [
            u64::from(self.state) << STATE_SHIFT | u64::from(self.zone) << ZONE_SHIFT,
            u64::from(self.mark) << MARK_SHIFT,
            label_high,
            label_low,
            0,
            0,
            0,
            0,
        ];
        if let Some(tuple) = &self.original {
            let (src_port, dst_port) = match tuple.is_icmp() {
                true => (tuple.dst_port >> 8, tuple.dst_port & 0xff),
                false => (tuple.src_port, tuple.dst_port),
            };
            words[0] |= u64::from(tuple.protocol) << PROTOCOL_SHIFT;
            words[1] |= u64::from(src_port) << SRC_PORT_SHIFT | u64::from(dst_port);
            match tuple.family {
                Family::V4 => {
                    words[4] = (tuple.src as u64) << IPV4_SRC_SHIFT | tuple.dst as u64;
                }
                Family::V6 => {
                    [words[4], words[5]] = halves(tuple.src);
                    [words[6], words[7]] = halves(tuple.dst);
                }
            }
        }
        words
    }

    /// What a key says.
    #[must_use]
    pub fn of(key: &SparseKey) -> Self {
        let words = key.tracked();
        if words[0] == 0 {
            return Self::default();
        }
        let whole = |high: u64, low: u64| u128::from(high) << 64 | u128::from(low);
        let word = key.word(usize::from(Field::EthType.info().word));
        let family = match word as u16 {
            IPV4 => Family::V4,
            _ => Family::V6,
        };
        let (src, dst) = match family {
            Family::V4 => (
                u128::from(words[4] >> IPV4_SRC_SHIFT),
                u128::from(words[4] as u32),
            ),
            Family::V6 => (whole(words[4], words[5]), whole(words[6], words[7])),
        };
        let protocol = (words[0] >> PROTOCOL_SHIFT) as u8;
        let ports = ((words[1] >> SRC_PORT_SHIFT) as u16, words[1] as u16);
        let mut original = Tuple {
            family,
            protocol,
            src,
            dst,
            src_port: ports.0,
            dst_port: ports.1,
        };
        if original.is_icmp() {
            original.src_port = 0;
            original.dst_port = ports.0 << 8 | ports.1 & 0xff;
        }
        Self {
            state: (words[0] >> STATE_SHIFT) as u8,
            zone: (words[0] >> ZONE_SHIFT) as u16,
            mark: (words[1] >> MARK_SHIFT) as u32,
            label: whole(words[2], words[3]),
            original: (protocol != 0).then_some(original),
        }
    }
}

const _: () = assert!(CT_WORD == 25, "the words are numbered from there");

#[cfg(test)]
mod tests {
    use super::*;
    use vswitch_flow::FlowKey;

    fn key_of(meta: &Meta, ethertype: u16) -> SparseKey {
        let mut key = FlowKey::default();
        key.set(Field::EthType, ethertype.into());
        SparseKey::from(&key).again(&SparseKey::new(), &meta.words(), 1)
    }

    fn meta(original: Tuple) -> Meta {
        Meta {
            state: 0xa9,
            zone: 0x1234,
            mark: 0xdead_beef,
            label: 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210,
            original: Some(original),
        }
    }

    #[test]
    fn fields_have_what_was_found() {
        let meta = meta(Tuple {
            family: Family::V4,
            protocol: 17,
            src: 0x0a01_0101,
            dst: 0x0a01_0102,
            src_port: 1,
            dst_port: 2,
        });
        let key = key_of(&meta, 0x0800);
        assert_eq!(Meta::of(&key), meta);
        let key = key.to_dense();
        for (field, value) in [
            (Field::CtState, 0xa9),
            (Field::CtZone, 0x1234),
            (Field::CtMark, 0xdead_beef),
            (Field::CtLabel, meta.label),
            (Field::CtProto, 17),
            (Field::CtIpv4Src, 0x0a01_0101),
            (Field::CtIpv4Dst, 0x0a01_0102),
            (Field::CtTpSrc, 1),
            (Field::CtTpDst, 2),
        ] {
            assert_eq!(key.field(field), value, "{field}");
        }
    }

    #[test]
    fn addresses_of_ipv6_fill_their_words() {
        let meta = meta(Tuple {
            family: Family::V6,
            protocol: 6,
            src: 0xfc00 << 112 | 1,
            dst: 0xfc00 << 112 | 2,
            src_port: 40_000,
            dst_port: 80,
        });
        let key = key_of(&meta, 0x86dd);
        assert_eq!(Meta::of(&key), meta);
        assert_eq!(key.to_dense().field(Field::CtIpv6Src), 0xfc00 << 112 | 1);
        assert_eq!(key.to_dense().field(Field::CtIpv6Dst), 0xfc00 << 112 | 2);
    }

    #[test]
    fn an_icmp_query_shows_type_and_code() {
        let mut wanted = meta(Tuple {
            family: Family::V4,
            protocol: 1,
            src: 1,
            dst: 2,
            src_port: 77,
            dst_port: 8 << 8,
        });
        let key = key_of(&wanted, 0x0800);
        assert_eq!(key.to_dense().field(Field::CtTpSrc), 8);
        assert_eq!(key.to_dense().field(Field::CtTpDst), 0);
        if let Some(original) = &mut wanted.original {
            original.src_port = 0;
        }
        assert_eq!(Meta::of(&key), wanted);
    }

    #[test]
    fn an_untracked_packet_has_nothing() {
        assert_eq!(Meta::default().words(), [0; CT_WORDS]);
        assert_eq!(Meta::of(&SparseKey::new()), Meta::default());
    }
}
