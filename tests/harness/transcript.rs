//! Transcripts: a text of commands and what they print, run again and compared.
//!
//! ```text
//! # What this shows.
//! $ vsctl list-br
//! br0
//! $ vsctl add-br br0
//! error: [..]
//! [status 1]
//! ```
//!
//! A line that begins with `$ ` is a command for the shell; the lines up to the next one are what
//! it prints, standard error included. `[..]` stands for anything within a line, a line `...` for
//! any number of lines, `[status N]` for an exit status that is not zero. A line that begins with
//! `#` is a remark.

use std::fmt::Write as _;

/// One command and what is expected of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Remarks and blank lines before the command, kept when the file is written anew.
    pub before: String,
    pub command: String,
    /// Lines, with patterns.
    pub expected: String,
}

/// Reads a transcript.
///
/// # Errors
/// A sentence, when there is text before the first command that is no remark.
pub fn parse(text: &str) -> Result<Vec<Step>, String> {
    let mut steps: Vec<Step> = Vec::new();
    let mut before = String::new();
    for (number, line) in text.lines().enumerate() {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step {
                before: std::mem::take(&mut before),
                command: command.to_owned(),
                expected: String::new(),
            });
        } else if line.starts_with('#') || (line.is_empty() && steps.is_empty()) {
            before.push_str(line);
            before.push('\n');
        } else if let Some(step) = steps.last_mut() {
            step.expected.push_str(line);
            step.expected.push('\n');
        } else {
            return Err(format!(
                "line {}: neither a command nor a remark",
                number + 1
            ));
        }
    }
    Ok(steps)
}

/// Writes a transcript as [`parse`] reads it.
pub fn print(steps: &[Step]) -> String {
    let mut text = String::new();
    for step in steps {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}$ {}", step.before, step.command);
        text.push_str(&step.expected);
    }
    text
}

/// Whether an output is as expected.
pub fn matches(expected: &str, output: &str) -> bool {
    let expected: Vec<_> = expected.lines().map(str::trim_end).collect();
    let output: Vec<_> = output.lines().map(str::trim_end).collect();
    sequence(&expected, &output, &|pattern| *pattern == "...", &line)
}

fn line(pattern: &&str, text: &&str) -> bool {
    let mut parts = pattern.split("[..]");
    // `split` gives at least one part.
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<_> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    rest.ends_with(last)
}

/// Matches two sequences, where some patterns stand for any number of items.
fn sequence<T>(
    patterns: &[T],
    items: &[T],
    is_any: &dyn Fn(&T) -> bool,
    one: &dyn Fn(&T, &T) -> bool,
) -> bool {
    match patterns.split_first() {
        None => items.is_empty(),
        Some((first, rest)) if is_any(first) => {
            (0..=items.len()).any(|skip| sequence(rest, &items[skip..], is_any, one))
        }
        Some((first, rest)) => items
            .split_first()
            .is_some_and(|(item, others)| one(first, item) && sequence(rest, others, is_any, one)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_within_and_across_lines() {
        assert!(matches("a\nb\n", "a\nb\n"));
        assert!(!matches("a\nb\n", "a\n"));
        assert!(!matches("a\n", "a\nb\n"));
        assert!(matches("port [..] is up\n", "port p1 is up\n"));
        assert!(!matches("port [..] is up\n", "port p1 is down\n"));
        assert!(matches("[..]x[..]\n", "axb\n"));
        assert!(!matches("a[..]a\n", "a\n"));
        assert!(matches("a\n...\nz\n", "a\nb\nc\nz\n"));
        assert!(matches("a\n...\nz\n", "a\nz\n"));
        assert!(!matches("a\n...\nz\n", "a\nb\n"));
        assert!(matches("", ""));
        assert!(!matches("", "something\n"));
    }

    #[test]
    fn a_transcript_survives_reading_and_writing() {
        let text = "# Remark.\n\n$ one\nout\n\nmore\n# Another.\n$ two\n[status 1]\n";
        let steps = parse(text).expect("it is one");
        assert_eq!(steps.len(), 2);
        assert_eq!(steps[0].expected, "out\n\nmore\n");
        assert_eq!(steps[1].before, "# Another.\n");
        assert_eq!(print(&steps), text);
        assert!(parse("stray\n").is_err());
    }
}
