//! What connection tracking is taken to find in a trace, as people write it.
//!
//! Spec: `parse_ct_state` and `validate_ct_state` in `lib/flow.c` of Open vSwitch.

/// Bits of `ct_state` by name, the lowest first.
const STATES: [&str; 8] = ["new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat"];
const NEW: u8 = 0x01;
const ESTABLISHED: u8 = 0x02;
const REPLY: u8 = 0x08;
const INVALID: u8 = 0x10;
const TRACKED: u8 = 0x20;

/// Why tracking cannot find something, in the words of Open vSwitch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadState {
    /// Not a bit of `ct_state`.
    #[error("{0}: unknown connection tracking state flag")]
    Unknown(String),
    /// Bits that never stand together.
    #[error("{0}: invalid connection state: {1}")]
    Together(String, &'static str),
}

/// Reads what tracking finds: names of bits, separated by commas or spaces.
///
/// # Errors
/// A name that is none, or bits that never stand together.
pub(super) fn state_bits(text: &str) -> Result<u8, BadState> {
    let mut state = 0;
    for name in text.split([',', ' ']).filter(|name| !name.is_empty()) {
        let at = STATES.iter().position(|known| *known == name);
        state |= 1 << at.ok_or_else(|| BadState::Unknown(name.to_owned()))?;
    }
    let has = |bits| state & bits != 0;
    let why = if state != 0 && !has(TRACKED) {
        "If \"trk\" is unset, no other flags are set"
    } else if has(INVALID) && has(!(TRACKED | INVALID)) {
        "when \"inv\" is set, only \"trk\" may also be set"
    } else if has(NEW) && has(ESTABLISHED) {
        "\"new\" and \"est\" are mutually exclusive"
    } else if has(NEW) && has(REPLY) {
        "\"new\" and \"rpy\" are mutually exclusive"
    } else {
        return Ok(state);
    };
    let set = (0..8).filter(|at| state >> at & 1 != 0);
    let names: Vec<_> = set.filter_map(|at| STATES.get(at).copied()).collect();
    Err(BadState::Together(names.join("|"), why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_and_those_that_cannot_be_are_refused() {
        assert_eq!(state_bits("trk,est"), Ok(0x22));
        assert_eq!(state_bits("trk new"), Ok(0x21));
        assert_eq!(state_bits(""), Ok(0));
        for (text, why) in [
            ("old", "old: unknown connection tracking state flag"),
            (
                "est",
                "est: invalid connection state: If \"trk\" is unset, no other flags are set",
            ),
            (
                "trk,new,est",
                "new|est|trk: invalid connection state: \"new\" and \"est\" are mutually exclusive",
            ),
            (
                "trk,inv,rpl",
                "rpl|inv|trk: invalid connection state: when \"inv\" is set, only \"trk\" may also \
                 be set",
            ),
        ] {
            assert_eq!(
                state_bits(text).map_err(|e| e.to_string()),
                Err(why.to_owned())
            );
        }
    }
}
