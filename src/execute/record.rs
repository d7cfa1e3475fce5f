//! What a run's record holds: the numbers of its nodes, its models with their roles, its stages in order, and how each
//! value is to be read.
//!
//! With that, a run can be tabled and compared without its spec. The earlier runs with which a session compares are
//! found here, too.

use indexmap::IndexMap;

use super::contrast::{add_contrasts, add_shared};
use super::deltas::add_deltas;
use super::rows::Found;
use super::session::Session;
use crate::plan::Node;
use crate::record::{NodeSummary, Run, RunModel, RunStage};
use crate::score::{Rank, Reading, Summary, Unit};
use crate::spec::RowsRole;
use crate::stage::Stage;
use crate::store::Manifest;

/// Returns a run that holds nothing but the numbers of the given nodes.
pub fn summarize(session: &Session, found: &[(usize, Found)]) -> Run {
    let mut manifests = vec![None; session.plan.nodes.len()];
    for (index, found) in found {
        manifests[*index] = Some(found.manifest.clone());
    }
    let mut run = Run::new("", &session.plan.spec.name);
    describe(session, &manifests, &mut run);
    run
}

/// Writes into a run the numbers of its nodes, and everything that is needed to read them without the spec.
pub(super) fn describe(session: &Session, manifests: &[Option<Manifest>], run: &mut Run) {
    let plan = &session.plan;
    for (node, manifest) in plan.nodes.iter().zip(manifests) {
        let Some(manifest) = manifest else { continue };
        let Summary { values, slices, tables, signatures } = manifest.summary.clone();
        let (stage, column) = (&node.stage_name, node.column().to_owned());
        run.summary.entry(stage.clone()).or_default().insert(column.clone(), NodeSummary { values, slices });
        if !tables.is_empty() {
            run.tables.entry(stage.clone()).or_default().insert(column, tables);
        }
        let judge = judge_signature(stage, manifest).map(|signature| ("judge".to_owned(), signature));
        for (name, signature) in judge.into_iter().chain(signatures) {
            run.signatures.entry(stage.clone()).or_default().insert(name, signature);
        }
    }
    add_contrasts(session, manifests, run);
    add_shared(session, manifests, run);
    add_readings(session, run);
    add_deltas(session, manifests, run);
}

/// Writes into a run its models, its stages, and how each value of its summary is to be read.
fn add_readings(session: &Session, run: &mut Run) {
    let plan = &session.plan;
    let nodes = || plan.nodes.iter().zip(&session.selected).filter(|(_, is_selected)| **is_selected);
    let took_part = |name: &str| {
        let is_meant =
            |node: &Node| node.model.as_deref() == Some(name) || node.callees.iter().any(|(_, callee)| callee == name);
        nodes().any(|(node, _)| is_meant(node))
    };
    let models = plan.spec.models.iter().filter(|(name, _)| took_part(name));
    run.models = models.map(|(name, model)| (name.clone(), RunModel { role: model.role })).collect();
    for (node, _) in nodes() {
        let (name, stage) = (&node.stage_name, &node.stage);
        if run.stages.iter().any(|known| known.name == *name) {
            continue;
        }
        let input = stage.input().map(|(input, _)| input.to_owned());
        run.stages.push(RunStage { name: name.clone(), kind: stage.kind().to_owned(), input, role: stage.rows_role() });
        let mut said = run.summary.get(name).map(|summaries| readings(stage.as_ref(), summaries)).unwrap_or_default();
        if run.rows_role(name) == RowsRole::Training {
            // What a model does on the rows that it was trained with is no headline.
            said.values_mut().for_each(|reading| *reading = reading.ranked(reading.rank.max(Rank::Detail)));
        }
        if !said.is_empty() {
            run.values.insert(name.clone(), said);
        }
    }
}

/// Returns how the values of a stage's nodes are to be read: first the values that can be named before a run, then the
/// others.
fn readings(stage: &dyn Stage, summaries: &IndexMap<String, NodeSummary>) -> IndexMap<String, Reading> {
    let values = || summaries.values().flat_map(|summary| summary.values.keys());
    // A node over all models holds the values of each model under that model's name.
    let over_all = || summaries.get("_").into_iter().flat_map(|summary| summary.values.keys());
    let is_said = |name: &&String| {
        let is_of_model = |value: &String| value.strip_suffix(name.as_str()).is_some_and(|head| head.ends_with('.'));
        values().any(|value| value == *name) || over_all().any(is_of_model)
    };
    let mut readings: IndexMap<String, Reading> =
        stage.values().into_iter().filter(|(name, _)| is_said(&name)).collect();
    for name in values() {
        if !readings.contains_key(name) {
            let reading = stage.reading(name).unwrap_or(Reading::of(Unit::Rate, Rank::Part));
            readings.insert(name.clone(), reading.ranked(Rank::Part));
        }
    }
    readings
}

/// Returns what defines the numbers of a judge stage: its judges, and the digest of its instrument.
fn judge_signature(stage: &str, manifest: &Manifest) -> Option<String> {
    let instrument = manifest.fingerprint.instrument?.to_string();
    let text = |identity: &serde_json::Map<String, serde_json::Value>, name: &str| {
        identity.get(name).and_then(serde_json::Value::as_str).map(str::to_owned)
    };
    let judges: Vec<String> = manifest
        .fingerprint
        .models
        .values()
        .map(|identity| text(identity, "model").or(text(identity, "provider")).unwrap_or_default())
        .collect();
    let templates: Vec<&str> =
        manifest.fingerprint.templates.keys().map(String::as_str).filter(|name| name.starts_with("judge/")).collect();
    let template = if templates.is_empty() { String::new() } else { format!("|prompt:{}", templates.join(",")) };
    Some(format!("{stage}|judge:{}{template}|instrument:{}", judges.join(","), instrument.get(..12)?))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::score::{Direction, Estimate};

    /// Returns the stage with a name, from a pipeline over two models.
    fn stage(name: &str) -> Arc<dyn Stage> {
        let root = tempfile::tempdir().unwrap();
        let text = "etalon: 1\nname: p\nmodels:\n  base: { provider: scripted, reply: a }\n  tuned: { provider: scripted, reply: b }\n  grader: { provider: scripted, reply: c }\nstages:\n  rows: { kind: dataset, rows: [{ key: a, gold: b }], id: key }\n  answers: { kind: inference, input: rows, models: [base, tuned], prompt: \"{{ row.gold }}\" }\n  scores: { kind: metric, input: answers, reference: \"{{ row.gold }}\", metrics: [latency, classification, edit_distance] }\n  ranked: { kind: judge, input: answers, model: grader, compare: { pairs: all } }\n";
        std::fs::create_dir(root.path().join("pipelines")).unwrap();
        std::fs::write(root.path().join("etalon.toml"), "").unwrap();
        std::fs::write(root.path().join("pipelines/p.yaml"), text).unwrap();
        let workspace = crate::spec::Workspace::open(Some(root.path())).unwrap();
        let spec = crate::spec::load(&workspace, "p", &[]).0.unwrap();
        let (plan, problems) = crate::plan::resolve(&workspace, spec);
        let plan = plan.unwrap_or_else(|| panic!("{problems:?}"));
        plan.nodes.iter().find(|node| node.stage_name == name).unwrap().stage.clone()
    }

    /// Returns how values of a node are to be read, in order.
    fn read(name: &str, column: &str, values: &[&str]) -> Vec<(String, Rank, Direction)> {
        let values = values.iter().map(|value| ((*value).to_owned(), Estimate::none(0))).collect();
        let summary = NodeSummary { values, ..NodeSummary::default() };
        let summaries = [(column.to_owned(), summary)].into_iter().collect();
        let readings = readings(stage(name).as_ref(), &summaries);
        readings.into_iter().map(|(name, reading)| (name, reading.rank, reading.direction)).collect()
    }

    #[test]
    fn metrics_know_their_main_part_and_direction() {
        let found = read(
            "scores",
            "tuned",
            &[
                "classification.accuracy",
                "classification.f1_macro",
                "latency",
                "latency.p95",
                "edit_distance.similarity",
            ],
        );
        let expected = [
            ("latency", Rank::Headline, Direction::Lower),
            ("classification.f1_macro", Rank::Headline, Direction::Higher),
            ("classification.accuracy", Rank::Part, Direction::Higher),
            ("latency.p95", Rank::Part, Direction::Lower),
            ("edit_distance.similarity", Rank::Part, Direction::Higher),
        ];
        assert_eq!(found, expected.map(|(name, rank, direction)| (name.to_owned(), rank, direction)));
    }

    #[test]
    fn a_judge_of_all_pairs_has_values_under_the_names_of_models() {
        let found = read("ranked", "_", &["tuned.win_rate", "tuned.beats.base", "longer_wins"]);
        let expected = [
            ("win_rate", Rank::Headline, Direction::Higher),
            ("longer_wins", Rank::Diagnostic, Direction::Neither),
            ("beats.base", Rank::Detail, Direction::Higher),
            ("tuned.win_rate", Rank::Part, Direction::Higher),
            ("tuned.beats.base", Rank::Part, Direction::Higher),
        ];
        assert_eq!(found, expected.map(|(name, rank, direction)| (name.to_owned(), rank, direction)));
    }
}
