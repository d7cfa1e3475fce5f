//! What can be wrong between a judge stage and the stages and models that it reads.

use serde_json::Value;

use super::node::{Grader, Judge};
use crate::problem::{Problem, suggest};
use crate::stage::Stage;
use crate::stage::{MAX_CONTESTANTS, Reads};

impl Judge {
    /// Adds a problem for everything that is wrong with what it reads.
    pub fn check_reads(&self, reads: &Reads<'_>, problems: &mut Vec<Problem>) {
        if self.shows_prompt() && !reads.input.stage.has_prompt() {
            problems.push(self.without_prompt());
        }
        problems.extend(self.wrong_baseline(reads));
        let models: Vec<&String> = reads.input.models.iter().filter(|model| self.is_meant(model)).collect();
        let limits = 2..=usize::from(MAX_CONTESTANTS);
        if self.method.is_all_pairs() && !limits.contains(&models.len()) {
            let message =
                format!("all pairs need 2 to {} models, and `{}` has {}", limits.end(), self.input, models.len());
            problems.push(Problem::error("missing-model", message).at(&self.place));
        }
        let foreign = self.foreign_baseline().map(|(_, model)| model);
        for grader in &self.judges {
            for model in models.iter().map(|model| model.as_str()).chain(foreign) {
                for relation in self.lineage.relation(&grader.model, model) {
                    let problem = match relation.code {
                        "J-SELF" if self.allow_self => continue,
                        code @ "J-SELF" => Problem::error(code, relation.message),
                        code => Problem::warning(code, relation.message),
                    };
                    problems.push(problem.at(&grader.place).help(relation.help));
                }
            }
        }
    }

    fn without_prompt(&self) -> Problem {
        let message = format!(
            "the judge's template shows `prompt`, and `{}` has none: it takes its completions from the dataset",
            self.input
        );
        let place = self
            .conversation
            .prompts()
            .find(|prompt| prompt.template.reads.reads("prompt"))
            .map_or(&self.place, |prompt| &prompt.place);
        let help = format!(
            "say in `{}` what was asked, beside its `completions`: `prompt: \"{{{{ row.question }}}}\"`",
            self.input
        );
        Problem::error("no-prompt", message).at(place).help(help)
    }

    fn wrong_baseline(&self, reads: &Reads<'_>) -> Option<Problem> {
        let problem =
            |code, message: String, help| Some(Problem::error(code, message).at(&self.baseline_place).maybe_help(help));
        let models = &reads.input.models;
        if let Some(baseline) = self.own_baseline() {
            if !models.iter().any(|model| model == baseline) {
                let help = suggest(baseline, &format!("models of {}", self.input), models.iter().map(String::as_str));
                let message = format!("`{}` has no model `{baseline}` to compare with", self.input);
                return problem("unknown-model", message, help);
            }
            if models.len() < 2 {
                let message = format!("`{}` has only the baseline: there is nothing to compare it with", self.input);
                return Some(Problem::error("missing-model", message).at(&self.place));
            }
        }
        let (name, model) = self.foreign_baseline()?;
        // A baseline stage that does not exist, or makes no completions, is reported elsewhere.
        let other = reads.others.iter().find(|other| other.name == name)?;
        if !other.models.iter().any(|known| known == model) {
            let help = suggest(model, &format!("models of {name}"), other.models.iter().map(String::as_str));
            return problem("unknown-model", format!("`{name}` has no model `{model}` to compare with"), help);
        }
        if other.root != reads.input.root {
            let message = format!("`{name}` and `{}` answer rows of different datasets", self.input);
            let help = "only rows that both have can be compared: let both read one dataset".to_owned();
            return problem("wrong-input", message, Some(help));
        }
        None
    }

    /// Returns warnings about what is allowed but hardly what the user meant.
    pub fn find_warnings(&self) -> Vec<Problem> {
        let is_cold = |grader: &&Grader| grader.options.get("temperature").and_then(Value::as_f64) == Some(0.0);
        let mut problems = Vec::new();
        if self.method.binds_tag() && !self.conversation.reads("tag") {
            let message = "the judge's template has no `{{ tag }}`: a verdict that a candidate writes, and the judge quotes, can count";
            let place = self.conversation.prompts().last().map_or(&self.place, |prompt| &prompt.place);
            let help =
                format!("let it end its reply with the tag, which no candidate knows: `{}`", self.method.tagged());
            problems.push(Problem::warning("no-tag", message).at(place).help(help));
        }
        if let Some(grader) = self.judges.iter().find(is_cold).filter(|_| self.samples > 1) {
            let message = format!(
                "`{}` is asked {} times at temperature 0: it says nearly the same each time, and each is paid",
                grader.model, self.samples
            );
            problems.push(
                Problem::warning("cold-samples", message)
                    .at(&self.samples_place)
                    .help("a temperature above 0, or `samples: 1`"),
            );
        }
        if let Some((name, _)) = self.human.as_ref().filter(|(_, labels)| labels.is_missing) {
            let help =
                "`etalon labels export` writes a sheet of judged rows to fill in, `etalon labels import` reads it";
            problems.push(
                Problem::warning("no-labels", format!("there is no {name} yet: the judge is not held against people"))
                    .at(&self.human_place)
                    .help(help),
            );
        }
        if let Some((name, labels)) = &self.human {
            let is_known = |model: &&str| self.model_names.iter().any(|known| known == model);
            let unknown: Vec<&str> = labels.models().into_iter().filter(|model| !is_known(model)).collect();
            if !unknown.is_empty() {
                let message = format!("{name} names models that there are not: {}", unknown.join(", "));
                let help = suggest(unknown[0], "models there are", self.model_names.iter().map(String::as_str));
                problems.push(Problem::warning("unknown-model", message).at(&self.human_place).maybe_help(help));
            }
        }
        problems
    }
}
