//! A dataset looked at, for `check`.

use std::collections::{BTreeSet, HashMap};

use super::node::{BadRows, Dataset};
use super::shape::{OnBadRow, Shaped};
use super::source::{self, Opened};
use crate::dataset::BadRow;
use crate::digest::Digest;
use crate::problem::suggest;
use crate::spec::Workspace;
use crate::stage::StageError;

/// Rows that `check` looks at; what is wrong behind them is found by a plan.
const MAX_CHECKED: usize = 200_000;

impl Dataset {
    /// Looks at the rows without making anything of them: which columns there are, what is wrong with them.
    pub(super) fn look(
        &self,
        workspace: &Workspace,
        wanted: &mut BTreeSet<String>,
    ) -> Result<BTreeSet<String>, StageError> {
        if self.source.is_elsewhere(workspace) {
            // Nothing is fetched or executed to check.
            wanted.clear();
            return Ok(BTreeSet::new());
        }
        let Opened { records, names } = self.source.open(workspace)?;
        let place = |number: u64| source::place(&names, number);
        wanted.extend(self.shape.id.clone());
        let mut seen = BTreeSet::new();
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
                    seen.insert(column);
                }
            }
            match self.shape.apply(record) {
                Ok(Shaped::Row(taken)) if self.shape.id.is_some() => {
                    let number = u64::from_be_bytes(taken.line[..8].try_into().expect("a line opens with its number"));
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
            return Ok(seen);
        }
        if let Some(old) = renamed.first() {
            let help = suggest(old, "its columns are", seen.iter().map(String::as_str)).unwrap_or_default();
            return Err(StageError::failed(format!("`rename`: no row has a column `{old}` ({help})")));
        }
        // A column that no row has says more than the rows that miss it.
        if bad_rows.count > 0 && (wanted.is_empty() || seen.is_empty()) {
            return Err(StageError::failed(bad_rows.text("")));
        }
        Ok(seen)
    }
}
