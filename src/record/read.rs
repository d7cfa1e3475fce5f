//! From bytes to a run: which versions are read, and why a file is not a run.
//!
//! The version is read first, since a document of a newer version may have any shape.

use serde_json::Value;

use super::Run;

/// The version that is written, which is also the newest that can be read.
pub const VERSION: u32 = 1;

/// Why a document could not be read as a run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// A newer etalon wrote it.
    #[error("was written by a newer etalon (format {format}; this one reads up to {VERSION}): update etalon")]
    Newer { format: u64 },
    /// It is another kind of document, or damaged; the text says how.
    #[error("is no run: {0}")]
    NoRun(String),
    #[error("cannot be read: {0}")]
    Io(String),
}

/// Reads the document of a run.
///
/// # Errors
///
/// The document has a newer version, or is not a run.
pub fn read(bytes: &[u8]) -> Result<Run, ReadError> {
    let document: Value =
        serde_json::from_slice(bytes).map_err(|error| ReadError::NoRun(format!("it is no JSON: {error}")))?;
    match document.get("etalon").and_then(Value::as_u64) {
        Some(format) if format > u64::from(VERSION) => {
            return Err(ReadError::Newer { format });
        }
        Some(1..) => {}
        _ => return Err(ReadError::NoRun("it does not begin with `\"etalon\": 1`".to_owned())),
    }
    serde_json::from_value(document).map_err(|error| ReadError::NoRun(error.to_string()))
}

/// Returns the label in a document that could not be read, if it still stands where this version has it: the first text
/// behind the name `label`.
pub(super) fn label_of(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let rest = text.split_once("\"label\"")?.1.trim_start().strip_prefix(':')?;
    let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
    values.next()?.ok()?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A document as the first version of etalon wrote it.
    const FIRST: &str = r#"{"etalon": 1, "run": "20260101T000000Z-p-0000", "pipeline": "p", "label": null,
        "started": "2026-01-01T00:00:00Z", "seconds": 1.5, "nodes": [],
        "summary": {"exact": {"base": {"exact_match": {"value": 0.5, "low": null, "high": null, "n": 2, "missing": 0}}}},
        "gates": [{"gate": "a >= b", "verdict": "NO_DATA", "left": null, "right": 1}]}"#;

    #[test]
    fn an_older_document_is_read_and_written_back() {
        let run = read(FIRST.as_bytes()).unwrap();
        assert_eq!(run.summary["exact"]["base"].values["exact_match"].value, Some(0.5));
        assert_eq!(read(&serde_json::to_vec(&run).unwrap()).unwrap(), run);
    }

    #[test]
    fn fields_of_tomorrow_do_not_hurt() {
        let text = FIRST.replace("\"seconds\"", "\"colour\": {\"of\": \"sky\"}, \"seconds\"");
        assert!(read(text.as_bytes()).is_ok());
    }

    #[test]
    fn a_newer_version_says_so_whatever_its_shape() {
        let error = read(br#"{"etalon": 2, "label": "x"}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "was written by a newer etalon (format 2; this one reads up to 1): update etalon"
        );
        assert_eq!(error, ReadError::Newer { format: 2 });
    }

    #[test]
    fn what_is_no_run_says_why() {
        let said = |text: &str| read(text.as_bytes()).unwrap_err().to_string();
        assert!(said("{").starts_with("is no run: it is no JSON: "), "{}", said("{"));
        assert_eq!(said("[1]"), "is no run: it does not begin with `\"etalon\": 1`");
        assert_eq!(said(r#"{"etalon": 0}"#), "is no run: it does not begin with `\"etalon\": 1`");
        assert_eq!(said(r#"{"etalon": 1}"#), "is no run: missing field `run`");
    }

    #[test]
    fn the_label_of_a_damaged_document_is_found() {
        assert_eq!(label_of(br#"{"etalon": 1, "label": "iter-\u0031", "started": "20"#).as_deref(), Some("iter-1"));
        assert_eq!(label_of(br#"{"etalon": 1, "label": null, "started": "20"#), None);
        assert_eq!(label_of(br#"{"etalon": 1, "label": "it"#), None);
    }
}
