//! The fingerprint of a judge stage: everything that a judgement depends on.

use super::evidence::lineage::Kin;
use super::node::{Judge, pairs_of};
use super::people::labels::{Labels, Sides};
use crate::digest::Digest;
use crate::stage::Stage;
use crate::stage::prompt::{add_completions, add_model, said_columns};
use crate::stage::{Callee, Facts, Part};
use crate::store::Fingerprint;

/// Bumped when the meaning of judgements changes, also when the rules for reading verdicts change.
const REVISION: u32 = 6;

impl Judge {
    /// Returns everything that can change a node's judgements.
    pub fn key_facts(&self, facts: &Facts<'_>) -> Fingerprint {
        let mut fingerprint = Fingerprint::new("judge", REVISION);
        for (name, value) in self.method.settings() {
            fingerprint.setting(&name, value);
        }
        if self.retries != 1 {
            fingerprint.setting("retries", self.retries);
        }
        if let Some(truncate) = &self.truncate {
            fingerprint.setting("truncate_candidates", serde_json::to_value(truncate).expect("settings serialise"));
        }
        if self.samples != 1 {
            fingerprint.setting("samples", self.samples);
        }
        self.conversation.add_to(&mut fingerprint, facts);
        if let Some(reference) = &self.reference {
            reference.add_to(&mut fingerprint, facts, "");
        }
        for (judge, grader) in (0..).map(Callee::Judge).zip(&self.judges) {
            add_model(&mut fingerprint, judge, facts, &grader.model, &grader.options);
            if let Some(written) = &grader.tags.written {
                let name = format!("{}.reasoning_tags", judge.name());
                fingerprint.setting(&name, serde_json::to_value(written).expect("texts are JSON"));
            }
        }
        // The fingerprint without its inputs is the instrument: numbers of another instrument cannot be compared with
        // these.
        let instrument = Fingerprint { inputs: Default::default(), ..fingerprint.clone() };
        fingerprint.instrument = Some(instrument.key());
        if self.canaries > 0 {
            fingerprint.setting("canaries", self.canaries);
        }
        if self.method.identity_pairs() > 0 {
            fingerprint.setting("identity_pairs", self.method.identity_pairs());
        }
        let kin = self.kin(facts.model, self.baseline_model());
        if self.method.is_pair() && kin.len() > 1 && kin.iter().any(|kin| *kin != Kin::None) {
            fingerprint.setting("kin", kin.into_iter().map(Kin::word).collect::<Vec<_>>());
        }
        if self.method.is_all_pairs() {
            let models = Part::contestants().filter_map(|part| facts.input_models.get(&part));
            fingerprint.setting("contestants", models.cloned().collect::<Vec<_>>());
        }
        if self.shows_prompt()
            && let Some(upstream) = facts.upstream
        {
            upstream.add_prompt(&mut fingerprint, facts);
        }
        if let Some((_, labels)) = self.human.as_ref().filter(|(_, labels)| !labels.is_missing) {
            fingerprint.files.insert("human".to_owned(), self.labels_digest(labels, facts));
        }
        let columns = said_columns(&|variable| variable == "tool_calls" || self.conversation.reads(variable));
        for part in [Part::Baseline].into_iter().chain(Part::contestants()) {
            add_completions(&mut fingerprint, part, facts.inputs.get(&part), &columns);
        }
        fingerprint
    }

    /// Returns the digest of the labels about the models that a node judges; other labels do not enter its key.
    fn labels_digest(&self, labels: &Labels, facts: &Facts<'_>) -> Digest {
        let models: Vec<&str> = match facts.model {
            Some(model) => vec![model],
            None => Part::contestants().filter_map(|part| facts.input_models.get(&part)).map(String::as_str).collect(),
        };
        let against = self.method.baseline().map(|baseline| baseline.name.as_str());
        let sides: Vec<Sides<'_>> = if self.method.is_all_pairs() {
            pairs_of(models.len())
                .map(|[i, j]| Sides { model: models[i as usize], against: Some(models[j as usize]) })
                .collect()
        } else {
            vec![Sides { model: models.first().copied().unwrap_or_default(), against }]
        };
        labels.digest(&sides)
    }
}
