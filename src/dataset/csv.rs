//! CSV and TSV with a header. Every value is text: nothing is guessed, so ids keep their zeros.

use std::collections::HashSet;

use csv::{ByteRecord, ReaderBuilder};
use serde_json::{Map, Value};

use super::{BadRow, Input, Record, Records};

pub(super) fn open(input: Input) -> std::io::Result<Records> {
    open_delimited(input, b',')
}

pub(super) fn open_tabs(input: Input) -> std::io::Result<Records> {
    open_delimited(input, b'\t')
}

fn open_delimited(input: Input, delimiter: u8) -> std::io::Result<Records> {
    let mut reader =
        ReaderBuilder::new().delimiter(delimiter).flexible(true).buffer_capacity(1 << 18).from_reader(input);
    let bad = |message: String| -> Records { Box::new(std::iter::once(Err(BadRow { line: 1, message }))) };
    let header = match reader.byte_headers() {
        Ok(header) => header.clone(),
        Err(error) => return Ok(bad(format!("failed to read the header: {error}"))),
    };
    let mut names = Vec::new();
    for (index, name) in header.iter().enumerate() {
        let name = if index == 0 { name.strip_prefix(b"\xef\xbb\xbf").unwrap_or(name) } else { name };
        match std::str::from_utf8(name) {
            Ok(name) => names.push(name.trim().to_owned()),
            Err(_) => {
                return Ok(bad(format!("the name of column {} is not UTF-8", index + 1)));
            }
        }
    }
    let mut seen = HashSet::new();
    if let Some(repeated) = names.iter().find(|name| !seen.insert(name.as_str())) {
        return Ok(bad(format!("two columns are called `{repeated}`")));
    }
    let records = reader.into_byte_records().map(move |record| match record {
        Ok(record) => parse(&record, &names),
        Err(error) => {
            let line = error.position().map_or(0, csv::Position::line);
            Err(BadRow { line, message: format!("failed to read: {error}") })
        }
    });
    Ok(Box::new(records))
}

fn parse(record: &ByteRecord, names: &[String]) -> Result<Record, BadRow> {
    let line = record.position().map_or(0, csv::Position::line);
    if record.len() != names.len() {
        let message = format!("{} fields, the header has {}", record.len(), names.len());
        return Err(BadRow { line, message });
    }
    let mut columns = Map::new();
    for (name, field) in names.iter().zip(record) {
        let text = std::str::from_utf8(field)
            .map_err(|_| BadRow { line, message: format!("column `{name}` is not UTF-8") })?;
        columns.insert(name.clone(), Value::from(text));
    }
    Ok(Record::new(line, columns))
}

#[cfg(test)]
mod tests {
    use crate::dataset::{BadRow, format_of};

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
                Ok((line, columns)) => format!("{line} {}", serde_json::Value::Object(columns)),
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
                "line 5: column `text` is not UTF-8",
                r#"6 {"id":"3","text":"ok"}"#
            ]
        );
        assert_eq!(read("a.csv", b"a,a\n1,2\n"), ["line 1: two columns are called `a`"]);
        assert!(read("a.csv", b"").is_empty());
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
    fn json_is_a_list_of_objects() {
        assert_eq!(
            read("a.json", b"[{\"a\": 9007199254740993}, 3]"),
            [r#"1 {"a":9007199254740993}"#, "line 2: a number instead of an object"]
        );
        assert_eq!(read("a.json", b"{\"a\": 1}"), ["line 1: an object instead of a list of objects"]);
        assert!(read("a.json", b"{\"a\": 1}\n{\"a\": 2}")[0].contains("call the file .jsonl"));
        assert!(read("a.json", b" ").is_empty());
    }

    #[test]
    fn jsonl_goes_on_behind_a_bad_line() {
        let rows = read("a.jsonl", b"\xef\xbb\xbf{\"a\": 9007199254740993}\n\n{\"a\": \n[1]\n\"\xff\"\n{\"a\": 1.0}");
        assert_eq!(rows[0], r#"1 {"a":9007199254740993}"#);
        assert!(rows[1].starts_with("line 3: not JSON: EOF while parsing"), "{}", rows[1]);
        assert_eq!(rows[2], "line 4: a list instead of an object");
        assert!(rows[3].starts_with("line 5: not UTF-8"));
        assert_eq!(rows[4], r#"6 {"a":1.0}"#);
    }
}
