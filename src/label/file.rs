//! Files of labels: read in any format that datasets have, kept as JSON lines.
//!
//! **Invariant:** a line that is not replaced keeps every byte that people or other tools wrote.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::line::LabelLine;
use crate::dataset::{BadRow, format_of};

/// Reads the labels of a file, each with its line number. A line that cannot be read becomes an error that says why.
///
/// # Errors
///
/// The file cannot be opened, or its extension does not tell what it is (`InvalidInput`).
pub fn read_labels(
    path: &Path,
    name: &str,
) -> io::Result<impl Iterator<Item = Result<(u64, LabelLine), BadRow>> + use<>> {
    let unknown = || io::Error::new(io::ErrorKind::InvalidInput, "its extension does not tell what it is");
    let records = format_of(name).ok_or_else(unknown)?.open(path)?;
    Ok(records.map(|record| {
        let record = record?;
        Ok((record.line, LabelLine::of(&record.columns()?)))
    }))
}

/// What became of a label that was to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged {
    Added,
    /// The file had the same label already.
    Same,
    /// It took the place of another label.
    Replaced,
    /// The same rater said something else about the same thing; the number is the place of that label.
    Conflict(usize),
}

/// A file of labels as JSON lines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelFile {
    /// Each line as it stands in the file, and the label read from it.
    lines: Vec<(String, LabelLine)>,
    places: BTreeMap<String, usize>,
}

impl LabelFile {
    /// Parses the text of a file.
    ///
    /// # Errors
    ///
    /// A line is not a JSON object: the line's number, and the reason.
    pub fn parse(text: &str) -> Result<LabelFile, (usize, String)> {
        let mut file = LabelFile::default();
        for (line, number) in text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty()) {
            let columns = serde_json::from_str(line).map_err(|error| (number, error.to_string()))?;
            let label = LabelLine::of(&columns);
            file.places.insert(label.identity(), file.lines.len());
            file.lines.push((line.to_owned(), label));
        }
        Ok(file)
    }

    /// Returns the labels.
    pub fn labels(&self) -> impl Iterator<Item = &LabelLine> {
        self.lines.iter().map(|(_, label)| label)
    }

    /// Returns the label at a place.
    pub fn at(&self, place: usize) -> Option<&LabelLine> {
        self.lines.get(place).map(|(_, label)| label)
    }

    /// Adds a label. `replaces` says whether it takes the place of another label about the same thing.
    pub fn add(&mut self, label: LabelLine, replaces: bool) -> Merged {
        let identity = label.identity();
        match self.places.get(&identity) {
            None => {
                self.places.insert(identity, self.lines.len());
                self.lines.push((label.to_json(), label));
                Merged::Added
            }
            Some(place) if self.lines[*place].1.label == label.label => Merged::Same,
            Some(place) if replaces => {
                self.lines[*place] = (label.to_json(), label);
                Merged::Replaced
            }
            Some(place) => Merged::Conflict(*place),
        }
    }

    /// Returns the file's text.
    pub fn text(&self) -> String {
        self.lines.iter().map(|(line, _)| format!("{line}\n")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(row: &str, label: &str) -> LabelLine {
        LabelLine { row: row.to_owned(), model: "tuned".to_owned(), label: label.into(), ..LabelLine::default() }
    }

    #[test]
    fn lines_that_stay_keep_their_bytes() {
        let text = "{ \"row\": \"1\", \"model\": \"tuned\", \"label\": \"good\", \"seen_on\": \"phone\" }\n";
        let mut file = LabelFile::parse(&format!("\n{text}")).unwrap();
        assert_eq!(file.add(label("1", "good"), false), Merged::Same);
        assert_eq!(file.add(label("2", "bad"), false), Merged::Added);
        assert_eq!(file.add(label("1", "bad"), false), Merged::Conflict(0));
        assert_eq!(file.text(), format!("{text}{{\"row\":\"2\",\"model\":\"tuned\",\"label\":\"bad\"}}\n"));
        assert_eq!(file.add(label("1", "bad"), true), Merged::Replaced);
        assert_eq!(file.at(0).map(LabelLine::word).as_deref(), Some("bad"));
    }

    #[test]
    fn a_line_that_is_no_label_is_named() {
        let (number, message) = LabelFile::parse("{\"row\": \"1\"}\n[]\n").unwrap_err();
        assert_eq!(number, 2);
        assert!(message.contains("expected a map"), "{message}");
    }
}
