//! Whether a text is CSV, as strictly as Python's `csv.reader(strict=True)`: a closing quote must stand before a
//! delimiter or the end of a line, and every quote must be closed. Quotes inside a field that does not begin with one
//! are text. Blank records are dropped.

/// The shape of a text that is CSV.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvShape {
    /// The first record; none if there are no records. A byte order mark stays in its first field.
    pub header: Option<Vec<String>>,
    /// How many records follow the header.
    pub rows: usize,
    /// The different numbers of fields that records have, sorted.
    pub widths: Vec<usize>,
}

impl CsvShape {
    /// Returns true if there are records, and all have the same number of fields.
    pub fn is_rectangular(&self) -> bool {
        self.widths.len() == 1
    }
}

/// Where in a record the reader is.
#[derive(Clone, Copy, PartialEq)]
enum State {
    FieldStart,
    Field,
    Quoted,
    /// Behind a quote in a quoted field: it closed the field, or is the first half of an escaped quote.
    QuoteInQuoted,
}

/// Reads a text; none if it is not CSV.
pub fn csv_shape(text: &str, delimiter: char) -> Option<CsvShape> {
    let mut shape = CsvShape { header: None, rows: 0, widths: Vec::new() };
    let (mut record, mut field): (Vec<String>, String) = (Vec::new(), String::new());
    let mut state = State::FieldStart;
    let mut is_open = false;
    let mut characters = text.chars().peekable();
    loop {
        let next = characters.next();
        let is_end = matches!(next, None | Some('\n' | '\r'));
        match (state, next) {
            (State::Quoted, None) => return None,
            (State::Quoted, Some('"')) => state = State::QuoteInQuoted,
            (State::Quoted, Some(c)) => field.push(c),
            (State::FieldStart, Some('"')) => (state, is_open) = (State::Quoted, true),
            (State::QuoteInQuoted, Some('"')) => {
                field.push('"');
                state = State::Quoted;
            }
            (_, Some(c)) if c == delimiter => {
                record.push(std::mem::take(&mut field));
                (state, is_open) = (State::FieldStart, true);
            }
            _ if is_end => {
                if is_open {
                    record.push(std::mem::take(&mut field));
                    add(&mut shape, std::mem::take(&mut record));
                }
                (state, is_open) = (State::FieldStart, false);
                if next == Some('\r') && characters.peek() == Some(&'\n') {
                    characters.next();
                }
            }
            (State::QuoteInQuoted, _) => return None,
            (_, Some(c)) => {
                field.push(c);
                (state, is_open) = (State::Field, true);
            }
            (_, None) => {}
        }
        if next.is_none() {
            break;
        }
    }
    shape.widths.sort_unstable();
    Some(shape)
}

fn add(shape: &mut CsvShape, record: Vec<String>) {
    if !shape.widths.contains(&record.len()) {
        shape.widths.push(record.len());
    }
    match shape.header {
        None => shape.header = Some(record),
        Some(_) => shape.rows += 1,
    }
}
