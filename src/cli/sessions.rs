//! What commands over runs look up in the cache: scores, and the texts behind them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{open, talk};
use crate::compare::{Line, Side};
use crate::execute::{self, Session};
use crate::record::{Records, Run, RunScores};
use crate::report::RowTexts;
use crate::spec::{self, Workspace};

/// Sessions over the pipelines of runs, opened when something is looked up in the cache.
pub(super) struct Sessions<'a> {
    workspace: &'a Workspace,
    open: BTreeMap<String, Option<Arc<Session>>>,
}

impl<'a> Sessions<'a> {
    pub fn new(workspace: &'a Workspace) -> Sessions<'a> {
        Sessions { workspace, open: BTreeMap::new() }
    }

    /// Returns a session over the pipeline of that name as it stands now; none if it is not there or has errors.
    pub fn of(&mut self, pipeline: &str) -> Option<Arc<Session>> {
        if !self.open.contains_key(pipeline) {
            let is_it =
                |file: &String| spec::load(self.workspace, file, &[]).0.is_some_and(|spec| spec.name == pipeline);
            let file = open::pipelines(self.workspace).into_iter().find(is_it);
            let session = file.and_then(|file| {
                let (plan, _) = open::plan_in(self.workspace, &file, &[]).ok()?;
                open::reader(&plan).ok().map(Arc::new)
            });
            self.open.insert(pipeline.to_owned(), session);
        }
        self.open[pipeline].clone()
    }

    /// Returns the scores of a run: those kept beside it, else those in the cache.
    pub fn scores(&mut self, records: &Records, run: &Run) -> Option<RunScores> {
        scores(records, run, || self.of(&run.pipeline))
    }
}

/// Returns the scores of a run: those kept beside it, else those that a session over its pipeline finds in the cache. What
/// cannot be read is told.
pub(super) fn scores<S: Deref<Target = Session>>(
    records: &Records,
    run: &Run,
    session: impl FnOnce() -> Option<S>,
) -> Option<RunScores> {
    match records.scores(&run.run) {
        Ok(Some(scores)) => return Some(scores),
        Ok(None) => {}
        Err(error) => talk(&format!("warning: runs/{}.scores.zst {error}", run.run)),
    }
    match execute::run_scores(&*session()?, run) {
        Ok(scores) if scores.values.is_empty() => None,
        Ok(scores) => Some(scores),
        Err(error) => {
            talk(&format!("warning: the rows of {} cannot be read: {error}", run.run));
            None
        }
    }
}

impl Sessions<'_> {
    /// Returns what led to the rows of a value that changed, as far as the cache has it.
    pub fn row_texts(&mut self, before: &Side, after: &Side, line: &Line) -> Vec<RowTexts> {
        let wanted: BTreeSet<&str> = line.flips.iter().map(|flip| flip.id.as_str()).collect();
        let mut texts = |side: &Side, model: &str| -> Texts {
            let Some(session) = self.of(&side.run.pipeline) else { return Texts::new() };
            texts(&session, &side.run, &line.stage, model, &wanted)
        };
        let earlier = texts(before, line.model_before.as_deref().unwrap_or(&line.model));
        let later = texts(after, &line.model);
        let of = |texts: &Texts, id: &str| texts.get(id).cloned();
        let row = |id: &String| RowTexts { id: id.clone(), before: of(&earlier, id), after: of(&later, id) };
        line.flips.iter().map(|flip| row(&flip.id)).collect()
    }
}

type Texts = BTreeMap<String, Map<String, Value>>;

/// Reads rows of a node as they were in a run.
fn texts(session: &Session, run: &Run, stage: &str, model: &str, wanted: &BTreeSet<&str>) -> Texts {
    let name = if model == "_" { stage.to_owned() } else { format!("{stage}.{model}") };
    let mut texts = Texts::new();
    let Some(index) = session.plan.nodes.iter().position(|node| node.name == name) else { return texts };
    // What the model was asked is known to the stage that asked it.
    let asked = session.plan.nodes[index].inputs.iter().map(|(_, input)| *input);
    let asked = asked.filter(|input| session.plan.nodes[*input].model.as_deref() == Some(model)).take(1);
    for index in [index].into_iter().chain(asked) {
        let Some(rows) = execute::rows_of_run(session, index, run) else { continue };
        let mut seen = 0;
        let result = execute::each_row(session, index, &rows, |row| {
            if !wanted.contains(row.row.id.as_str()) {
                return seen < wanted.len();
            }
            seen += usize::from(row.sample == 0);
            let known = texts.entry(row.row.id.clone()).or_default();
            for (name, value) in row.document(false) {
                match known.get_mut(&name) {
                    None => _ = known.insert(name, value),
                    // A row's score is that of all its samples, so all are shown.
                    Some(said) if row.sample > 0 && name == "completion" && *said != value => match said {
                        Value::Array(all) if all.contains(&value) => {}
                        Value::Array(all) => all.push(value),
                        one => *one = json!([one, value]),
                    },
                    Some(_) => {}
                }
            }
            true
        });
        if let Err(error) = result {
            talk(&format!("warning: rows of {name} cannot be shown: {error}"));
        }
    }
    texts
}
