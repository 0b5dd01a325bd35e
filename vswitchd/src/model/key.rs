//! Settings as they are typed: one row per key.
//!
//! A row is everything there is to know about a key: how its value is read, how it is written, what
//! a refusal says it takes, and whether it may change later. Lists of allowed keys, `set-…`,
//! `get-…` and defaults follow from the rows.

use vswitch_rpc::method::Options;

use super::refusal::ModelError;

/// One setting of `S`.
#[derive(Debug)]
pub struct Key<S> {
    /// What stands before the `=`.
    pub name: &'static str,
    /// It may be changed after its owner was made.
    pub live: bool,
    /// The values it takes, to end the sentence "key takes ...".
    pub takes: &'static str,
    /// Reads a value; `None` when it is none.
    pub set: fn(&mut S, &str) -> Option<()>,
    /// Back to the default.
    pub clear: fn(&mut S),
    /// The value in force as it would be typed; `None` when the setting is not set.
    pub show: fn(&S) -> Option<String>,
}

/// When settings are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Together with their owner.
    New,
    /// Later.
    Later,
}

/// The names in `keys`.
pub fn names<'a, S: 'a>(keys: impl IntoIterator<Item = &'a Key<S>>) -> Vec<&'static str> {
    keys.into_iter().map(|key| key.name).collect()
}

/// Carries out `options` on `settings`. An empty value puts a setting back to its default. `what`
/// is who has the settings, for the refusal of an unknown key.
///
/// After an error `settings` may be changed in part, so the caller works on a copy.
pub fn apply<S>(
    keys: &'static [Key<S>],
    what: &str,
    when: When,
    settings: &mut S,
    options: &Options,
) -> Result<(), ModelError> {
    for (name, value) in options {
        let Some(key) = keys.iter().find(|key| key.name == canonical(name)) else {
            return Err(ModelError::UnknownKey {
                what: what.into(),
                key: name.clone(),
                allowed: names(keys),
            });
        };
        if when == When::Later && !key.live {
            return Err(ModelError::Fixed {
                key: key.name,
                allowed: names(keys.iter().filter(|key| key.live)),
            });
        }
        if value.is_empty() {
            (key.clear)(settings);
        } else if (key.set)(settings, value).is_none() {
            return Err(ModelError::Value {
                key: key.name,
                value: value.clone(),
                takes: key.takes,
            });
        }
    }
    Ok(())
}

/// The settings in force, in the words [`apply`] takes.
pub fn show<S>(keys: &'static [Key<S>], settings: &S) -> Options {
    keys.iter()
        .filter_map(|key| Some((key.name.into(), (key.show)(settings)?)))
        .collect()
}

/// Open vSwitch's word for a key of ours, where it has another.
fn canonical(name: &str) -> &str {
    match name {
        "n_rxq" => "queues",
        "df_default" => "df",
        other => other,
    }
}

/// A number in a range.
pub fn number<T>(text: &str, range: std::ops::RangeInclusive<T>) -> Option<T>
where
    T: std::str::FromStr + PartialOrd,
{
    // A sign or a leading plus is not how a number is written here.
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|value| range.contains(value))
}

/// `true` or `false`, also as 1 and 0 or yes and no.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "yes" | "1" => Some(true),
        "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// VLANs: numbers and ranges, `1,2,10-20`, sorted and without repeats.
pub fn vlans(text: &str) -> Option<Vec<u16>> {
    let mut set = std::collections::BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first, 0..=4095)?, number(last, 0..=4095)?);
        if first > last {
            return None;
        }
        set.extend(first..=last);
    }
    Some(set.into_iter().collect())
}

/// VLANs as [`vlans`] reads them, ranges drawn together.
pub fn show_vlans(vlans: &[u16]) -> String {
    let mut text = String::new();
    let mut rest = vlans;
    while let [first, ..] = rest {
        let len = rest
            .iter()
            .zip(u32::from(*first)..)
            .take_while(|(vlan, expected)| u32::from(**vlan) == *expected)
            .count();
        let (run, after) = rest.split_at(len);
        let separator = if text.is_empty() { "" } else { "," };
        text += separator;
        match run {
            [one] => text += &one.to_string(),
            [.., last] if len > 2 => text += &format!("{first}-{last}"),
            _ => text += &format!("{first},{}", first + 1),
        }
        rest = after;
    }
    text
}

/// Six bytes, `02:00:00:00:00:01`; a device's own address, so neither a group's nor zero.
pub fn mac(text: &str) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        let part = parts.next().filter(|part| matches!(part.len(), 1 | 2))?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    let single = bytes[0] & 1 == 0 && bytes != [0; 6];
    (parts.next().is_none() && single).then_some(bytes)
}

/// An address as [`mac`] reads it.
pub fn show_mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vlan_lists_survive_being_written_and_read() {
        let cases = [
            ("1", vec![1], "1"),
            ("2,1,2", vec![1, 2], "1,2"),
            ("10-13,7", vec![7, 10, 11, 12, 13], "7,10-13"),
            ("0,4095", vec![0, 4095], "0,4095"),
            ("1,2,3,5,6", vec![1, 2, 3, 5, 6], "1-3,5,6"),
        ];
        for (text, list, shown) in cases {
            assert_eq!(vlans(text).as_deref(), Some(&list[..]), "{text}");
            assert_eq!(show_vlans(&list), shown);
            assert_eq!(vlans(shown).as_deref(), Some(&list[..]));
        }
        for bad in ["", ",", "4096", "5-1", "a", "1,,2", "-1", "+1", "1-"] {
            assert_eq!(vlans(bad), None, "{bad}");
        }
    }

    #[test]
    fn addresses_are_those_a_device_can_have() {
        assert_eq!(mac("2:0:0:0:0:a"), Some([2, 0, 0, 0, 0, 10]));
        assert_eq!(show_mac([2, 0, 0, 0, 0, 10]), "02:00:00:00:00:0a");
        for bad in [
            "01:00:00:00:00:01",
            "00:00:00:00:00:00",
            "02:00:00:00:00",
            "02:00:00:00:00:01:02",
            "02:00:00:00:00:0g",
            "10.0.0.1",
            "002:0:0:0:0:0",
        ] {
            assert_eq!(mac(bad), None, "{bad}");
        }
    }

    #[test]
    fn numbers_are_digits_in_their_range() {
        assert_eq!(number::<u32>("7", 1..=9), Some(7));
        for bad in ["", "0", "10", "+7", "-7", "7 ", "0x7", "99999999999"] {
            assert_eq!(number::<u32>(bad, 1..=9), None, "{bad}");
        }
    }
}
