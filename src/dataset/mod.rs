//! Datasets: readers of the file formats that people have.
//!
//! A reader turns a file into [`Record`]s, one by one. A record that cannot be read is a [`BadRow`] with its line, and
//! reading goes on behind it.
//!
//! | file | holds |
//! |---|---|
//! | `jsonl` `json` `csv` `parquet` `trainer` | the readers |
//! | `hub` | datasets of the Hugging Face hub, as files |
//!
//! **Adding a reader:** one file with a function `open`, one line in [`FORMATS`], and its tests.

mod csv;
mod hub;
mod json;
mod jsonl;
#[cfg(feature = "parquet")]
mod parquet;
mod trainer;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde_json::{Map, Value};

/// One record as it stands in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its line in the file, from 1.
    pub line: u64,
    content: Content,
}

/// The content of a record. JSON lines stay unparsed here, so that several threads can parse them later.
#[derive(Clone, Debug, PartialEq)]
enum Content {
    Columns(Map<String, Value>),
    Json(Vec<u8>),
}

impl Record {
    /// Returns a record whose columns are known already.
    pub fn new(line: u64, columns: Map<String, Value>) -> Record {
        Record { line, content: Content::Columns(columns) }
    }

    /// Returns roughly how many bytes the record has.
    pub fn weight(&self) -> usize {
        match &self.content {
            Content::Columns(columns) => 64 * columns.len() + 64,
            Content::Json(text) => text.len(),
        }
    }

    /// Parses the record, and returns its columns.
    ///
    /// # Errors
    ///
    /// The record cannot be read.
    pub fn columns(self) -> Result<Map<String, Value>, BadRow> {
        match self.content {
            Content::Columns(columns) => Ok(columns),
            Content::Json(text) => jsonl::parse(&text, self.line),
        }
    }
}

/// A record that cannot be read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct BadRow {
    /// Its line in the file, from 1.
    pub line: u64,
    pub message: String,
    /// Reading ended at this row. What follows is unknown, so the row cannot simply be skipped.
    pub is_end: bool,
}

impl BadRow {
    /// Returns a bad row behind which reading goes on.
    pub fn new(line: u64, message: impl Into<String>) -> BadRow {
        BadRow { line, message: message.into(), is_end: false }
    }

    /// Returns a bad row at which reading ends.
    pub fn end(line: u64, message: impl Into<String>) -> BadRow {
        BadRow { is_end: true, ..BadRow::new(line, message) }
    }
}

pub use hub::{Hub, HubDataset};
pub use jsonl::sort;

/// The records of a file, in order.
pub type Records = Box<dyn Iterator<Item = Result<Record, BadRow>> + Send>;

/// Returns the records of a file that cannot be read at all: a single bad row.
fn bad_file(line: u64, message: impl Into<String>) -> Records {
    Box::new(std::iter::once(Err(BadRow::end(line, message))))
}

/// The bytes of a file, decompressed.
pub type Input = Box<dyn Read + Send>;

/// A file format.
pub struct Format {
    pub name: &'static str,
    /// The extensions by which it is recognised; if there are none, only `format:` chooses it.
    pub extensions: &'static [&'static str],
    open: Open,
}

/// How a format is read.
#[derive(Clone, Copy)]
enum Open {
    /// From the beginning to the end.
    Stream(fn(Input) -> std::io::Result<Records>),
    /// In any order, so that it needs a file.
    #[cfg_attr(not(feature = "parquet"), expect(dead_code, reason = "Parquet alone is read here and there"))]
    File(fn(File) -> std::io::Result<Records>),
}

/// All formats. Those that are read as a stream may be compressed with gzip (`.gz`) or zstd (`.zst`).
pub const FORMATS: &[Format] = &[
    Format { name: "jsonl", extensions: &["jsonl", "ndjson"], open: Open::Stream(jsonl::open) },
    Format { name: "json", extensions: &["json"], open: Open::Stream(json::open) },
    Format { name: "csv", extensions: &["csv"], open: Open::Stream(csv::open) },
    Format { name: "tsv", extensions: &["tsv"], open: Open::Stream(csv::open_tabs) },
    Format { name: "trainer_state", extensions: &[], open: Open::Stream(trainer::open) },
    #[cfg(feature = "parquet")]
    Format { name: "parquet", extensions: &["parquet"], open: Open::File(parquet::open) },
];

/// Returns an extension in lower case.
fn extension(path: &Path) -> Option<String> {
    Some(path.extension()?.to_str()?.to_lowercase())
}

/// Returns the format that a path's extension names; the extension of a compression is ignored.
pub fn format_of(path: &str) -> Option<&'static Format> {
    let path = Path::new(path);
    let found = match extension(path)?.as_str() {
        "gz" | "zst" => extension(&path.with_extension(""))?,
        plain => plain.to_owned(),
    };
    FORMATS.iter().find(|format| format.extensions.contains(&found.as_str()))
}

/// Returns the format of a name.
pub fn find(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}

impl Format {
    /// Opens a file. It is decompressed while it is read, so damage shows as a bad row.
    ///
    /// # Errors
    ///
    /// The file cannot be opened. Damage inside it is a bad row, not an error.
    pub fn open(&self, path: &Path) -> std::io::Result<Records> {
        let file = File::open(path)?;
        match self.open {
            Open::File(open) => open(file),
            Open::Stream(_) => self.read(match extension(path).as_deref() {
                // A file may have several gzip members, as `cat a.gz b.gz` makes them; all are read.
                Some("gz") => Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::new(file))),
                Some("zst") => Box::new(zstd::Decoder::new(file)?),
                _ => Box::new(file),
            }),
        }
    }

    /// Reads the records of a stream. If it cannot be read at all, the only record is a bad row.
    pub fn read(&self, input: Input) -> std::io::Result<Records> {
        let Open::Stream(open) = self.open else {
            return Ok(bad_file(1, format!("{} cannot be read from a stream", self.name)));
        };
        let mut input = BufReader::with_capacity(1 << 18, input);
        match input.fill_buf() {
            Ok([0xff, 0xfe, ..] | [0xfe, 0xff, ..]) => Ok(bad_file(1, "the text is UTF-16; save it as UTF-8")),
            Ok(_) => open(Box::new(input)),
            Err(error) => Ok(bad_file(1, format!("failed to read: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, bytes: &[u8]) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        format_of(name)
            .unwrap()
            .open(&path)
            .unwrap()
            .take(100)
            .map(|record| {
                let record = record?;
                Ok((record.line, record.columns()?))
            })
            .map(|record: Result<_, BadRow>| match record {
                Ok((line, columns)) => format!("{line} {}", Value::Object(columns)),
                Err(bad) => bad.to_string(),
            })
            .collect()
    }

    #[test]
    fn csv_keeps_text_and_names_bad_lines() {
        let rows = read("a.csv", b"\xef\xbb\xbfid,text\n007,\"a\nb\"\n1,x,y\n2,\xff\n3,ok\n");
        assert_eq!(
            rows,
            [
                r#"2 {"id":"007","text":"a\nb"}"#,
                "line 4: 3 fields, the header has 2",
                "line 5: column `text` is not UTF-8 (`iconv -f cp1252 -t utf-8` converts what Windows writes)",
                r#"6 {"id":"3","text":"ok"}"#
            ]
        );
        assert_eq!(read("a.csv", b"a,a\n1,2\n"), ["line 1: two columns are called `a`"]);
        assert!(read("a.csv", b"").is_empty());
        assert_eq!(read("a.csv", b"a;b\n1,5;x\n"), [r#"2 {"a":"1,5","b":"x"}"#], "as spreadsheets write it");
        assert_eq!(
            read("a.csv", b"a,b\r\n1,\"x\r\ny\"\r\n2\r\n")[1],
            "line 4: 1 fields, the header has 2",
            "as Excel writes it"
        );
        let open = read("a.csv", b"a,b\n1,x\n2,\"oops,y\n3,z\n4,w\n");
        assert_eq!(open.last().unwrap(), "line 3: a quote opens in this row and is never closed");
        assert_eq!(read("a.csv", b"a,b\n1,5\" screen\n2,x\n").len(), 2, "a quote inside a field is one");
        assert!(read("a.csv", b"\xff\xfea\0,\0")[0].contains("save it as UTF-8"));
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut encoder, bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn tabs_and_compressed_files_are_read_and_damage_shows() {
        assert_eq!(read("a.TSV", b"id\ttext\n1\ta,b\n"), [r#"2 {"id":"1","text":"a,b"}"#]);
        let two = [gzip(b"id\n1\n"), gzip(b"2\n")].concat();
        assert_eq!(read("a.csv.gz", &two), [r#"2 {"id":"1"}"#, r#"3 {"id":"2"}"#]);
        let zstd = zstd::encode_all(&b"{\"a\": 1}\n"[..], 1).unwrap();
        assert_eq!(read("a.jsonl.zst", &zstd), [r#"1 {"a":1}"#]);
        for (name, bytes) in
            [("a.jsonl.gz", gzip(b"{\"a\": 1}\n")), ("a.csv.gz", gzip(b"id\n1\n")), ("a.jsonl.zst", zstd)]
        {
            let rows = read(name, &bytes[..bytes.len() - 4]);
            assert!(rows.last().unwrap().contains("failed to read"), "{name}: {rows:?}");
            assert!(rows.len() < 30, "{name} ends");
        }
        assert!(read("a.jsonl.gz", b"plain text")[0].contains("failed to read"));
    }

    #[test]
    fn json_is_a_list_of_objects_each_with_its_line() {
        assert_eq!(
            read("a.json", b"\xef\xbb\xbf[{\"a\": 9007199254740993},\n {\n\"a\": 1.0}, 3\n]"),
            [r#"1 {"a":9007199254740993}"#, r#"2 {"a":1.0}"#, "line 3: a number instead of an object"]
        );
        assert!(read("a.json", b"{\"a\": 1}\n{\"a\": 2}")[0].contains("or .jsonl"));
        assert!(read("a.json", b"[{},\n oops]")[0].starts_with("line 2: no list of objects: expected value"));
        assert!(read("a.json", b"[\"\xff\"]")[0].contains("UTF-8"));
        assert!(read("a.json", b" ").is_empty() && read("a.json", b"[]").is_empty());
    }

    #[test]
    fn trainer_logs_may_hold_nan() {
        let read = |bytes: &'static [u8]| -> Vec<String> {
            let records = find("trainer_state").unwrap().read(Box::new(bytes)).unwrap();
            records.map(|record| Value::Object(record.unwrap().columns().unwrap()).to_string()).collect()
        };
        let text = b"{\"epoch\": NaN, \"log_history\": [{\"loss\": 2.5},\n{\"loss\": NaN, \"x\": \"NaN \\\" -Infinity\", \"y\": -Infinity}]}";
        assert_eq!(read(text), [r#"{"loss":2.5}"#, r#"{"loss":"NaN","x":"NaN \" -Infinity","y":"-Infinity"}"#]);
    }

    #[test]
    fn jsonl_goes_on_behind_a_bad_line() {
        let rows = read("a.jsonl", b"\xef\xbb\xbf{\"a\": 9007199254740993}\n\n{\"a\": \n[1]\n\"\xff\"\n{\"a\": 1.0}");
        assert_eq!(rows[0], r#"1 {"a":9007199254740993}"#);
        assert!(rows[1].starts_with("line 3: not JSON: EOF while parsing"), "{}", rows[1]);
        assert_eq!(rows[2], "line 4: a list instead of an object");
        assert!(rows[3].starts_with("line 5: not UTF-8"));
        assert_eq!(rows[4], r#"6 {"a":1.0}"#);
        assert_eq!(read("a.jsonl", b"{\"a\": 1, \"b\": {}, \"a\": 2}"), ["line 1: column `a` stands twice"]);
        assert!(read("a.jsonl", b"{\"a\": NaN}")[0].contains("write null"));
    }
}
