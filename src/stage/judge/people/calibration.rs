//! `human`: the judge's verdicts compared with what people said.
//!
//! Of several raters the majority counts; of several scores the mean. The judge's verdict on the first sample of the
//! row is compared with that. `agreement` and `correction` compute what follows from it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::labels::{Label, LabelKind, Labels, Sides};
use crate::digest::Digest;
use crate::outcome::Outcome;
use crate::row::Judgement;
use crate::stage::judge::method::{Method, Said, majority};
use crate::stats::HumanScore;

/// Compares a judge's verdicts with labels.
pub(crate) struct Calibration {
    pub(super) labels: Labels,
    pub(super) kind: LabelKind,
    /// The name of the node, for messages.
    pub(super) name: String,
    /// The judge's word and people's word, for each label.
    pub(super) words: Vec<(String, String)>,
    /// The worth of what the judge and people say, 0 to 1, for each row.
    pub(super) worths: Vec<HumanScore>,
    /// By criterion: people's score and the judge's, for each label.
    pub(super) scores: BTreeMap<String, Vec<(f64, f64)>>,
    /// By criterion, for each entry of `scores`: whether it is about what the model says now.
    pub(super) counted: BTreeMap<String, Vec<bool>>,
    /// By row: the index of the criterion, and both scores as whole numbers. They are kept by row because labels of one
    /// row are not independent.
    pub(super) rounded: BTreeMap<String, Vec<(usize, i64, i64)>>,
    /// By row: how many labels the judge agrees with, and how many there are.
    pub(super) agreed: BTreeMap<String, (f64, f64)>,
    /// What the judge says about all rows now: by criterion, or under "" for a method without criteria.
    pub(super) all: BTreeMap<String, Vec<f64>>,
    /// How many pairs of raters agree, and how many pairs there are.
    pub(super) raters: (u64, u64),
    pub(super) disagreements: Vec<(f64, Value)>,
    /// Labels about texts without a readable verdict.
    pub(super) unjudged: u64,
    pub(super) seen: BTreeSet<String>,
    pub(super) expected: BTreeSet<String>,
    /// The worth of the judge's verdicts on labelled texts, by row and digest of the texts.
    pub(super) golden: Vec<(String, Option<f64>)>,
}

/// A judgement, with the models and texts that it is about.
pub(crate) struct Labelled<'a> {
    pub judgement: &'a Judgement,
    pub sides: Sides<'a>,
    /// The digest of the judged texts.
    pub texts: Option<Digest>,
    /// The texts are what the models say now.
    pub is_current: bool,
}

impl Calibration {
    /// Starts the comparison for a node. `sides` are the models whose labels should meet a judgement.
    pub fn new(labels: Labels, kind: LabelKind, name: &str, sides: &[Sides<'_>]) -> Calibration {
        let expected = sides.iter().flat_map(|sides| labels.rows(*sides)).map(str::to_owned).collect();
        Calibration {
            labels,
            kind,
            name: name.to_owned(),
            words: Vec::new(),
            worths: Vec::new(),
            scores: BTreeMap::new(),
            counted: BTreeMap::new(),
            rounded: BTreeMap::new(),
            agreed: BTreeMap::new(),
            all: BTreeMap::new(),
            raters: (0, 0),
            disagreements: Vec::new(),
            unjudged: 0,
            seen: BTreeSet::new(),
            expected,
            golden: Vec::new(),
        }
    }

    /// Compares one judgement with the labels about it.
    pub fn add(&mut self, labelled: &Labelled<'_>, method: &dyn Method) {
        let judgement = labelled.judgement;
        if judgement.sample != 0 {
            return;
        }
        let is_meant = |label: &Label| match &label.texts {
            Some(texts) => labelled.texts == Some(texts.digest()),
            None => labelled.is_current,
        };
        let own: Vec<Label> = self.labels.about(&judgement.id, labelled.sides).into_iter().filter(is_meant).collect();
        let worth = method.worth(&Said::of(judgement)).filter(|_| judgement.status.is_valid());
        if !own.is_empty() {
            self.seen.insert(judgement.id.clone());
            let texts = labelled.texts.map_or_else(String::new, |texts| texts.short());
            self.golden.push((format!("{} {texts}", judgement.id), worth));
        }
        match self.kind.clone() {
            LabelKind::Words(words) => {
                self.note_current(labelled, "", worth);
                self.add_word(labelled, &own, &words, worth, method);
            }
            LabelKind::Scores { criteria, .. } => {
                for criterion in &criteria {
                    let of: Vec<&Label> = own.iter().filter(|label| label.criterion == *criterion).collect();
                    let score = judgement.scores.as_ref().and_then(|scores| scores.get(criterion)?.as_f64());
                    self.note_current(labelled, criterion, score);
                    self.add_score(labelled, criterion, &of, score);
                }
            }
        }
    }

    fn note_current(&mut self, labelled: &Labelled<'_>, name: &str, value: Option<f64>) {
        if let Some(value) = value.filter(|_| labelled.is_current) {
            self.all.entry(name.to_owned()).or_default().push(value);
        }
    }

    fn count_raters(&mut self, own: &[&Label], agree: impl Fn(&Label, &Label) -> bool) {
        // Labels without a rater's name may come from one person, so they are not compared.
        let are_two = |a: &Label, b: &Label| a.rater != b.rater && !a.rater.is_empty() && !b.rater.is_empty();
        for (a, b) in pairs(own.len()).filter(|(a, b)| are_two(own[*a], own[*b])) {
            self.raters.1 += 1;
            self.raters.0 += u64::from(agree(own[a], own[b]));
        }
    }

    fn add_word(
        &mut self,
        labelled: &Labelled<'_>,
        own: &[Label],
        known: &[String],
        worth: Option<f64>,
        method: &dyn Method,
    ) {
        let judgement = labelled.judgement;
        if own.is_empty() {
            return;
        }
        self.count_raters(&own.iter().collect::<Vec<_>>(), |a, b| a.word == b.word);
        // If people are split evenly, they do not say which is better: a tie.
        let torn = known.iter().map(String::as_str).find(|word| *word == Outcome::Tie.word());
        let Some(human) = majority(own.iter().map(|label| label.word.as_str())).or(torn) else {
            return;
        };
        let Some(verdict) = judgement.verdict.as_deref() else {
            self.unjudged += 1;
            return;
        };
        // People say which is better, but not by how little, so only the side of the judge's verdict counts.
        let said = Outcome::of_word(verdict).map_or(verdict, |outcome| outcome.side().word());
        let of_people = method.worth(&Said { scores: None, verdict: Some(human) });
        if let (Some(worth), Some(of_people)) = (worth, of_people) {
            self.worths.push(HumanScore { judge: worth, human: of_people, is_counted: labelled.is_current });
        }
        if said != human {
            let far = worth.zip(of_people).map_or(1.0, |(a, b)| (a - b).abs());
            let row = json!({
                "row": judgement.id, "judge": said, "people": human,
                "reason": judgement.reason, "reason_of_people": reasons(own.iter()),
            });
            self.disagreements.push((far, row));
        }
        self.count_agreed(&judgement.id, said == human);
        self.words.push((said.to_owned(), human.to_owned()));
    }

    fn add_score(&mut self, labelled: &Labelled<'_>, criterion: &str, own: &[&Label], score: Option<f64>) {
        let judgement = labelled.judgement;
        let said: Vec<f64> = own.iter().filter_map(|label| label.score).collect();
        if said.is_empty() {
            return;
        }
        self.count_raters(own, |a, b| a.score == b.score);
        let human = said.iter().sum::<f64>() / said.len() as f64;
        let Some(score) = score else {
            self.unjudged += 1;
            return;
        };
        if score.round() != human.round() {
            let row = json!({
                "row": judgement.id, "criterion": criterion, "judge": score, "people": human,
                "reason": judgement.reason, "reason_of_people": reasons(own.iter().copied()),
            });
            self.disagreements.push(((score - human).abs(), row));
        }
        self.count_agreed(&judgement.id, score.round() == human.round());
        let place = match &self.kind {
            LabelKind::Scores { criteria, .. } => criteria.iter().position(|known| known == criterion).unwrap_or(0),
            LabelKind::Words(_) => 0,
        };
        let rounded = (place, human.round() as i64, score.round() as i64);
        self.rounded.entry(judgement.id.clone()).or_default().push(rounded);
        self.scores.entry(criterion.to_owned()).or_default().push((human, score));
        self.counted.entry(criterion.to_owned()).or_default().push(labelled.is_current);
    }

    fn count_agreed(&mut self, row: &str, is_same: bool) {
        let counts = self.agreed.entry(row.to_owned()).or_default();
        *counts = (counts.0 + f64::from(u8::from(is_same)), counts.1 + 1.0);
    }

    /// Returns the worth of the judge's verdicts on labelled texts, to measure drift.
    pub fn golden(&self) -> impl Iterator<Item = (String, Option<f64>)> {
        self.golden.iter().cloned()
    }
}

fn reasons<'a>(labels: impl Iterator<Item = &'a Label>) -> Option<String> {
    let said: Vec<&str> = labels.map(|label| label.reason.as_str()).filter(|reason| !reason.is_empty()).collect();
    (!said.is_empty()).then(|| said.join("\n"))
}

fn pairs(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).flat_map(move |a| (a + 1..n).map(move |b| (a, b)))
}
