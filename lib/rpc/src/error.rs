//! Why a call was not carried out: a number for programs, one sentence for people, and what to do.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What kind of refusal it is. The negative numbers are those of JSON-RPC 2.0, the positive ones
/// ours; a number, once given, keeps its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The line is not JSON.
    Parse,
    /// JSON, but not a request.
    InvalidRequest,
    /// No method of that name.
    UnknownMethod,
    /// The parameters are not those of the method.
    InvalidParams,
    /// A name, key or value is not allowed.
    Refused,
    /// A bridge, port or device that is not there.
    NotFound,
    /// A name or number that is taken.
    Exists,
    /// The kernel would not let us: privilege, limits, an old kernel, a device that cannot do it.
    Kernel,
    /// The datapath process is not there or does not answer.
    Unavailable,
    /// Nothing the caller did: a store that cannot be written, a bug.
    Failed,
}

impl Code {
    /// Every code with its number.
    const NUMBERS: [(Self, i64); 10] = [
        (Self::Parse, -32700),
        (Self::InvalidRequest, -32600),
        (Self::UnknownMethod, -32601),
        (Self::InvalidParams, -32602),
        (Self::Refused, 1),
        (Self::NotFound, 2),
        (Self::Exists, 3),
        (Self::Kernel, 4),
        (Self::Unavailable, 5),
        (Self::Failed, 6),
    ];

    /// The number on the wire.
    pub fn number(self) -> i64 {
        let row = Self::NUMBERS.iter().find(|(code, _)| *code == self);
        row.expect("every code is in the list").1
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.number())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(deserializer)?;
        let row = Self::NUMBERS.iter().find(|row| row.1 == number);
        row.map(|row| row.0)
            .ok_or_else(|| D::Error::custom(format!("unknown error code {number}")))
    }
}

/// The `error` member of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// For programs.
    pub code: Code,
    /// For people: one sentence that says what was asked and why it cannot be, without a full stop.
    pub message: String,
    /// What would have been possible, and what to do next.
    #[serde(default, skip_serializing_if = "Advice::is_empty")]
    pub data: Advice,
}

/// What helps the person who was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Advice {
    /// The keys, values or names that would have been accepted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<String>,
    /// The next step, as a sentence or a command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Advice {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Refusal {
    /// A refusal without advice.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: Advice::default(),
        }
    }

    /// Adds what would have been accepted.
    #[must_use]
    pub fn allowed<S: Into<String>>(mut self, allowed: impl IntoIterator<Item = S>) -> Self {
        self.data.allowed = allowed.into_iter().map(Into::into).collect();
        self
    }

    /// Adds the next step.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.data.hint = Some(hint.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_comes_back_from_its_number() {
        for (code, number) in Code::NUMBERS {
            let text = serde_json::to_string(&code).unwrap();
            assert_eq!(text, number.to_string());
            assert_eq!(serde_json::from_str::<Code>(&text).unwrap(), code);
        }
        assert!(serde_json::from_str::<Code>("99").is_err());
    }
}
