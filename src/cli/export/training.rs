//! Examples to train with.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde_json::{Map, Value};

use super::args::{ExportArgs, To};
use super::plain::{Documents, Rows};
use crate::cli::exit::Exit;
use crate::cli::filter::Answer;
use crate::cli::talk;
use crate::digest::{Digest, canonical};
use crate::execute::{self, RowResult, Session, ShownRow};
use crate::label::read_labels;
use crate::plan::Plan;
use crate::provider::Message;
use crate::score::{Direction, Rank, Reading};
use crate::spec::{Role, RowsRole};
use crate::stage::{Makes, Part};
use crate::training::{LeftOut, dpo, is_whole, preferred, sft};

/// What people said of a comparison, as a sum: +1 for the first, -1 for the other. By row, completion and baseline.
type People = BTreeMap<(String, String, String), i64>;

/// Rows that become examples.
pub(super) struct Training<'a> {
    rows: Rows<'a>,
    to: To,
    /// The answer to learn, or to prefer.
    answer: Option<Answer>,
    ratio: Option<f64>,
    people: People,
    /// What was asked, by row, where the rows themselves do not say it.
    prompts: BTreeMap<String, Vec<Message>>,
    /// What the ceiling answered, with its score: by row.
    ceiling: BTreeMap<String, (String, Option<f64>)>,
    /// The candidate's scores, where the stage has some.
    scores: BTreeMap<String, f64>,
    /// What is held out of training; none if the user wants it all the same.
    heldout: Option<Heldout>,
    left_out: RefCell<BTreeMap<LeftOut, u64>>,
}

/// The rows of a pipeline that are held out, whatever dataset holds the same rows once more.
#[derive(Default)]
struct Heldout {
    /// The digests of their columns.
    rows: BTreeSet<Digest>,
    /// The last turn of what is asked, as JSON.
    asked: BTreeSet<String>,
}

impl Heldout {
    /// Reads the rows of all datasets that are held out, and what is asked for them, as far as it is in the cache.
    fn read(session: &Session) -> Result<Heldout, Exit> {
        let mut heldout = Heldout::default();
        let nodes = &session.plan.nodes;
        for (index, node) in nodes.iter().enumerate() {
            let root = node.input(Part::Rows).unwrap_or(index);
            let is_heldout = nodes[root].stage.rows_role().is_some_and(|role| role != RowsRole::Training);
            if !is_heldout || !matches!(node.stage.makes(), Makes::Rows | Makes::Completions) {
                continue;
            }
            let Some(found) = execute::find_rows(session, index)? else { continue };
            execute::each_row(session, index, &found, |row| {
                heldout.asked.extend(last_turn(row.prompt.as_deref()));
                heldout.rows.insert(digest_of(&row));
                true
            })?;
        }
        Ok(heldout)
    }

    fn holds(&self, row: &ShownRow, prompt: Option<&[Message]>) -> bool {
        self.rows.contains(&digest_of(row)) || last_turn(prompt).is_some_and(|turn| self.asked.contains(&turn))
    }
}

fn digest_of(row: &ShownRow) -> Digest {
    Digest::of(&canonical(&row.row.columns.clone().into()))
}

fn last_turn(prompt: Option<&[Message]>) -> Option<String> {
    Some(prompt?.last()?.content.to_string())
}

/// Returns the nodes that examples come from: one model's, or those of a comparison.
pub(super) fn nodes(plan: &Plan, nodes: Vec<usize>, arguments: &ExportArgs) -> Result<Vec<usize>, Exit> {
    for index in &nodes {
        let root = plan.nodes[*index].input(Part::Rows).unwrap_or(*index);
        let node = &plan.nodes[root];
        if node.stage.rows_role().is_some_and(|role| role != RowsRole::Training) && !arguments.from_heldout_anyway {
            let message = format!(
                "the rows of {} are held out: a model that is trained with them cannot be judged by them",
                node.name
            );
            let help = "export a stage over a dataset of `role: training`; --from-heldout-anyway does it all the same";
            return Err(Exit::usage(message, Some(help.to_owned())));
        }
    }
    let Some(first) = nodes.first() else { return Ok(nodes) };
    if plan.nodes[*first].stage.makes() == Makes::Rows {
        let message = format!("{} has rows and no answers", plan.nodes[*first].name);
        return Err(Exit::usage(message, Some("export the inference stage that asks for them, or a judge".to_owned())));
    }
    let of_role = |role: Role| {
        let is_it =
            |index: &&usize| plan.nodes[**index].model.as_ref().is_some_and(|model| plan.role(model) == Some(role));
        nodes.iter().filter(is_it).copied().collect::<Vec<usize>>()
    };
    if nodes.len() == 1 || is_comparison(plan, *first) {
        return Ok(nodes);
    }
    // An answer to learn is the ceiling's unless a template makes it; one to reject is the candidate's.
    let wanted = if arguments.to == To::Sft && arguments.answer.is_none() { Role::Ceiling } else { Role::Candidate };
    match of_role(wanted).as_slice() {
        [one] => Ok(vec![*one]),
        several => {
            let word = if wanted == Role::Ceiling { "ceiling" } else { "candidate" };
            let count = if several.is_empty() { "no" } else { "more than one" };
            let message = format!("{count} model of {} has the role {word}", plan.nodes[*first].stage_name);
            Err(Exit::usage(message, Some("say whose answers: --model NAME".to_owned())))
        }
    }
}

fn is_comparison(plan: &Plan, index: usize) -> bool {
    let node = &plan.nodes[index];
    node.stage.makes() == Makes::Judgements && node.stage.values().iter().any(|(name, _)| name == "win_rate")
}

impl<'a> Training<'a> {
    pub fn new(rows: Rows<'a>, arguments: &ExportArgs) -> Result<Training<'a>, Exit> {
        let template = arguments
            .answer
            .as_ref()
            .map(|text| ("--answer", text))
            .or(arguments.chosen.as_ref().map(|text| ("--chosen", text)));
        let library = &rows.session.plan.workspace.library;
        let answer = template.map(|(flag, text)| Answer::load(library, flag, text)).transpose()?;
        let mut training = Training {
            to: arguments.to,
            answer,
            ratio: arguments.match_length,
            people: People::new(),
            prompts: BTreeMap::new(),
            ceiling: BTreeMap::new(),
            scores: BTreeMap::new(),
            heldout: None,
            left_out: RefCell::default(),
            rows,
        };
        let session = training.rows.session;
        if let Some((stale, _)) = training.rows.found.iter().find(|(_, found)| found.is_stale) {
            let message =
                format!("{} is to be run again before one can train with it", session.plan.nodes[*stale].name);
            return Err(Exit::usage(message, Some(format!("etalon run {}", arguments.pipeline))));
        }
        if !arguments.from_heldout_anyway {
            training.heldout = Some(Heldout::read(session)?);
        }
        training.read_prompts()?;
        let plan = &training.rows.session.plan;
        if let Some((index, _)) = training.rows.found.first() {
            if is_comparison(plan, *index) {
                training.people = people(plan, *index)?;
            } else if arguments.to == To::Dpo && training.answer.is_none() {
                training.read_ceiling(*index, arguments)?;
            }
        }
        Ok(training)
    }

    /// Reads what was asked from the stages whose answers were scored or judged.
    fn read_prompts(&mut self) -> Result<(), Exit> {
        let session = self.rows.session;
        let nodes = &session.plan.nodes;
        let asked = self.rows.found.iter().flat_map(|(index, _)| nodes[*index].inputs.iter().map(|(_, input)| *input));
        let asked: BTreeSet<usize> = asked.filter(|input| nodes[*input].stage.makes() == Makes::Completions).collect();
        for index in asked {
            let Some(found) = execute::find_rows(session, index)? else { continue };
            execute::each_row(session, index, &found, |row| {
                if let Some(prompt) = row.prompt.filter(|_| row.sample == 0) {
                    self.prompts.entry(row.row.id).or_insert(prompt);
                }
                true
            })?;
        }
        Ok(())
    }

    /// Reads what the ceiling answered to the rows of a node, and how both were scored.
    fn read_ceiling(&mut self, index: usize, arguments: &ExportArgs) -> Result<(), Exit> {
        let session = self.rows.session;
        let plan = &session.plan;
        let node = &plan.nodes[index];
        let is_ceiling = |model: &String| plan.role(model) == Some(Role::Ceiling);
        let other = plan.nodes.iter().position(|other| {
            other.stage_name == node.stage_name
                && other.model.as_ref().is_some_and(is_ceiling)
                && other.name != node.name
        });
        let found = match other {
            Some(other) => execute::find_rows(session, other)?.map(|found| (other, found)),
            None => None,
        };
        let Some((other, found)) = found else {
            let message = format!("nothing says which answers are better than those of {}", node.name);
            let help = "--chosen \"{{ row.gold }}\", a model of `role: ceiling`, or a stage that compares";
            return Err(Exit::usage(message, Some(help.to_owned())));
        };
        let is_meant = |name: &String, reading: &Reading| match &arguments.value {
            Some(wanted) => name == wanted,
            None => reading.rank == Rank::Headline && name != "coverage" && reading.direction != Direction::Neither,
        };
        let value = node.stage.values().into_iter().find(|(name, reading)| is_meant(name, reading));
        // More is better from here on.
        let sign = if value.as_ref().is_some_and(|(_, it)| it.direction == Direction::Lower) { -1.0 } else { 1.0 };
        let scores = |index: usize, found: &execute::Found| -> Result<BTreeMap<String, f64>, Exit> {
            let Some((value, _)) = &value else { return Ok(BTreeMap::new()) };
            let values = plan.nodes[index].stage.row_values(&session.store, &found.manifest, value)?;
            Ok(values.unwrap_or_default().into_iter().map(|(id, score)| (id, sign * score)).collect())
        };
        let of_ceiling = scores(other, &found)?;
        let mut answers = BTreeMap::new();
        execute::each_row(session, other, &found, |row| {
            let completion = row.completion.filter(|completion| row.sample == 0 && is_whole(completion));
            if let Some(text) = completion.and_then(|completion| completion.text) {
                let score = of_ceiling.get(&row.row.id).copied();
                answers.insert(row.row.id, (text, score));
            }
            true
        })?;
        let own = self.rows.found.iter().find(|(known, _)| *known == index);
        self.scores = own.map(|(_, found)| scores(index, found)).transpose()?.unwrap_or_default();
        self.ceiling = answers;
        Ok(())
    }

    fn example(
        &self,
        row: &ShownRow,
        document: &Map<String, Value>,
    ) -> io::Result<Result<Map<String, Value>, LeftOut>> {
        let invalid = |error: String| io::Error::new(io::ErrorKind::InvalidData, error);
        let written = self.answer.as_ref().map(|answer| answer.of(document)).transpose().map_err(invalid)?;
        let own = row.completion.as_ref().and_then(|completion| completion.text.as_deref());
        let id = row.row.id.as_str();
        let prompt = row.prompt.as_deref().or_else(|| self.prompts.get(id).map(Vec::as_slice));
        if self.heldout.as_ref().is_some_and(|heldout| heldout.holds(row, prompt)) {
            return Ok(Err(LeftOut::HeldOut));
        }
        // Of a comparison the preferred answer is the one to learn, or to prefer.
        let compared = || {
            let texts = own.zip(row.baseline.as_ref().and_then(|completion| completion.text.as_deref()));
            let key = texts.map(|(own, other)| (id.to_owned(), own.to_owned(), other.to_owned()));
            preferred(row, key.and_then(|key| self.people.get(&key).copied()))
        };
        let is_compared = matches!(&row.result, RowResult::Judgement(..)) && row.baseline.is_some();
        Ok(match (self.to, &written) {
            (To::Sft, Some(answer)) => sft(id, prompt, Some(answer)),
            (To::Sft, None) if is_compared => compared().and_then(|(answer, _)| sft(id, prompt, Some(answer))),
            (To::Sft, None) if row.completion.as_ref().is_some_and(|it| !is_whole(it)) => Err(LeftOut::Unfinished),
            (To::Sft, None) => sft(id, prompt, own),
            (_, Some(chosen)) => dpo(id, prompt, (Some(chosen), own), self.ratio),
            (_, None) if is_compared => {
                compared().and_then(|(chosen, rejected)| dpo(id, prompt, (Some(chosen), Some(rejected)), self.ratio))
            }
            (_, None) => self.against_ceiling(id, prompt, own),
        })
    }

    /// Makes a pair of the ceiling's answer and the model's own, where the ceiling's is the better one.
    fn against_ceiling(
        &self,
        id: &str,
        prompt: Option<&[Message]>,
        own: Option<&str>,
    ) -> Result<Map<String, Value>, LeftOut> {
        let (chosen, score) = self.ceiling.get(id).ok_or(LeftOut::NoAnswer)?;
        let is_better = match (score, self.scores.get(id)) {
            (Some(theirs), Some(own)) => theirs > own,
            // Without scores the ceiling is taken at its word.
            _ => self.scores.is_empty(),
        };
        if !is_better {
            return Err(LeftOut::NotBetter);
        }
        dpo(id, prompt, (Some(chosen), own), self.ratio)
    }
}

impl Documents for Training<'_> {
    fn each(&self, take: &mut dyn FnMut(&Map<String, Value>) -> io::Result<()>) -> Result<(), Exit> {
        self.rows.each(&mut |_, row, document| {
            // Further samples of a row ask the same once more.
            if row.sample > 0 {
                return Ok(());
            }
            match self.example(row, document)? {
                Ok(example) => take(&example),
                Err(reason) => {
                    *self.left_out.borrow_mut().entry(reason).or_default() += 1;
                    Ok(())
                }
            }
        })
    }

    fn tell(&self) {
        let left_out = self.left_out.borrow();
        let reasons: Vec<String> =
            left_out.iter().map(|(reason, count)| format!("{count} {}", reason.words())).collect();
        if !reasons.is_empty() {
            talk(&format!("left out: {}", reasons.join(", ")));
        }
    }
}

/// Reads what people said of a comparison.
fn people(plan: &Plan, index: usize) -> Result<People, Exit> {
    let mut people = People::new();
    let Some(name) = plan.nodes[index].stage.file("human") else { return Ok(people) };
    let path = plan.workspace.path(&name);
    if !path.exists() {
        return Ok(people);
    }
    let lines = read_labels(&path, &name).map_err(|error| Exit::usage(format!("{name}: {error}"), None))?;
    for line in lines {
        let (_, line) = line.map_err(|bad| Exit::usage(format!("{name}:{}: {}", bad.line, bad.message), None))?;
        let sum = match line.word().as_str() {
            "win" | "win+" => 1,
            "loss" | "loss+" => -1,
            "tie" => 0,
            _ => continue,
        };
        if let (Some(own), Some(other)) = (&line.completion, &line.baseline) {
            *people.entry((line.row.clone(), own.clone(), other.clone())).or_default() += sum;
        }
    }
    Ok(people)
}
