//! The table of symptoms, in order of precedence: earlier ones qualify later ones.
//!
//! | file | looks for |
//! |---|---|
//! | `instrument` | judges, calls and checks that cannot be trusted |
//! | `leak` | held-out rows that stand in training data |
//! | `cut` | answers that end in mid-sentence |
//! | `refusal` | refusals |
//! | `format` | answers that are not in the format that was asked for |
//! | `fit` | over- and underfitting, from stages over training rows and from the log |
//! | `forget` | what the base could do and the tuned model no longer can |
//! | `tone` | right answers in the wrong tone |
//! | `collapse` | one answer to everything, and loops |
//! | `verbose` | answers that are much longer than the ceiling's |
//! | `cost` | answers that are slower or dearer than the ceiling's |

mod collapse;
mod cost;
mod cut;
mod fit;
mod forget;
mod format;
mod instrument;
mod leak;
mod refusal;
mod tone;
mod verbose;

use std::collections::BTreeMap;

use super::evidence::{Answers, Difference, Evidence, Figure, Said, outcomes, prefix_of};
use super::{Confidence, Finding, ROWS};
use crate::spec::RowsRole;
use crate::stats::{share_interval, sign_test};

pub(super) use format::works;

/// The code of what is looked for first.
pub(super) const INSTRUMENT: &str = "D-INSTRUMENT";

/// A symptom: its code, and the rule that looks for it. The rule returns what it found, or what it needs to look.
pub(super) struct Symptom {
    pub code: &'static str,
    /// What it is, for the reference.
    pub about: &'static str,
    pub look: fn(&Evidence) -> Result<Vec<Finding>, String>,
}

/// All symptoms, in order of precedence.
pub(super) const SYMPTOMS: &[Symptom] = &[
    Symptom { code: INSTRUMENT, about: "judges, calls or checks that cannot be trusted", look: instrument::look },
    Symptom { code: "D-LEAK", about: "held-out rows that stand in training data", look: leak::look },
    Symptom { code: "D-TRUNC", about: "answers that end in mid-sentence", look: cut::look },
    Symptom { code: "D-REFUSAL", about: "refusals of what should be answered", look: refusal::look },
    Symptom { code: "D-FORMAT", about: "answers that are not in the format that was asked for", look: format::look },
    Symptom { code: "D-OVERFIT", about: "good on training rows, worse on held-out ones", look: fit::overfit },
    Symptom { code: "D-UNDERFIT", about: "bad on everything: training has not taken", look: fit::underfit },
    Symptom { code: "D-FORGET", about: "worse than the base where nothing was trained", look: forget::look },
    Symptom { code: "D-TONE", about: "right answers in the wrong tone", look: tone::look },
    Symptom { code: "D-COLLAPSE", about: "one answer to everything, or loops", look: collapse::look },
    Symptom { code: "D-VERBOSE", about: "answers much longer than the ceiling's", look: verbose::look },
    Symptom { code: "D-COST", about: "slower or dearer than the ceiling", look: cost::look },
];

/// The codes of all symptoms with what they are.
pub const CODES: &[(&str, &str)] = &{
    let mut codes = [("", ""); SYMPTOMS.len()];
    let mut place = 0;
    while place < codes.len() {
        codes[place] = (SYMPTOMS[place].code, SYMPTOMS[place].about);
        place += 1;
    }
    codes
};

/// From this share of the rows on, surely exceeded, a symptom of single answers is a finding.
const SHARE: f64 = 0.02;
/// The p below which the candidate differs from the baseline.
const ALPHA: f64 = 0.01;
/// How wide an interval at 99 % is beside one at 95 %: a quotient of normal quantiles. Many values are looked at, so a
/// difference of means must be surer than 95 %.
const SURE: f64 = 1.3143;
/// With fewer rows nothing is said of shares.
const FEW: usize = 10;

/// A symptom of single answers: how many show it, and beside the baseline.
struct Signs {
    shown: BTreeMap<String, bool>,
    count: u64,
    /// The 95 % interval of the share.
    low: f64,
    high: f64,
    /// The share of the baseline's answers to the same rows.
    of_baseline: Option<f64>,
    /// More than the baseline's, by the exact test of the rows that differ.
    is_new: bool,
}

impl Signs {
    /// Looks at every answer; `shows` decides of one.
    fn of(evidence: &Evidence, answers: &Answers, shows: impl Fn(&Said) -> bool) -> Signs {
        let look = |answers: &Answers| -> BTreeMap<String, bool> {
            answers.said.iter().map(|(id, said)| (id.clone(), shows(said))).collect()
        };
        let shown = look(answers);
        let count = shown.values().filter(|shown| **shown).count() as u64;
        let interval = share_interval(count as f64, shown.len() as f64);
        let of_baseline = evidence.beside(answers, evidence.baseline.as_ref()).map(look);
        let (more, less) = of_baseline.as_ref().map_or((0, 0), |other| outcomes(&shown, other));
        // The baseline's share of the same rows.
        let share = |other: BTreeMap<String, bool>| {
            let same: Vec<bool> =
                other.iter().filter(|(id, _)| shown.contains_key(*id)).map(|(_, shows)| *shows).collect();
            same.iter().filter(|shows| **shows).count() as f64 / same.len().max(1) as f64
        };
        Signs {
            count,
            low: interval.map_or(0.0, |interval| interval.low),
            high: interval.map_or(1.0, |interval| interval.high),
            is_new: more > less && sign_test(more, more + less) < ALPHA,
            of_baseline: of_baseline.map(share),
            shown,
        }
    }

    /// Returns true if the share surely exceeds what may be.
    fn is_shown(&self) -> bool {
        self.shown.len() >= FEW && self.low > SHARE
    }

    /// Returns the numbers in words: `12 of 100 answers (0.120, 0.070 to 0.199), 0.010 of base's`.
    fn words(&self, evidence: &Evidence) -> String {
        let n = self.shown.len();
        let share = self.count as f64 / n.max(1) as f64;
        let base = self.of_baseline.zip(evidence.baseline.as_ref());
        let base = base.map_or_else(String::new, |(share, name)| format!("; {share:.3} of {name}'s"));
        format!("{} of {n} answers ({share:.3}, 95 %: {:.3} to {:.3}){base}", self.count, self.low, self.high)
    }

    fn rows(&self) -> Vec<String> {
        self.shown.iter().filter(|(_, shown)| **shown).take(ROWS).map(|(id, _)| id.clone()).collect()
    }

    fn confidence(&self) -> Confidence {
        if self.is_new && self.shown.len() >= 50 { Confidence::High } else { Confidence::Medium }
    }
}

/// Returns the candidate's answers to held-out rows, or that there are none.
fn answers(evidence: &Evidence) -> Result<Vec<&Answers>, String> {
    let found: Vec<&Answers> = evidence.answers_of(&evidence.candidate, RowsRole::Heldout).collect();
    if found.is_empty() {
        let has_others = evidence.answers.iter().any(|answers| answers.model == evidence.candidate);
        let why = if has_others {
            "they are all to rows that are not held out"
        } else {
            "the cache here has none of this run"
        };
        return Err(format!("the answers of {}: {why}", evidence.candidate));
    }
    Ok(found)
}

/// Returns the candidate's values over held-out rows whose metric or last part has one of these names.
fn named(evidence: &Evidence, names: &[&str]) -> Vec<Figure> {
    let is_it = |figure: &Figure| {
        let first = figure.value.split('.').next().unwrap_or_default();
        names.contains(&first) && first == figure.value
    };
    evidence.figures(&evidence.candidate, RowsRole::Heldout).into_iter().filter(is_it).collect()
}

/// Returns remedies as texts.
fn remedies(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
