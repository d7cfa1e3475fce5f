//! `--rows`: which rows are meant by their scores.

use std::collections::{BTreeMap, BTreeSet};

use super::args::{ExportArgs, Which};
use crate::cli::exit::Exit;
use crate::cli::open;
use crate::execute::{self, Found, Session};
use crate::plan::Node;
use crate::score::{Direction, Rank, Reading};
use crate::stage::RowValues;

/// The share of the rows that are the weakest, and how many there are at least.
const WEAKEST: f64 = 0.1;
const AT_LEAST: usize = 10;

/// The rows that are meant, by node.
pub(super) struct Chosen(BTreeMap<usize, BTreeSet<String>>);

impl Chosen {
    /// Finds the rows that are meant.
    pub fn find(
        session: &Session,
        found: &[(usize, Found)],
        which: Which,
        arguments: &ExportArgs,
    ) -> Result<Chosen, Exit> {
        let mut chosen = BTreeMap::new();
        for (index, rows) in found {
            let node = &session.plan.nodes[*index];
            let (value, reading) = value(node, arguments)?;
            let scores = |rows: &Found| -> Result<RowValues, Exit> {
                let values = node.stage.row_values(&session.store, &rows.manifest, &value)?;
                values.ok_or_else(|| no_scores(node, &value))
            };
            let own = scores(rows)?;
            // More is better from here on.
            let sign = if reading.direction == Direction::Lower { -1.0 } else { 1.0 };
            let range = node.stage.range(&value);
            let ids = match which {
                Which::Failed => {
                    let Some((low, high)) = range else {
                        let help = "`--rows weakest` takes those with the least, or the most where less is better";
                        let message = format!("{}.{value} has no scale, so that no row fails by it", node.name);
                        return Err(Exit::usage(message, Some(help.to_owned())));
                    };
                    let middle = (low + high) / 2.0;
                    own.iter().filter(|(_, score)| sign * **score < sign * middle).map(|(id, _)| id.clone()).collect()
                }
                Which::Weakest => weakest(&own, sign, range),
                Which::Broken => {
                    let records = open::records(&session.plan);
                    let run = open::run(&records, &arguments.against)?;
                    let Some(before) = execute::rows_of_run(session, *index, &run) else {
                        let message = format!("the cache has no rows of {} in {}", node.name, run.run);
                        return Err(Exit::usage(message, Some("name another run: --against RUN".to_owned())));
                    };
                    let before = scores(&before)?;
                    let is_broken =
                        |id: &String, score: f64| before.get(id).is_some_and(|before| sign * (score - before) < -1e-9);
                    own.iter().filter(|(id, score)| is_broken(id, **score)).map(|(id, _)| id.clone()).collect()
                }
            };
            chosen.insert(*index, ids);
        }
        Ok(Chosen(chosen))
    }

    /// Returns true if a row of a node is meant.
    pub fn holds(&self, node: usize, id: &str) -> bool {
        self.0.get(&node).is_some_and(|ids| ids.contains(id))
    }
}

/// Returns the rows with the least, none of them with the full score.
fn weakest(own: &RowValues, sign: f64, range: Option<(f64, f64)>) -> BTreeSet<String> {
    let full = range.map(|(low, high)| if sign < 0.0 { low } else { high });
    let mut all: Vec<(&String, f64)> =
        own.iter().filter(|(_, score)| Some(**score) != full).map(|(id, score)| (id, sign * score)).collect();
    all.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(b.0)));
    all.truncate(AT_LEAST.max((WEAKEST * own.len() as f64).ceil() as usize));
    all.into_iter().map(|(id, _)| id.clone()).collect()
}

/// Returns the value that rows are chosen by: the one that was named, else the first headline.
fn value(node: &Node, arguments: &ExportArgs) -> Result<(String, Reading), Exit> {
    if let Some(name) = &arguments.value {
        return match node.stage.reading(name) {
            Some(reading) => Ok((name.clone(), reading)),
            None => {
                let known: Vec<String> = node.stage.values().into_iter().map(|(name, _)| name).collect();
                let help = crate::problem::suggest(name, "its values", known.iter().map(String::as_str));
                Err(Exit::usage(format!("{} has no value {name}", node.name), help))
            }
        };
    }
    let is_meant = |(name, reading): &(String, Reading)| {
        reading.rank == Rank::Headline && reading.direction != Direction::Neither && name != "coverage"
    };
    node.stage.values().into_iter().find(is_meant).ok_or_else(|| no_scores(node, "any score"))
}

fn no_scores(node: &Node, value: &str) -> Exit {
    let help = "name a metric or judge stage, and a value that rows have: `--value exact_match`";
    Exit::usage(format!("the rows of {} do not have {value}", node.name), Some(help.to_owned()))
}
