//! `command`: scores from any program, in any language.
//!
//! The program gets one line of JSON per completion on its standard input, `{"id", "sample", "prediction",
//! "reference"}`, and prints one line of JSON for each, in the same order: a number, true or false, null for no score,
//! or a map of numbers, where `score` is the metric's own value and the others are its parts. It is started once for
//! every `batch` completions and reads its input to the end, so it need not flush its output.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Entry, Made, Make, MeanTally, Metric, RowScores, Score, Scored, Tally, TallySummary, Written, share};
use crate::digest::{Digest, canonical};
use crate::files::{self, is_glob};
use crate::process::{Launch, Program};
use crate::score::Unit;
use crate::spec::{Amount, OneOrMany, Scalar, Whole};

pub(super) const ENTRY: Entry = Entry {
    name: "command",
    about: "Scores by a program of your own: JSON lines in, JSON lines out. One that only prints true and false is a share.",
    range: "what the program prints",
    score: "what the program prints",
    parts: &[("<field>", "each other number of a map that the program prints")],
    more_parts: |_| true,
    indifferent: &["batch", "timeout"],
    unit: |_| Unit::Rate,
    ..share::<Settings>()
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// A line for the shell, or a list of program and arguments. It runs in the workspace; words of it
    /// that are files enter the key.
    #[schemars(example = &"python3 metrics/polite.py")]
    command: OneOrMany<Scalar, 1>,
    /// Files or globs that the program reads; their content enters the key. A command whose words do not say what it
    /// runs (`python3 -m score`, `a | b`) needs them; `[]` where there is none.
    #[serde(default)]
    #[schemars(example = &"metrics/*.py")]
    files: Option<OneOrMany<Scalar>>,
    /// Completions that one start of the program gets; no part of the key.
    #[serde(default = "batch")]
    #[schemars(example = 100_000)]
    batch: Whole,
    /// Seconds that one start may take; no part of the key.
    #[serde(default = "timeout")]
    #[schemars(example = 60)]
    timeout: Amount,
}

fn batch() -> Whole {
    Whole(1_000)
}

fn timeout() -> Amount {
    Amount(600.0)
}

/// How many bytes of a printed line an error shows.
const SHOWN: usize = 120;

struct CommandMetric {
    program: Program,
    root: PathBuf,
    files: Vec<(String, Digest)>,
    unseen: Option<String>,
    batch: usize,
    longest: Duration,
}

impl Make for Settings {
    fn make(self, written: &Written<'_>) -> Made {
        let root = written.root;
        let program = Program::from(self.command);
        if program.words().all(|word| word.is_empty()) {
            return Err(written.wrong("command", "`command` is empty"));
        }
        if let Some(name) = program.missing(root) {
            return Err(written.wrong("command", format!("there is no program `{name}`")));
        }
        let mut names: Vec<String> = program.words().filter(|word| root.join(word).is_file()).collect();
        let unseen = if self.files.is_none() { program.unseen(Some(root)) } else { None };
        for Scalar(pattern) in self.files.map(OneOrMany::into_vec).unwrap_or_default() {
            let found = files::files(root, &pattern);
            if found.is_empty() || !is_glob(&pattern) && !root.join(&pattern).is_file() {
                return Err(written.wrong("files", format!("there is no file {pattern}")));
            }
            names.extend(found);
        }
        names.sort();
        names.dedup();
        let mut files = Vec::new();
        for name in names {
            let bytes = std::fs::read(root.join(&name))
                .map_err(|error| written.wrong("files", format!("failed to read {name}: {error}")))?;
            files.push((name, Digest::of(&bytes)));
        }
        let longest = Duration::from_secs_f64(self.timeout.0.clamp(0.1, 1e9));
        let (root, batch) = (root.to_owned(), self.batch.size().max(1));
        Ok(Box::new(CommandMetric { program, root, files, unseen, batch, longest }))
    }
}

/// Returns the score that a printed line holds.
fn score(line: &str) -> Result<Option<Value>, String> {
    let shown = || line.chars().take(SHOWN).collect::<String>();
    let number = |value: &Value| match value {
        Value::Bool(flag) => Some(Value::from(u8::from(*flag))),
        Value::Number(number) if number.as_f64().is_some_and(f64::is_finite) => Some(value.clone()),
        _ => None,
    };
    match serde_json::from_str(line) {
        Ok(Value::Null) => Ok(None),
        Ok(Value::Object(fields)) => {
            let mut numbers = Map::new();
            for (name, value) in fields.iter().filter(|(name, _)| *name != "id" && *name != "sample") {
                let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
                match number(value) {
                    Some(value) if is_name => _ = numbers.insert(name.clone(), value),
                    None if value.is_null() => {}
                    _ => return Err(format!("`{name}` of {} is no number under a plain name", shown())),
                }
            }
            numbers.sort_keys();
            Ok((!numbers.is_empty()).then_some(Value::Object(numbers)))
        }
        Ok(value) => match number(&value) {
            Some(value) => Ok(Some(value)),
            None => Err(format!("{} is no number, true, false, null or a map of numbers", shown())),
        },
        Err(_) => Err(format!("`{}` is not JSON", shown())),
    }
}

impl Metric for CommandMetric {
    fn score(&self, scored: &Scored<'_>) -> Score {
        self.score_all(&[*scored]).and_then(|mut scores| scores.pop().unwrap_or(Ok(None)))
    }

    fn score_all(&self, scored: &[Scored<'_>]) -> Result<Vec<Score>, String> {
        let mut scores = Vec::with_capacity(scored.len());
        for batch in scored.chunks(self.batch) {
            let mut input = Vec::new();
            for scored in batch {
                let line = json!({
                    "id": scored.id, "sample": scored.sample,
                    "prediction": scored.prediction, "reference": scored.reference,
                });
                input.extend(canonical(&line));
                input.push(b'\n');
            }
            let failed = |message: String| -> String { format!("`{}`: {message}", self.program.text()) };
            let printed =
                self.program.run(&self.root, input, self.longest).map_err(|error| failed(error.to_string()))?;
            let printed = String::from_utf8(printed).map_err(|_| failed("it printed no UTF-8".to_owned()))?;
            let lines: Vec<&str> = printed.lines().filter(|line| !line.trim().is_empty()).collect();
            if lines.len() != batch.len() {
                return Err(failed(format!("it got {} lines and printed {}", batch.len(), lines.len())));
            }
            for line in lines {
                scores.push(Ok(score(line).map_err(failed)?));
            }
        }
        Ok(scores)
    }

    fn batch(&self) -> usize {
        self.batch
    }

    fn tally(&self, _seed: u64) -> Box<dyn Tally> {
        Box::new(CommandTally { fields: BTreeMap::new(), rows: 0 })
    }

    /// The reference is passed on to the program, if there is one.
    fn wants_reference(&self) -> bool {
        true
    }

    fn files(&self) -> Vec<(&'static str, Vec<(String, Digest)>)> {
        vec![("files", self.files.clone())]
    }

    fn launch(&self) -> Option<Launch> {
        Some(self.program.launch(self.files.iter().map(|(name, digest)| (name, digest))))
    }

    fn unseen(&self) -> Option<String> {
        self.unseen.clone()
    }
}

/// The numbers of one name. Both tallies are kept, since only the end tells whether all numbers are 0 or 1.
struct Field {
    share: MeanTally,
    mean: MeanTally,
    is_share: bool,
}

struct CommandTally {
    /// By name; the metric's own value has the empty name.
    fields: BTreeMap<String, Field>,
    rows: u64,
}

impl Tally for CommandTally {
    fn add(&mut self, row: &RowScores<'_>) {
        self.rows += 1;
        let mut values: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for score in row.scores.iter().flatten() {
            match score {
                Value::Object(fields) => {
                    for (name, value) in fields {
                        let name = if name == "score" { "" } else { name };
                        values.entry(name).or_default().extend(value.as_f64());
                    }
                }
                value => values.entry("").or_default().extend(value.as_f64()),
            }
        }
        for (name, values) in values.into_iter().filter(|(_, values)| !values.is_empty()) {
            let field = self.fields.entry(name.to_owned()).or_insert_with(|| Field {
                share: MeanTally::share(),
                mean: MeanTally::new(),
                is_share: true,
            });
            field.is_share &= values.iter().all(|value| *value == 0.0 || *value == 1.0);
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            field.share.add_clustered(Some(mean), row.cluster);
            field.mean.add_clustered(Some(mean), row.cluster);
        }
    }

    fn finish(&mut self, summary: &mut TallySummary) {
        let none = crate::score::Estimate::none(self.rows);
        if !self.fields.contains_key("") && (self.fields.is_empty() || self.rows == 0) {
            summary.parts.push((String::new(), none));
        }
        for (name, field) in &self.fields {
            let estimate = if field.is_share { field.share.estimate() } else { field.mean.estimate() };
            let missing = self.rows - estimate.n;
            summary.parts.push((name.clone(), crate::score::Estimate { missing, ..estimate }));
        }
    }
}
