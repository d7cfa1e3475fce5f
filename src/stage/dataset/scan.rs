//! A dataset looked at, for `check`.

use std::collections::{BTreeSet, HashMap};

use super::node::{BadRows, Dataset};
use serde_json::{Map, Value};

use super::shape::{OnBadRow, Shaped, Taken};
use super::source::{self, Opened};
use crate::dataset::BadRow;
use crate::digest::Digest;
use crate::problem::suggest;
use crate::spec::Workspace;
use crate::stage::{Scanned, StageError};

/// Rows that `check` looks at; what is wrong behind them is found by a plan.
const MAX_CHECKED: usize = 200_000;

impl Dataset {
    /// Looks at the rows without making anything of them: which columns there are, what is wrong with them.
    pub(super) fn look(
        &self,
        workspace: &Workspace,
        wanted: &mut BTreeSet<String>,
        watched: &BTreeSet<String>,
    ) -> Result<Scanned, StageError> {
        if self.source.is_elsewhere(workspace) {
            // Nothing is fetched or executed to check.
            wanted.clear();
            return Ok(Scanned::default());
        }
        let Opened { records, names } = self.source.open(workspace)?;
        let place = |number: u64| source::place(&names, number);
        wanted.extend(self.shape.id.clone());
        let mut seen = Scanned::default();
        let mut renamed: BTreeSet<&String> = self.shape.rename.iter().map(|(old, _)| old).collect();
        let mut ids: HashMap<u64, u64> = HashMap::new();
        let mut bad_rows = BadRows::default();
        let mut rows = 0;
        for record in records.take(MAX_CHECKED) {
            rows += 1;
            let is_skipped = |bad: &BadRow| self.on_bad_row == OnBadRow::Skip && !bad.is_end;
            let mut add = |bad: &BadRow| {
                if !is_skipped(bad) {
                    bad_rows.add(&place, bad);
                }
            };
            let record = match record {
                Ok(record) => record,
                Err(bad) => {
                    add(&bad);
                    continue;
                }
            };
            // What columns there are is known soon.
            if (rows <= 1_000 || !wanted.is_empty() || !renamed.is_empty())
                && let Ok(columns) = record.clone().columns()
            {
                renamed.retain(|old| !columns.contains_key(*old));
                for column in self.shape.columns_of(&columns) {
                    wanted.remove(&column);
                    seen.columns.insert(column);
                }
            }
            let shaped = self.shape.apply(record, true);
            match &shaped {
                Ok(Shaped::Row(taken)) => seen.watch(watched, &taken.line[8..], &place(number_of(taken))),
                Ok(Shaped::Filtered(columns)) => seen.watch_filtered(watched, columns),
                _ => {}
            }
            match shaped {
                Ok(Shaped::Row(taken)) if self.shape.id.is_some() => {
                    let number = number_of(&taken);
                    if let Some(first) = ids.insert(Digest::of(taken.id.as_bytes()).seed(), number) {
                        let message =
                            format!("the id `{}` is that of {}, too; ids must be unique", taken.id, place(first));
                        bad_rows.add(&place, &BadRow::new(number, message));
                    }
                }
                Ok(_) => {}
                Err(bad) => add(&bad),
            }
        }
        if rows == 0 {
            wanted.clear();
            seen.is_empty = true;
            return Ok(seen);
        }
        if let Some(old) = renamed.first() {
            let help = suggest(old, "its columns are", seen.columns.iter().map(String::as_str)).unwrap_or_default();
            return Err(StageError::failed(format!("`rename`: no row has a column `{old}` ({help})")));
        }
        // A column that no row has says more than the rows that miss it.
        if bad_rows.count > 0 && (wanted.is_empty() || seen.columns.is_empty()) {
            return Err(StageError::failed(bad_rows.text("")));
        }
        Ok(seen)
    }
}

/// Returns the number of the line from which a row comes.
fn number_of(taken: &Taken) -> u64 {
    u64::from_be_bytes(taken.line[..8].try_into().expect("a line opens with its number"))
}

impl Scanned {
    /// Looks at the watched columns of a row, given as canonical JSON.
    fn watch(&mut self, watched: &BTreeSet<String>, columns: &[u8], place: &str) {
        if watched.is_empty() {
            return;
        }
        let columns: Map<String, Value> = serde_json::from_slice(columns).unwrap_or_default();
        for name in watched {
            let values = self.values.entry(name.clone()).or_default();
            match columns.get(name) {
                None => values.absent.add(place),
                Some(Value::Null) => values.null.add(place),
                Some(Value::String(_)) => values.text.add(place),
                Some(_) => {}
            }
        }
    }

    /// Looks at the watched columns of a row that was filtered out: only whether they are text counts.
    fn watch_filtered(&mut self, watched: &BTreeSet<String>, columns: &Map<String, Value>) {
        for name in watched.iter().filter(|name| columns.get(*name).is_some_and(Value::is_string)) {
            self.values.entry(name.clone()).or_default().text.add("");
        }
    }
}
