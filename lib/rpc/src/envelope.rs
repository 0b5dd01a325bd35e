//! The JSON-RPC 2.0 envelope around a call and its answer.
//!
//! [`Request::parse`] is where bytes from outside enter `vswitchd`; it answers every kind of
//! nonsense with the code the specification gives it and never panics.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::error::{Code, Refusal};
use crate::method::{Call, Method};

/// The `"jsonrpc":"2.0"` member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Version;

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("2.0")
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let version = String::deserialize(deserializer)?;
        if version == "2.0" {
            Ok(Self)
        } else {
            Err(D::Error::custom(format!(
                "jsonrpc must be \"2.0\", not {version:?}"
            )))
        }
    }
}

/// One call. The `id` is a number or a string of the caller's choice and comes back unchanged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    jsonrpc: Version,
    /// Ties the answer to the call.
    pub id: Value,
    /// A name of [`crate::method::NAMES`].
    pub method: String,
    /// The parameters by name.
    #[serde(default = "no_params")]
    pub params: Value,
}

fn no_params() -> Value {
    Value::Object(serde_json::Map::new())
}

impl Request {
    /// The request for `call`.
    pub fn new(id: u64, call: &Call) -> Self {
        Self {
            jsonrpc: Version,
            id: id.into(),
            method: call.name().into(),
            params: call.params(),
        }
    }

    /// Reads one line. The error is the answer to send: it carries the caller's id where one could
    /// be read.
    pub fn parse(line: &[u8]) -> Result<(Value, Call), Box<Response>> {
        let value: Value = serde_json::from_slice(line).map_err(|error| {
            Response::refusal(
                Value::Null,
                Refusal::new(Code::Parse, format!("not JSON: {error}")),
            )
        })?;
        let id = value.get("id").cloned().unwrap_or(Value::Null);
        if !(id.is_number() || id.is_string()) {
            let text = "a request needs an id that is a number or a string";
            let refusal = Refusal::new(Code::InvalidRequest, text);
            return Err(Response::refusal(Value::Null, refusal).into());
        }
        let request: Self = serde_json::from_value(value).map_err(|error| {
            let text = format!("not a JSON-RPC 2.0 request: {error}");
            Response::refusal(id.clone(), Refusal::new(Code::InvalidRequest, text))
        })?;
        match Call::parse(&request.method, request.params) {
            Ok(call) => Ok((id, call)),
            Err(refusal) => Err(Response::refusal(id, refusal).into()),
        }
    }
}

/// One answer: exactly one of `result` and `error` is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Response {
    jsonrpc: Version,
    /// The id of the call; null when it could not be read.
    pub id: Value,
    /// The reply of the method.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub result: Option<Value>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Refusal>,
}

/// A member that is there is `Some`, also when it is null.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// An answer that is not one.
#[derive(Debug, thiserror::Error)]
pub enum BadResponse {
    /// Not JSON, or not of the type the method promises.
    #[error("the answer cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// Neither `result` nor `error`, or both.
    #[error("the answer has neither a result nor an error, or both")]
    Ambiguous,
    /// The answer to another call.
    #[error("the answer carries the id {found} instead of {expected}")]
    WrongId {
        /// The id that was sent.
        expected: Value,
        /// The id that came back.
        found: Value,
    },
}

impl Response {
    /// The answer to a call that was carried out.
    pub fn result(id: Value, result: Value) -> Self {
        Self {
            jsonrpc: Version,
            id,
            result: Some(result),
            error: None,
        }
    }

    /// The answer of `method` with its reply type checked at compile time.
    pub fn reply<M: Method>(id: Value, reply: &M::Reply) -> Self {
        let value = serde_json::to_value(reply)
            .expect("replies are maps with string keys and plain numbers");
        Self::result(id, value)
    }

    /// The answer to a call that was not carried out.
    pub fn refusal(id: Value, refusal: Refusal) -> Self {
        Self {
            jsonrpc: Version,
            id,
            result: None,
            error: Some(refusal),
        }
    }

    /// Reads the answer to the call with this id: the raw result, or the refusal.
    pub fn parse(line: &[u8], expected: &Value) -> Result<Result<Value, Refusal>, BadResponse> {
        let response: Self = serde_json::from_slice(line)?;
        // A peer that could not read our id answers with null; its refusal is worth reading.
        if response.id != *expected && !(response.id.is_null() && response.error.is_some()) {
            return Err(BadResponse::WrongId {
                expected: expected.clone(),
                found: response.id,
            });
        }
        match (response.result, response.error) {
            (Some(result), None) => Ok(Ok(result)),
            (None, Some(refusal)) => Ok(Err(refusal)),
            _ => Err(BadResponse::Ambiguous),
        }
    }
}

/// The typed reply in a raw result.
pub fn decode_reply<T: DeserializeOwned>(result: Value) -> Result<T, BadResponse> {
    Ok(serde_json::from_value(result)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::{AddBr, ListBr};

    fn refused(line: &[u8]) -> (Value, Refusal) {
        let response = *Request::parse(line).unwrap_err();
        (response.id, response.error.unwrap())
    }

    #[test]
    fn a_request_is_the_line_the_specification_shows() {
        let request = Request::new(1, &Call::ListBr(ListBr {}));
        assert_eq!(
            serde_json::to_string(&request).unwrap(),
            r#"{"jsonrpc":"2.0","id":1,"method":"list-br","params":{}}"#
        );
    }

    #[test]
    fn parameters_may_be_left_out_when_none_are_needed() {
        let line = br#"{"jsonrpc":"2.0","id":"a","method":"list-br"}"#;
        assert_eq!(
            Request::parse(line).unwrap(),
            ("a".into(), Call::ListBr(ListBr {}))
        );
    }

    #[test]
    fn options_arrive_as_typed() {
        let line = br#"{"jsonrpc":"2.0","id":7,"method":"add-br","params":{"name":"br0","options":{"fail_mode":"secure"}}}"#;
        let (_, call) = Request::parse(line).unwrap();
        let Call::AddBr(AddBr { name, options }) = call else {
            panic!("{call:?}")
        };
        assert_eq!(name, "br0");
        assert_eq!(options["fail_mode"], "secure");
    }

    #[test]
    fn nonsense_gets_the_code_of_the_specification() {
        let cases: [(&[u8], Value, Code); 8] = [
            (b"{", Value::Null, Code::Parse),
            (b"\xff\xfe", Value::Null, Code::Parse),
            (b"[]", Value::Null, Code::InvalidRequest),
            (
                br#"{"jsonrpc":"2.0","method":"show"}"#,
                Value::Null,
                Code::InvalidRequest,
            ),
            (
                br#"{"jsonrpc":"1.0","id":1,"method":"show"}"#,
                1.into(),
                Code::InvalidRequest,
            ),
            (
                br#"{"jsonrpc":"2.0","id":1,"method":"shw"}"#,
                1.into(),
                Code::UnknownMethod,
            ),
            (
                br#"{"jsonrpc":"2.0","id":1,"method":"show","params":[1]}"#,
                1.into(),
                Code::InvalidParams,
            ),
            (
                br#"{"jsonrpc":"2.0","id":1,"method":"fdb-show","params":{"brige":"br0"}}"#,
                1.into(),
                Code::InvalidParams,
            ),
        ];
        for (line, id, code) in cases {
            let (found, refusal) = refused(line);
            assert_eq!(
                (found, refusal.code),
                (id, code),
                "{}",
                String::from_utf8_lossy(line)
            );
        }
    }

    #[test]
    fn deep_nesting_is_refused_and_does_not_overflow_the_stack() {
        let (_, refusal) = refused("[".repeat(1 << 20).as_bytes());
        assert_eq!(refusal.code, Code::Parse);
    }

    #[test]
    fn an_answer_with_both_or_neither_is_no_answer() {
        for line in [
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":2,"message":"m"}}"#,
        ] {
            let parsed = Response::parse(line.as_bytes(), &1.into());
            assert!(matches!(parsed, Err(BadResponse::Ambiguous)), "{line}");
        }
    }

    #[test]
    fn an_answer_to_another_call_is_noticed() {
        let line = br#"{"jsonrpc":"2.0","id":2,"result":{}}"#;
        assert!(matches!(
            Response::parse(line, &1.into()),
            Err(BadResponse::WrongId { .. })
        ));
    }

    #[test]
    fn a_refusal_comes_back_as_it_was_sent() {
        let refusal = Refusal::new(Code::NotFound, "there is no bridge br7")
            .allowed(["br0", "br1"])
            .hint("vsctl list-br lists the bridges");
        let line = serde_json::to_vec(&Response::refusal(1.into(), refusal.clone())).unwrap();
        assert_eq!(Response::parse(&line, &1.into()).unwrap(), Err(refusal));
    }
}
