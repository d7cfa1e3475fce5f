//! People's labels of a judge stage, and what each label is about.
//!
//! A label that carries its texts stays true when the models say something else: the judge is then asked about the
//! texts that people saw. A label without texts is about whatever the model says now.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde_json::json;

use crate::digest::Digest;
use crate::label::{LabelLine, read_labels};
use crate::outcome::Outcome;
use crate::problem::{Place, Problem, suggest};
use crate::spec::Workspace;
use crate::stage::judge::read::Scale;

/// How many bad lines are reported.
const TOLD: usize = 10;

/// Which labels a method takes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum LabelKind {
    /// One of several words.
    Words(Vec<String>),
    /// A score per criterion.
    Scores { scale: Scale, criteria: Vec<String> },
}

/// What a label of a stage must look like.
pub(crate) struct Wanted {
    pub kind: LabelKind,
    pub is_pair: bool,
    pub is_all_pairs: bool,
}

/// What a judgement is about: a model, and the one with which it is compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sides<'a> {
    pub model: &'a str,
    pub against: Option<&'a str>,
}

/// Texts as people saw them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Texts {
    pub completion: String,
    pub baseline: Option<String>,
}

impl Texts {
    /// Returns the digest that tells these texts from others.
    pub fn digest(&self) -> Digest {
        texts_digest(&self.completion, self.baseline.as_deref())
    }
}

/// Returns the digest that tells a pair of texts from others.
pub(crate) fn texts_digest(completion: &str, baseline: Option<&str>) -> Digest {
    Digest::of_json("etalon.texts", &json!([completion, baseline]))
}

/// What one rater said about one thing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Label {
    pub criterion: String,
    /// Empty: the label holds for any model.
    model: String,
    pair: Option<(String, String)>,
    pub rater: String,
    pub word: String,
    pub score: Option<f64>,
    pub reason: String,
    pub texts: Option<Texts>,
}

impl Label {
    /// Returns the label as one about the given sides (turned, if it names them the other way round); none if it is
    /// about other models.
    fn about(&self, sides: Sides<'_>) -> Option<Label> {
        let Some((first, second)) = &self.pair else {
            return (self.model.is_empty() || self.model == sides.model).then(|| self.clone());
        };
        let against = sides.against?;
        if (first.as_str(), second.as_str()) == (sides.model, against) {
            return Some(self.clone());
        }
        if (second.as_str(), first.as_str()) != (sides.model, against) {
            return None;
        }
        let mut turned = self.clone();
        if let Some(outcome) = Outcome::of_word(&self.word) {
            turned.word = outcome.turned().word().to_owned();
        }
        if let Some(Texts { completion, baseline: Some(baseline) }) = &self.texts {
            turned.texts = Some(Texts { completion: baseline.clone(), baseline: Some(completion.clone()) });
        }
        Some(turned)
    }
}

/// Labels of people, by row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Labels {
    by: BTreeMap<String, Vec<Label>>,
    /// The file does not exist.
    pub is_missing: bool,
}

impl Labels {
    /// Reads a file of the workspace; every bad line becomes a problem.
    pub fn read(
        workspace: &Workspace,
        name: &str,
        wanted: &Wanted,
        at: &Place,
        problems: &mut Vec<Problem>,
    ) -> Option<Labels> {
        let before = problems.len();
        let mut wrong = |message: String, help: Option<String>| {
            if problems.len() < before + TOLD {
                problems.push(Problem::error("wrong-label", message).at(at).maybe_help(help));
            }
        };
        if let Some(refused) = workspace.refusal(name) {
            problems.push(refused.at(at));
            return None;
        }
        let lines = match read_labels(&workspace.path(name), name) {
            Ok(lines) => lines,
            // Labels are written after the first run; until then the file is missing, and there are no labels.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Some(Labels { by: BTreeMap::new(), is_missing: true });
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                wrong(format!("{name} has no extension that tells what it is"), Some("labels/duel.jsonl".to_owned()));
                return None;
            }
            Err(error) => {
                wrong(format!("failed to read {name}: {error}"), None);
                return None;
            }
        };
        let mut labels = Labels::default();
        for line in lines {
            let (number, line) = match line {
                Ok(read) => read,
                Err(bad) => {
                    wrong(format!("{name}:{}: {}", bad.line, bad.message), None);
                    continue;
                }
            };
            if line.row.is_empty() {
                let help = "each line has `row` (the id of the row) and `label`".to_owned();
                wrong(format!("{name}:{number}: there is no `row`"), Some(help));
                continue;
            }
            match label(&line, wanted) {
                Ok(label) => labels.by.entry(line.row).or_default().push(label),
                Err((message, help)) => wrong(format!("{name}:{number}: {message}"), help),
            }
        }
        (problems.len() == before).then_some(labels)
    }

    /// Returns the models that labels name.
    pub fn models(&self) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        for label in self.by.values().flatten() {
            names.extend((!label.model.is_empty()).then_some(label.model.as_str()));
            names.extend(label.pair.iter().flat_map(|(first, second)| [first.as_str(), second.as_str()]));
        }
        names
    }

    /// Returns true if the row has any label.
    pub fn has(&self, row: &str) -> bool {
        self.by.contains_key(row)
    }

    /// Returns the digest of the labels about some models; it does not depend on their order in the file.
    pub fn digest(&self, sides: &[Sides<'_>]) -> Digest {
        let mut said: Vec<String> = Vec::new();
        for (row, labels) in &self.by {
            for (place, sides) in sides.iter().enumerate() {
                for label in labels.iter().filter_map(|label| label.about(*sides)) {
                    let texts = label.texts.map(|texts| texts.digest().to_string());
                    let line = json!([row, place, label.criterion, label.word, label.rater, label.reason, texts]);
                    said.push(line.to_string());
                }
            }
        }
        said.sort();
        Digest::of_json("etalon.labels", &json!(said))
    }

    /// Returns the labels of a row that are about a model.
    pub fn about(&self, row: &str, sides: Sides<'_>) -> Vec<Label> {
        self.by.get(row).into_iter().flatten().filter_map(|label| label.about(sides)).collect()
    }

    /// Returns the texts of a row that people saw for a model, each once.
    pub fn texts(&self, row: &str, sides: Sides<'_>) -> Vec<Texts> {
        let mut texts: Vec<Texts> = self.about(row, sides).into_iter().filter_map(|label| label.texts).collect();
        texts.sort();
        texts.dedup();
        texts
    }

    /// Returns the rows that have labels about a model.
    pub fn rows(&self, sides: Sides<'_>) -> impl Iterator<Item = &str> {
        let is_about = move |labels: &Vec<Label>| labels.iter().any(|label| label.about(sides).is_some());
        self.by.iter().filter(move |(_, labels)| is_about(labels)).map(|(row, _)| row.as_str())
    }
}

/// Checks one line. The error is a message, with a hint if there is one.
fn label(line: &LabelLine, wanted: &Wanted) -> Result<Label, (String, Option<String>)> {
    let (word, criterion) = (line.word(), line.criterion.clone());
    let has_pair = !line.pair.is_empty();
    if wanted.is_all_pairs && !has_pair {
        return Err(("there is no `pair`".to_owned(), Some("which of all pairs: `pair: tuned/base`".to_owned())));
    }
    if has_pair && !wanted.is_pair {
        return Err(("a label of one completion has `model`, not `pair`".to_owned(), Some("model: tuned".to_owned())));
    }
    let texts = line.completion.clone().map(|completion| Texts { completion, baseline: line.baseline.clone() });
    if wanted.is_pair && texts.as_ref().is_some_and(|texts| texts.baseline.is_none()) {
        return Err((
            "there is `completion` without `baseline`".to_owned(),
            Some("a comparison is about two texts: give both, or neither".to_owned()),
        ));
    }
    let pair = match line.sides() {
        Some((model, against)) => Some((model.to_owned(), against.to_owned())),
        None if has_pair => return Err((format!("`{}` is no pair", line.pair), Some("pair: tuned/base".to_owned()))),
        None => None,
    };
    let label = |word: String, score| Label {
        criterion: criterion.clone(),
        model: line.model.clone(),
        pair: pair.clone(),
        rater: line.rater.clone(),
        word,
        score,
        reason: line.reason.clone(),
        texts: texts.clone(),
    };
    match &wanted.kind {
        LabelKind::Words(words) => match words.iter().find(|known| known.eq_ignore_ascii_case(&word)) {
            Some(known) => Ok(Label { criterion: String::new(), ..label(known.clone(), None) }),
            None => {
                let help = suggest(&word, "labels there are", words.iter().map(String::as_str));
                Err((format!("there is no label `{word}`"), help))
            }
        },
        LabelKind::Scores { scale, criteria } => {
            if !criteria.contains(&criterion) {
                let help = suggest(&criterion, "criteria there are", criteria.iter().map(String::as_str));
                return Err((format!("there is no criterion `{criterion}`"), help));
            }
            match word.parse().ok().filter(|score: &f64| (scale.low..=scale.high).contains(score)) {
                Some(score) => Ok(label(word, Some(score))),
                None => Err((format!("`{word}` is no score from {} to {}", scale.low, scale.high), None)),
            }
        }
    }
}
