//! Replies as text: a page is built in memory and written at once, so that a failure in the middle
//! prints nothing half.

pub mod number;
pub mod table;

use std::fmt::Display;

use owo_colors::{OwoColorize, Style};
use serde_json::Value;
use vswitch_rpc::port::State;

/// What a piece of text says beyond its words. Nothing is said by colour alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Nothing.
    #[default]
    Plain,
    /// A heading or a name.
    Strong,
    /// It works.
    Good,
    /// It may be so, but look.
    Odd,
    /// It does not work.
    Bad,
    /// An aside.
    Faint,
}

impl From<State> for Tone {
    fn from(state: State) -> Self {
        match state {
            State::Up => Self::Good,
            State::Down | State::Missing => Self::Odd,
            State::Error => Self::Bad,
        }
    }
}

/// Text in the making.
#[derive(Debug)]
pub struct Page {
    text: String,
    coloured: bool,
}

impl Page {
    /// An empty page.
    pub fn new(coloured: bool) -> Self {
        Self {
            text: String::new(),
            coloured,
        }
    }

    /// Adds a line.
    pub fn line(&mut self, line: impl Display) {
        self.text += &format!("{line}\n");
    }

    /// Adds text that is made of lines.
    pub fn text(&mut self, text: &str) {
        self.text += text;
    }

    /// The text in its tone.
    pub fn paint(&self, text: impl Display, tone: Tone) -> String {
        if !self.coloured || tone == Tone::Plain {
            return text.to_string();
        }
        let style = match tone {
            Tone::Plain => Style::new(),
            Tone::Strong => Style::new().bold(),
            Tone::Good => Style::new().green(),
            Tone::Odd => Style::new().yellow(),
            Tone::Bad => Style::new().red(),
            Tone::Faint => Style::new().dimmed(),
        };
        text.style(style).to_string()
    }

    /// The bytes to write.
    pub fn into_bytes(self) -> Vec<u8> {
        self.text.into_bytes()
    }
}

/// Whether the user is for colours: `NO_COLOR` is unset or empty (<https://no-color.org>) and the
/// terminal is not a dumb one.
pub fn colours_wanted() -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}

/// A reply as JSON: indented for eyes, on one line for programs.
pub fn json(reply: &Value, for_eyes: bool) -> Vec<u8> {
    let text = if for_eyes {
        format!("{reply:#}\n")
    } else {
        format!("{reply}\n")
    };
    text.into_bytes()
}

/// Replaces control characters in the texts of a reply. Whoever owns a container may rename its
/// device to an escape sequence, and `show` would hand that to the terminal of whoever looks.
pub fn defuse(reply: &mut Value) {
    match reply {
        Value::String(text) if text.contains(char::is_control) => {
            *text = text.replace(char::is_control, "\u{fffd}");
        }
        Value::Array(items) => items.iter_mut().for_each(defuse),
        Value::Object(members) => members.values_mut().for_each(defuse),
        _ => {}
    }
}

/// What a printing function makes of a reply, for tests.
#[cfg(test)]
pub(crate) fn page_of(print: impl FnOnce(&mut Page)) -> String {
    let mut page = Page::new(false);
    print(&mut page);
    page.text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_appear_only_when_wanted() {
        assert_eq!(Page::new(false).paint("up", Tone::Good), "up");
        assert_eq!(Page::new(true).paint("up", Tone::Plain), "up");
        assert_eq!(Page::new(true).paint("up", Tone::Good), "\x1b[32mup\x1b[0m");
    }

    #[test]
    fn json_is_one_line_for_programs() {
        let reply = serde_json::json!({"a": [1, 2]});
        assert_eq!(json(&reply, false), b"{\"a\":[1,2]}\n");
        assert!(
            json(&reply, true)
                .iter()
                .filter(|&&byte| byte == b'\n')
                .count()
                > 1
        );
    }

    #[test]
    fn a_device_named_like_an_escape_sequence_does_not_reach_the_terminal() {
        let mut reply = serde_json::json!([{"detail": {"device": "\u{1b}[2Jéth0\u{9b}"}, "n": 1}]);
        defuse(&mut reply);
        let expected =
            serde_json::json!([{"detail": {"device": "\u{fffd}[2Jéth0\u{fffd}"}, "n": 1}]);
        assert_eq!(reply, expected);
    }
}
