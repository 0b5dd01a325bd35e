//! Pieces of text: where they are, and how they are cut.
//!
//! Parts of a flow stand between commas or white space. A part is a name alone, `name=value`,
//! `name:value` or `name(value)`, where the last may go on with `->target`. Parentheses in a value
//! nest and quotation marks hold a name together, so that `clone(set_field:1->reg0,ct(commit))` and
//! `in_port="a,b"` are one part each. This is the grammar of `ofputil_parse_key_value` of Open
//! vSwitch, but for the quotation marks.
//!
//! Cost: one pass over the bytes, no allocation.

use super::{ParseError, Problem};
use crate::check::Fault;

/// A piece of the text and where it begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    pub(super) at: usize,
    pub(super) text: &'a str,
}

/// What stands between a name and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Nothing: there is no value.
    None,
    Equals,
    Colon,
    /// An opening parenthesis; the value ends before the closing one.
    Open,
}

/// One part of a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    /// All of it.
    pub(super) whole: Token<'a>,
    pub(super) name: Token<'a>,
    pub(super) mark: Mark,
    /// Empty if there is none.
    pub(super) value: Token<'a>,
    /// What stands after `->` behind a closing parenthesis.
    pub(super) target: Option<Token<'a>>,
}

const fn is_gap(byte: u8) -> bool {
    matches!(byte, b',' | b' ' | b'\t' | b'\r' | b'\n')
}

impl<'a> Token<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { at: 0, text }
    }

    pub(super) fn error(self, problem: Problem) -> ParseError {
        ParseError {
            at: self.at,
            found: self.text.to_owned(),
            problem,
        }
    }

    pub(super) fn fail<T>(self, problem: Problem) -> Result<T, ParseError> {
        Err(self.error(problem))
    }

    pub(super) fn fault(self, fault: Fault) -> ParseError {
        self.error(Problem::Fault(fault))
    }

    /// The bytes from `start` up to `end`; what is outside is left out.
    pub(super) fn slice(self, start: usize, end: usize) -> Self {
        let end = end.min(self.text.len());
        Self {
            at: self.at + start.min(end),
            text: self.text.get(start.min(end)..end).unwrap_or_default(),
        }
    }

    /// What is before and after the first `separator`.
    pub(super) fn split(self, separator: &str) -> Option<(Self, Self)> {
        let at = self.text.find(separator)?;
        let after = at + separator.len();
        Some((self.slice(0, at), self.slice(after, self.text.len())))
    }

    /// Without white space at both ends.
    pub(super) fn trim(self) -> Self {
        let start = self.text.len() - self.text.trim_start().len();
        self.slice(start, start + self.text.trim().len())
    }

    /// The pieces between commas and white space, however they look.
    pub(super) fn words(self) -> impl Iterator<Item = Self> {
        let mut rest = self;
        std::iter::from_fn(move || {
            let gap = rest.text.bytes().take_while(|byte| is_gap(*byte)).count();
            rest = rest.slice(gap, rest.text.len());
            let end = rest.text.bytes().position(is_gap);
            let end = end.unwrap_or(rest.text.len());
            let word = rest.slice(0, end);
            rest = rest.slice(end, rest.text.len());
            (end > 0).then_some(word)
        })
    }

    /// The parts of a list, and an error where a parenthesis is missing.
    pub(super) fn parts(self) -> Parts<'a> {
        Parts { rest: self }
    }
}

/// Cuts a list into its parts.
#[derive(Clone)]
pub(super) struct Parts<'a> {
    rest: Token<'a>,
}

impl<'a> Parts<'a> {
    /// What has not been cut yet.
    pub(super) fn rest(&self) -> Token<'a> {
        self.rest
    }

    /// Cuts the next part off.
    fn cut(&mut self) -> Result<Option<Part<'a>>, ParseError> {
        let bytes = self.rest.text.as_bytes();
        let start = bytes.iter().take_while(|byte| is_gap(**byte)).count();
        if start == bytes.len() {
            self.rest = self.rest.slice(start, start);
            return Ok(None);
        }
        let mut at = start;
        let mut quoted = false;
        let mark = loop {
            match bytes.get(at) {
                Some(b'"') => quoted = !quoted,
                Some(b'=') if !quoted => break Mark::Equals,
                Some(b':') if !quoted => break Mark::Colon,
                Some(b'(') if !quoted => break Mark::Open,
                Some(byte) if !quoted && is_gap(*byte) => break Mark::None,
                Some(_) => {}
                None => break Mark::None,
            }
            at += 1;
        };
        let name = self.rest.slice(start, at);
        let mut target = None;
        let (value, end) = match mark {
            Mark::None => (self.rest.slice(at, at), at),
            Mark::Equals | Mark::Colon => {
                let end = self.end(at + 1)?;
                (self.rest.slice(at + 1, end), end)
            }
            Mark::Open => {
                let close = self.close(at)?;
                let mut end = close + 1;
                if bytes.get(end..end + 2) == Some(b"->".as_slice()) {
                    let start = end + 2;
                    end = self.end(start)?;
                    target = Some(self.rest.slice(start, end));
                } else if bytes.get(end).is_some_and(|byte| !is_gap(*byte)) {
                    let rest = self.rest.slice(end, bytes.len());
                    return rest.fail(Problem::AfterParenthesis);
                }
                (self.rest.slice(at + 1, close), end)
            }
        };
        let whole = self.rest.slice(start, end);
        self.rest = self.rest.slice(end, bytes.len());
        Ok(Some(Part {
            whole,
            name,
            mark,
            value,
            target,
        }))
    }

    /// Where a value that begins at `start` ends: at a comma or white space outside of all
    /// parentheses and quotation marks.
    fn end(&self, start: usize) -> Result<usize, ParseError> {
        let bytes = self.rest.text.as_bytes();
        let mut at = start;
        let mut quoted = false;
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'"' => quoted = !quoted,
                b'(' if !quoted => at = self.close(at)?,
                byte if !quoted && is_gap(*byte) => break,
                _ => {}
            }
            at += 1;
        }
        Ok(at)
    }

    /// Where the parenthesis that opens at `open` closes.
    fn close(&self, open: usize) -> Result<usize, ParseError> {
        let mut depth = 0_usize;
        let mut quoted = false;
        let bytes = self.rest.text.bytes().enumerate().skip(open);
        for (at, byte) in bytes {
            match byte {
                b'"' => quoted = !quoted,
                b'(' if !quoted => depth += 1,
                b')' if !quoted => {
                    depth -= 1;
                    if depth == 0 {
                        return Ok(at);
                    }
                }
                _ => {}
            }
        }
        let rest = self.rest.slice(open, self.rest.text.len());
        rest.fail(Problem::Unclosed)
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Result<Part<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.cut();
        if next.is_err() {
            // An error is reported once.
            self.rest = self.rest.slice(0, 0);
        }
        next.transpose()
    }
}

impl<'a> Part<'a> {
    /// The value, if there is one; an empty one is none.
    pub(super) fn value(&self) -> Option<Token<'a>> {
        (!self.value.text.is_empty()).then_some(self.value)
    }

    /// The value.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn need(&self, allowed: &str) -> Result<Token<'a>, ParseError> {
        match self.value() {
            Some(value) => Ok(value),
            None => self.whole.fail(Problem::NoValue {
                name: self.name.text.to_owned(),
                allowed: allowed.to_owned(),
            }),
        }
    }

    /// Refuses a value.
    pub(super) fn alone(&self) -> Result<(), ParseError> {
        if self.value().is_none() && self.target.is_none() {
            return Ok(());
        }
        self.whole.fail(Problem::UnwantedValue {
            name: self.name.text.to_owned(),
        })
    }

    /// The number that is the value, at least `min` and at most `max`.
    pub(super) fn number(&self, min: u64, max: u64) -> Result<u64, ParseError> {
        let allowed = || match min {
            0 => format!("a number up to {max}"),
            _ => format!("a number from {min} to {max}"),
        };
        let Some(value) = self.value() else {
            return self.need(&allowed()).map(|_| 0);
        };
        match super::value::number(value.text) {
            Some(number) if number >= min.into() && number <= max.into() => Ok(number as u64),
            _ => self.refuse(value, allowed()),
        }
    }

    pub(super) fn u8(&self) -> Result<u8, ParseError> {
        self.number(0, u8::MAX.into()).map(|number| number as u8)
    }

    pub(super) fn u16(&self) -> Result<u16, ParseError> {
        self.number(0, u16::MAX.into()).map(|number| number as u16)
    }

    pub(super) fn u32(&self) -> Result<u32, ParseError> {
        self.number(0, u32::MAX.into()).map(|number| number as u32)
    }

    pub(super) fn u64(&self) -> Result<u64, ParseError> {
        self.number(0, u64::MAX)
    }

    /// Says that a value is not what it must be.
    pub(super) fn refuse<T>(
        &self,
        value: Token<'_>,
        allowed: impl Into<String>,
    ) -> Result<T, ParseError> {
        value.fail(Problem::Value {
            name: self.name.text.to_owned(),
            allowed: allowed.into(),
        })
    }

    /// Says that there is no such key here.
    pub(super) fn unknown<T>(&self, of: &str, allowed: &str) -> Result<T, ParseError> {
        self.name.fail(Problem::UnknownKey {
            of: of.to_owned(),
            allowed: allowed.to_owned(),
        })
    }
}
