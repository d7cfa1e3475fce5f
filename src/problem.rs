//! Problems: everything that etalon can find wrong with what a user wrote.
//!
//! A problem names its place (file and byte range), says what is wrong and how to mend it. Problems are collected, not
//! thrown one by one, so that a user sees all of them at once.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A text that a user wrote, with the name to show for it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Path relative to the workspace, as a user would type it.
    pub path: String,
    pub text: String,
}

/// A range of bytes in a [`Source`]. The default is the start of an empty source, for values that nobody wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub source: Arc<Source>,
    /// The bytes in the text of the source.
    pub range: Range<usize>,
}

impl Place {
    /// Returns a place that stands for a whole file: its start.
    pub fn start_of(source: &Arc<Source>) -> Place {
        Place { source: source.clone(), range: 0..0 }
    }

    /// Returns line and column, both counted from 1; the column is counted in characters.
    pub fn line_column(&self) -> (usize, usize) {
        let start = floor_char(&self.source.text, self.range.start);
        let before = &self.source.text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// Returns the nearest character boundary at or before a byte offset.
pub fn floor_char(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// Whether a problem stops the command or is only reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        })
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub severity: Severity,
    /// Stable short name, such as `unknown-field`.
    pub code: &'static str,
    pub message: String,
    pub place: Option<Place>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Problem {
    /// Returns an error; `code` is its stable short name.
    pub fn error(code: &'static str, message: impl Into<String>) -> Problem {
        Problem { severity: Severity::Error, code, message: message.into(), place: None, help: None }
    }

    /// Returns a warning; `code` is its stable short name.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Problem {
        Problem { severity: Severity::Warning, ..Problem::error(code, message) }
    }

    /// Adds the place to which the problem points.
    pub fn at(mut self, place: &Place) -> Problem {
        self.place = Some(place.clone());
        self
    }

    /// Adds what to do about it.
    pub fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = Some(help.into());
        self
    }

    /// Adds as help what to write instead.
    pub fn instead(self, text: impl fmt::Display) -> Problem {
        Problem { help: Some(format!("write `{text}`")), ..self }
    }

    /// Adds `help`, if there is any.
    pub fn maybe_help(mut self, help: Option<String>) -> Problem {
        self.help = self.help.or(help);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            let (line, column) = place.line_column();
            write!(f, "{}:{line}:{column}: ", place.source.path)?;
        }
        write!(f, "{}[{}]: {}", self.severity, self.code, self.message)?;
        match &self.help {
            Some(help) => write!(f, " (help: {help})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

/// Returns "did you mean `x`?" for the nearest of the names, if one is near enough.
pub fn did_you_mean<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(wrong, names).map(|name| format!("did you mean `{name}`?"))
}

/// Returns the nearest of the names. None unless one is near enough to be a typing error, or one is the beginning of
/// the other.
pub fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = wrong.to_lowercase();
    let rank = |name: &str| {
        let name = name.to_lowercase();
        let (mine, theirs) = (wrong.chars().count(), name.chars().count());
        let distance = strsim::damerau_levenshtein(&wrong, &name);
        let is_beginning = mine.min(theirs) >= 3 && (wrong.starts_with(&name) || name.starts_with(&wrong));
        if distance <= (mine.max(theirs) / 3).max(1) { Some(distance) } else { is_beginning.then(|| 100 + distance) }
    };
    names.into_iter().filter_map(|name| Some((rank(name)?, name))).min_by_key(|(rank, _)| *rank).map(|(_, name)| name)
}

/// Returns "did you mean …?" where a name is near, else the list of the names there are.
pub fn suggest<'a>(wrong: &str, what: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let names: Vec<&str> = names.into_iter().collect();
    did_you_mean(wrong, names.iter().copied()).or_else(|| match names.as_slice() {
        [] => None,
        names => Some(format!("{what}: {}", names.join(", "))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_near_and_another_word_is_not() {
        assert_eq!(nearest("sampel", ["sample", "path"]), Some("sample"));
        assert_eq!(nearest("answer", ["answers"]), Some("answers"));
        assert_eq!(nearest("lang", ["label", "language"]), Some("language"));
        assert_eq!(nearest("zebra", ["sample", "path"]), None);
    }

    #[test]
    fn columns_count_characters() {
        let source = Arc::new(Source { path: "a".into(), text: "é: x\nüü: y".into() });
        let place = Place { source, range: 12..13 };
        assert_eq!(place.line_column(), (2, 5));
    }
}
