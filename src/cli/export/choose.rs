//! `--rows`: which rows are meant by their scores.

use std::collections::{BTreeMap, BTreeSet};

use super::args::{ExportArgs, Which};
use crate::cli::exit::Exit;
use crate::cli::open;
use crate::cli::sessions::scores;
use crate::compare::{Flip, Line, Side, Terms, Turn, compare};
use crate::execute::{Found, Session};
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
            let own = node.stage.row_values(&session.store, &rows.manifest, &value)?;
            let own = own.ok_or_else(|| no_scores(node, &value))?;
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
                Which::Broken => broken(session, node, &value, &arguments.against)?,
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

/// Returns the rows that are worse in the last run than in another, or have no result any more, as `compare` finds them.
fn broken(session: &Session, node: &Node, value: &str, against: &str) -> Result<BTreeSet<String>, Exit> {
    let records = open::records(&session.plan);
    let side = |name: &str| {
        let run = open::run(&records, name)?;
        Ok::<Side, Exit>(Side { scores: scores(&records, &run, || Some(session)), run, model: None })
    };
    let found = compare(&side(against)?, &side("last")?, &Terms::default());
    let (stage, model) = (&node.stage_name, node.column());
    let is_it = |line: &Line| line.stage == *stage && line.model == model && line.value == value;
    let name = format!("{}.{value}", node.name);
    match found.values.into_iter().find(is_it) {
        Some(line) if line.change.unpaired.is_none() => {
            let is_broken = |flip: &Flip| matches!(flip.turn, Turn::Broken | Turn::Lost);
            Ok(line.flips.into_iter().filter(is_broken).map(|flip| flip.id).collect())
        }
        Some(_) => Err(Exit::usage(
            format!("the rows of {name} in {against} are kept neither beside the run nor in the cache"),
            Some("name another run: --against RUN".to_owned()),
        )),
        None => {
            let is_of = |of: &str| name == of || name.strip_prefix(of).is_some_and(|rest| rest.starts_with('.'));
            let refused = found.refused.into_iter().find(|one| is_of(&one.of)).map(|one| one.because);
            Err(Exit::usage(format!("{name} cannot be compared with {against}"), refused))
        }
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
