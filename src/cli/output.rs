//! What is printed: data to standard output, talk to standard error.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU8, Ordering};

use clap::ValueEnum;

use crate::report::is_control;

/// How data are printed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Text,
    Json,
}

/// Set when standard output could not be written: 1 for a reader that went away, 2 for anything else.
static OUTPUT: AtomicU8 = AtomicU8::new(0);

/// Returns true while someone can read what is printed.
pub(super) fn is_read() -> bool {
    OUTPUT.load(Ordering::Relaxed) == 0
}

/// Makes control characters visible, so that nothing that a server, a file or a model said drives the terminal: ESC
/// becomes `\u001b`, which is the same text in JSON. Colours of etalon's own are kept.
fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = if c == '\u{1b}' { colour(rest) } else { 0 };
        if length > 0 {
            out.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        }
        match is_control(c) {
            true => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => out.push(c),
        }
        rest = &rest[c.len_utf8()..];
    }
    Cow::Owned(out)
}

/// Returns the length of the escape sequence at the beginning of a text that sets a colour or a weight; 0 for any other,
/// and for those that hide text or let it blink.
fn colour(text: &str) -> usize {
    let Some(rest) = text.strip_prefix("\u{1b}[") else { return 0 };
    let Some(end) = rest.find(|c: char| !c.is_ascii_digit() && c != ';').filter(|end| rest[*end..].starts_with('m'))
    else {
        return 0;
    };
    let is_fine = |code: &str| matches!(code, "" | "0" | "1" | "2" | "4" | "22" | "39") || is_colour(code);
    if rest[..end].split(';').all(is_fine) { 2 + end + 1 } else { 0 }
}

fn is_colour(code: &str) -> bool {
    code.parse::<u8>().is_ok_and(|code| matches!(code, 31..=37 | 91..=97))
}

/// Prints to standard output.
pub(super) fn print(text: &str) {
    use std::io::Write;
    if !is_read() {
        return;
    }
    let mut out = anstream::stdout().lock();
    match writeln!(out, "{}", visible(text)).and_then(|()| out.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => OUTPUT.store(1, Ordering::Relaxed),
        Err(error) => {
            OUTPUT.store(2, Ordering::Relaxed);
            talk(&format!("error: failed to write to standard output: {error}"));
        }
    }
}

/// Prints to standard error.
pub(super) fn talk(text: &str) {
    use std::io::Write;
    let _ = writeln!(anstream::stderr().lock(), "{}", visible(text));
}

/// Returns true where a result could not be written, and not because its reader went away.
pub(super) fn is_lost() -> bool {
    OUTPUT.load(Ordering::Relaxed) == 2
}

#[cfg(test)]
mod tests {
    use super::visible;

    #[test]
    fn the_terminal_is_not_driven() {
        assert_eq!(visible("a\u{1b}]0;title\u{7}b"), "a\\u001b]0;title\\u0007b");
        assert_eq!(visible("\u{9b}2J\u{1b}[2J\r\u{202e}"), "\\u009b2J\\u001b[2J\\u000d\\u202e");
        assert_eq!(visible("\u{1b}[8mhidden\u{1b}[5;31mx"), "\\u001b[8mhidden\\u001b[5;31mx");
        let own = "\u{1b}[1m\u{1b}[31mFAIL\u{1b}[0m\tü\n";
        assert_eq!(visible(own), own);
        let json = serde_json::json!({ "text": "\u{9b}\u{7f}\u{1b}" });
        let read: serde_json::Value = serde_json::from_str(&visible(&json.to_string())).unwrap();
        assert_eq!(read, json, "in JSON it is the same text");
    }
}
