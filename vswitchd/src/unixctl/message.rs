//! Requests and replies: JSON-RPC 1.0, with text for the result and for the error.
//!
//! Spec: <https://www.jsonrpc.org/specification_v1>, `lib/jsonrpc.c` and `lib/unixctl.c` of Open
//! vSwitch.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One call.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Request {
    /// Comes back unchanged. Null says that no answer is wanted, which is not offered.
    pub id: Value,
    /// The command.
    pub method: String,
    /// What follows it; all of it should be text.
    pub params: Vec<Value>,
}

/// What is not a request.
#[derive(Debug, thiserror::Error)]
pub enum BadRequest {
    /// Not JSON, or a member is missing or of another type, as in a reply.
    #[error("{0}")]
    Unreadable(#[from] serde_json::Error),
    /// One that wants no answer.
    #[error("it is a notification: a request has an id")]
    Notification,
}

impl Request {
    /// Reads one object.
    pub fn parse(object: &[u8]) -> Result<Self, BadRequest> {
        let request: Self = serde_json::from_slice(object)?;
        if request.id.is_null() {
            return Err(BadRequest::Notification);
        }
        Ok(request)
    }
}

/// The reply to the request with this id, ready to be written. Text that is there ends its last
/// line.
pub fn reply(id: &Value, answer: Result<String, String>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Reply<'a> {
        id: &'a Value,
        result: Option<String>,
        error: Option<String>,
    }
    let ended = |mut text: String| {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text
    };
    let (result, error) = match answer {
        Ok(text) => (Some(ended(text)), None),
        Err(text) => (None, Some(ended(text))),
    };
    serde_json::to_vec(&Reply { id, result, error })
        .expect("text and a value that was JSON are written to memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_what_ovs_appctl_sends() {
        let request = Request::parse(br#"{"id":0,"method":"fdb/show","params":["br0"]}"#);
        let expected = Request {
            id: 0.into(),
            method: "fdb/show".into(),
            params: vec!["br0".into()],
        };
        assert_eq!(request.unwrap(), expected);
    }

    #[test]
    fn an_answer_ends_its_last_line_and_silence_stays_silence() {
        let text = |answer| String::from_utf8(reply(&1.into(), answer)).unwrap();
        assert_eq!(
            text(Ok("a\nb".into())),
            r#"{"id":1,"result":"a\nb\n","error":null}"#
        );
        assert_eq!(
            text(Ok("a\n".into())),
            r#"{"id":1,"result":"a\n","error":null}"#
        );
        assert_eq!(
            text(Ok(String::new())),
            r#"{"id":1,"result":"","error":null}"#
        );
        assert_eq!(
            text(Err("no".into())),
            r#"{"id":1,"result":null,"error":"no\n"}"#
        );
    }

    #[test]
    fn deep_nesting_is_refused_and_does_not_overflow_the_stack() {
        let deep = format!(
            r#"{{"id":0,"method":"x","params":[{}{}]}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert!(matches!(
            Request::parse(deep.as_bytes()),
            Err(BadRequest::Unreadable(_))
        ));
    }
}
