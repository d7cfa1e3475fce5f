//! People's labels of a judge stage, and what they are about.
//!
//! A label with its texts stays true when the models say something else: the judge is then asked about the
//! texts that people saw. One without is about whatever the model says now.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde_json::json;

use crate::digest::Digest;
use crate::label::{LabelLine, read_labels};
use crate::outcome::Outcome;
use crate::problem::{Place, Problem, suggest};
use crate::spec::Workspace;
use crate::stage::judge::read::Scale;

/// Bad lines that are told.
const TOLD: usize = 10;

/// What labels may be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum LabelKind {
    /// One of several words.
    Words(Vec<String>),
    /// A score per criterion.
    Scores { scale: Scale, criteria: Vec<String> },
}

/// What labels of a stage are like.
pub(crate) struct Wanted {
    pub kind: LabelKind,
    pub is_pair: bool,
    pub is_all_pairs: bool,
}

/// What a judgement is about: a model, and the one that it is compared with.
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
    pub fn digest(&self) -> Digest {
        texts_digest(&self.completion, self.baseline.as_deref())
    }
}

/// Returns what tells one pair of texts from another.
pub(crate) fn texts_digest(completion: &str, baseline: Option<&str>) -> Digest {
    Digest::of_json("etalon.texts", &json!([completion, baseline]))
}

/// What one rater said.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Label {
    pub criterion: String,
    /// Empty: of any model.
    model: String,
    pair: Option<(String, String)>,
    pub rater: String,
    pub word: String,
    pub score: Option<f64>,
    pub reason: String,
    pub texts: Option<Texts>,
}

impl Label {
    /// Returns the label as it is about one side; none where it is about other models.
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
    /// There is no file.
    pub is_missing: bool,
}

impl Labels {
    /// Reads a file of the workspace; every bad line is a problem.
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
        let lines = match read_labels(&workspace.path(name), name) {
            Ok(lines) => lines,
            // Labels come after the first run: until then there are none.
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

    pub fn has(&self, row: &str) -> bool {
        self.by.contains_key(row)
    }

    /// Returns the digest of the labels that are about models, in an order that is not the file's.
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

    /// Returns the texts of a row that people saw of a model, each once.
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

/// Checks one line; the error is a message with a hint.
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
