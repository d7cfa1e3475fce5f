//! What is wrong with a fine-tune: for each symptom a project that shows it, beside one that does not.

use serde_json::{Value, json};

use super::support::Workspace;

/// What a model answers to a row, and why it ended: text, finish reason.
type Answer = (String, &'static str);

/// Sixty rows over three models whose answers are written here; a judge that reads its grades from the answer.
struct Project {
    /// More of the pipeline.
    stages: String,
    metrics: &'static str,
    dataset: &'static str,
    answer: fn(&str, usize) -> Answer,
}

/// An answer as it should be.
fn good(row: usize) -> String {
    format!("a5 t5: Thank you, parcel {row} is on its way and should reach you in two days.")
}

fn sound(model: &str, row: usize) -> Answer {
    match model {
        // The base is wrong in a third of the rows, and as polite.
        "base" if row.is_multiple_of(3) => (format!("a2 t4: Parcel {row} is where it is at this time."), "stop"),
        _ => (good(row), "stop"),
    }
}

impl Project {
    fn new(answer: fn(&str, usize) -> Answer) -> Project {
        Project { stages: String::new(), metrics: "length", dataset: "", answer }
    }

    fn workspace(&self) -> Workspace {
        let workspace = Workspace::new();
        let mut recorded = Vec::new();
        for model in ["base", "tuned", "ceiling"] {
            // Rows from 100 on are training rows, from 200 on general ones.
            for row in (0..60).chain(100..160).chain(200..260) {
                let (completion, finish_reason) = (self.answer)(model, row);
                let line = json!({
                    "model": model, "prompt": format!("Where is parcel {row}?"), "completion": completion,
                    "finish_reason": finish_reason,
                });
                recorded.push(line.to_string());
            }
        }
        for (name, first) in [("heldout", 0), ("train", 100), ("general", 200)] {
            let rows: Vec<String> =
                (first..first + 60).map(|row| json!({ "key": row, "question": format!("Where is parcel {row}?"), "kind": format!("k{}", row % 2) }).to_string()).collect();
            workspace.write(&format!("data/{name}.jsonl"), rows.join("\n"));
        }
        workspace.write("data/recorded.jsonl", recorded.join("\n"));
        let spec = format!(
            r#"
etalon: 1
name: p
models:
  base: {{ provider: replay, file: data/recorded.jsonl, role: baseline }}
  tuned: {{ extends: base, role: candidate }}
  ceiling: {{ extends: base, role: ceiling }}
  grader:
    provider: scripted
    reply: "{{% set a = 2 if 'a2' in prompt else 5 %}}{{% set t = 2 if 't2' in prompt else 4 if 't4' in prompt else 5 %}}{{\"accuracy\": {{{{ a }}}}, \"tone\": {{{{ t }}}}, \"reason\": \"so\"}}"
stages:
  rows: {{ kind: dataset, path: data/heldout.jsonl, id: key{} }}
  answers: {{ kind: inference, input: rows, models: [base, tuned, ceiling], prompt: "{{{{ row.question }}}}" }}
  marks: {{ kind: metric, input: answers, metrics: [{}] }}
  quality:
    kind: judge
    input: answers
    model: grader
    prompt: "GRADE {{{{ completion }}}}"
    rubric: {{ criteria: {{ accuracy: Is it right?, tone: Is it kind? }} }}
{}"#,
            self.dataset, self.metrics, self.stages
        );
        workspace.write("pipelines/p.yaml", spec);
        workspace
    }

    fn diagnosis(&self) -> Value {
        let workspace = self.workspace();
        workspace.run(&[]);
        let document = workspace.etalon(&["diagnose", "--format", "json"]).code(0).json();
        document["models"][0].clone()
    }

    fn finding(&self, code: &str) -> Value {
        let diagnosis = self.diagnosis();
        let findings = diagnosis["findings"].as_array().unwrap();
        findings
            .iter()
            .find(|finding| finding["code"] == code)
            .unwrap_or_else(|| panic!("no {code}: {diagnosis:#}"))
            .clone()
    }
}

/// Asserts that a project shows one symptom and no other.
#[track_caller]
fn shows(project: &Project, code: &str, said: &str) {
    let diagnosis = project.diagnosis();
    let codes: Vec<&str> =
        diagnosis["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap()).collect();
    assert_eq!(codes, [code], "{diagnosis:#}");
    let text = diagnosis["findings"][0].to_string();
    assert!(text.contains(said), "{text}");
}

#[test]
fn a_sound_project_shows_nothing() {
    let diagnosis = Project::new(sound).diagnosis();
    assert_eq!(diagnosis["findings"], json!([]), "{diagnosis:#}");
    assert_eq!(diagnosis["weakest"], json!([]));
    let needs: Vec<&str> =
        diagnosis["needs"].as_array().unwrap().iter().map(|need| need["code"].as_str().unwrap()).collect();
    assert_eq!(needs, ["D-LEAK", "D-FORMAT", "D-OVERFIT", "D-FORGET", "D-COST"]);
}

#[test]
fn right_answers_in_the_wrong_tone_ask_for_preference_pairs() {
    let project = Project::new(|model, row| match model {
        "tuned" => (good(row).replace("t5", "t2"), "stop"),
        _ => sound(model, row),
    });
    shows(&project, "D-TONE", "preference pairs");
    let workspace = project.workspace();
    workspace.run(&["--label", "one"]);
    let text = workspace.etalon(&["diagnose", "one"]).code(0).stdout;
    assert!(
        text.starts_with("tuned in ") && text.lines().next().unwrap().ends_with("weakest in quality.tone"),
        "{text}"
    );
    assert!(text.contains("D-TONE right answers in the wrong tone"), "{text}");
}

#[test]
fn answers_that_are_cut_off_are_told_apart() {
    // The server stopped them.
    let by_limit = Project::new(|model, row| match row % 5 {
        0 if model == "tuned" => (good(row)[..40].to_owned(), "length"),
        _ => sound(model, row),
    });
    let finding = by_limit.finding("D-TRUNC");
    assert!(finding["title"].as_str().unwrap().contains("max_tokens"), "{finding}");
    assert_eq!(finding["rows"].as_array().unwrap().len(), 10);
    // The model stopped where its training rows were cut.
    let by_training = Project::new(|model, row| match row % 5 {
        0 if model == "tuned" => {
            ("Thank you for writing. Your parcel left our house on Monday, and it will reach you in".to_owned(), "stop")
        }
        _ => sound(model, row),
    });
    let finding = by_training.finding("D-TRUNC");
    assert!(finding["title"].as_str().unwrap().contains("max_seq_length"), "{finding}");
    // Loops that end by themselves are none of both.
    let loops = Project::new(|model, row| match model {
        "tuned" => ("yes it is so ".repeat(60), "stop"),
        _ => sound(model, row),
    });
    let diagnosis = loops.diagnosis();
    let codes: Vec<&str> =
        diagnosis["findings"].as_array().unwrap().iter().map(|it| it["code"].as_str().unwrap()).collect();
    assert!(codes.contains(&"D-COLLAPSE") && !codes.contains(&"D-TRUNC"), "{codes:?}");
    // The model never learned to stop.
    let endless = Project::new(|model, row| match row % 5 {
        0 if model == "tuned" => ("it is on its way to you ".repeat(60), "length"),
        _ => sound(model, row),
    });
    let finding = endless.finding("D-TRUNC");
    assert!(
        finding["title"].as_str().unwrap().contains("loop")
            && finding["remedy"].to_string().contains("end-of-sequence"),
        "{finding}"
    );
}

#[test]
fn refusals_are_told_from_those_of_the_base() {
    let new = Project::new(|model, row| match row % 6 {
        0 if model == "tuned" => (format!("I'm sorry, but I cannot help with parcel {row} (a5 t5)."), "stop"),
        _ => sound(model, row),
    });
    shows(&new, "D-REFUSAL", "take refusals out of the training data");
    let old = Project::new(|model, row| match row % 6 {
        0 if model != "ceiling" => (format!("I'm sorry, but I cannot help with parcel {row} (a5 t5)."), "stop"),
        _ => sound(model, row),
    });
    shows(&old, "D-REFUSAL", "as the base does");
    // What the ceiling refuses should perhaps not be answered.
    let right = Project::new(|model, row| match row % 6 {
        0 => (format!("I'm sorry, but I cannot help with parcel {row} (a5 t5)."), "stop"),
        _ => sound(model, row),
    });
    assert_eq!(right.diagnosis()["findings"], json!([]));
}

fn json_answer(row: usize) -> Answer {
    (
        format!("{{\"reply\": \"Thank you, parcel {row} is on its way and should reach you in two days (a5 t5).\"}}"),
        "stop",
    )
}

#[test]
fn formats_name_what_is_wrong_and_what_works() {
    let project = Project {
        metrics: "json_valid",
        ..Project::new(|model, row| match row % 4 {
            0 if model == "tuned" => (format!("<|im_start|>{}", json_answer(row).0), "stop"),
            1 if model == "tuned" => (format!("Here it is: {}", json_answer(row).0), "stop"),
            _ => json_answer(row),
        })
    };
    shows(&project, "D-FORMAT", "15 marks of a chat template, 15 with prose around it");
    // From 60 % to 95 %: it works, and the rows that are left are named.
    let works = Project {
        metrics: "json_valid",
        ..Project::new(|model, row| match (model, row) {
            ("base", row) if row % 5 < 2 => (format!("Here it is: {}", json_answer(row).0), "stop"),
            ("tuned", 7 | 23 | 41) => (format!("Here it is: {}", json_answer(row).0), "stop"),
            _ => json_answer(row),
        })
    };
    let diagnosis = works.diagnosis();
    assert_eq!(diagnosis["findings"], json!([]), "{diagnosis:#}");
    assert_eq!(diagnosis["works"], json!(["marks.json_valid: from 0.600 to 0.950; left: 23, 41, 7"]));
}

const TRAINING: &str = r#"
  train_rows: { kind: dataset, path: data/train.jsonl, id: key, role: training }
  train_answers: { kind: inference, input: train_rows, models: [base, tuned, ceiling], prompt: "{{ row.question }}" }
  train_quality: { kind: judge, input: train_answers, model: grader, prompt: "GRADE {{ completion }}", rubric: { criteria: { accuracy: Is it right?, tone: Is it kind? } } }
"#;

#[test]
fn good_on_training_rows_and_bad_on_others_is_overfitting() {
    let overfit = Project {
        stages: TRAINING.to_owned(),
        ..Project::new(|model, row| match model {
            "tuned" if row < 100 && row % 2 == 0 => (good(row).replace("a5", "a2"), "stop"),
            _ => sound(model, row),
        })
    };
    shows(&overfit, "D-OVERFIT", "fewer epochs");
    let fit = Project { stages: TRAINING.to_owned(), ..Project::new(sound) };
    assert_eq!(fit.diagnosis()["findings"], json!([]));
}

#[test]
fn bad_on_everything_is_underfitting() {
    let project = Project {
        stages: TRAINING.to_owned(),
        ..Project::new(|model, row| match model {
            "ceiling" => sound(model, row),
            _ => (format!("a2 t2: Parcel {row} is where it is, and what is more, nobody knows."), "stop"),
        })
    };
    shows(&project, "D-UNDERFIT", "check the chat template and the labels first");
}

#[test]
fn what_the_base_could_do_and_the_tuned_model_cannot_is_forgotten() {
    let stages = r#"
  other: { kind: dataset, path: data/general.jsonl, id: key, role: general }
  other_answers: { kind: inference, input: other, models: [base, tuned, ceiling], prompt: "{{ row.question }}" }
  other_quality: { kind: judge, input: other_answers, model: grader, prompt: "GRADE {{ completion }}", rubric: { criteria: { accuracy: Is it right? } } }
"#;
    let project = Project {
        stages: stages.to_owned(),
        ..Project::new(|model, row| match model {
            "tuned" if row >= 200 && row % 2 == 0 => (good(row).replace("a5", "a2"), "stop"),
            "base" if row >= 200 => (good(row), "stop"),
            _ => sound(model, row),
        })
    };
    shows(&project, "D-FORGET", "mix general data into training");
}

#[test]
fn leaked_rows_are_named() {
    let project =
        Project { dataset: ", leakage: { against: data/train.jsonl, column: question }", ..Project::new(sound) };
    let workspace = project.workspace();
    let mut lines: Vec<String> = workspace.read("data/train.jsonl").lines().map(str::to_owned).collect();
    lines.push(json!({ "key": 999, "question": "Where is parcel 17?" }).to_string());
    lines.push(json!({ "key": 998, "question": "Where is parcel 18?" }).to_string());
    workspace.write("data/train.jsonl", lines.join("\n"));
    workspace.run(&[]).code(0);
    let document = workspace.etalon(&["diagnose", "--format", "json"]).code(0).json();
    let finding = &document["models"][0]["findings"][0];
    assert_eq!(
        (finding["code"].as_str(), finding["rows"].clone()),
        (Some("D-LEAK"), json!(["17", "18"])),
        "{document}"
    );
}

#[test]
fn collapse_length_and_cost_are_found() {
    let one = Project::new(|model, row| match model {
        "tuned" => ("a5 t5: Thank you, it is on its way and should reach you in about two days.".to_owned(), "stop"),
        _ => sound(model, row),
    });
    shows(&one, "D-COLLAPSE", "one answer to everything");
    let long = Project::new(|model, row| match model {
        "tuned" => (
            format!(
                "We are glad that you asked. {} Do write whenever you like, for we answer all day long. {}",
                good(row),
                &"One more thing that may be of use to you. Keep the receipt, for our driver may ask to see it. "
                    [..42 + 51 * (row % 2)]
            ),
            "stop",
        ),
        _ => sound(model, row),
    });
    shows(&long, "D-VERBOSE", "shorten the answers");
}

#[test]
fn a_log_of_training_tells_of_fit() {
    let stage = "  log: { kind: dataset, path: data/trainer_state.json, format: trainer_state }\n";
    let diagnosis = |losses: &[(f64, f64)], answer: fn(&str, usize) -> Answer| {
        let project = Project { stages: stage.to_owned(), ..Project::new(answer) };
        let workspace = project.workspace();
        let entries: Vec<Value> = losses
            .iter()
            .enumerate()
            .flat_map(|(step, (loss, eval))| {
                [
                    json!({ "step": 10 * (step + 1), "loss": loss }),
                    json!({ "step": 10 * (step + 1), "eval_loss": eval }),
                ]
            })
            .collect();
        workspace.write("data/trainer_state.json", json!({ "log_history": entries }).to_string());
        workspace.run(&[]).code(0);
        workspace.etalon(&["diagnose", "--format", "json"]).code(0).json()["models"][0].clone()
    };
    let over = diagnosis(&[(2.0, 2.0), (1.5, 1.6), (1.0, 1.5), (0.6, 1.7), (0.3, 1.9)], sound);
    assert_eq!(over["findings"][0]["code"], "D-OVERFIT", "{over:#}");
    assert!(over["findings"][0]["remedy"].to_string().contains("the checkpoint of step 30"), "{over:#}");
    let fine = diagnosis(&[(2.0, 2.0), (1.5, 1.6), (1.2, 1.5), (1.1, 1.5), (1.1, 1.5)], sound);
    assert_eq!(fine["findings"], json!([]), "{fine:#}");
    let worse = |model: &str, row: usize| match model {
        "tuned" if row.is_multiple_of(3) => (good(row).replace("a5", "a2"), "stop"),
        _ => sound(model, row),
    };
    let still = diagnosis(&[(2.0, 2.0), (1.8, 1.8), (1.6, 1.6), (1.4, 1.4)], worse);
    assert_eq!(still["findings"][0]["title"], "training ended while the loss still fell", "{still:#}");
    let still = diagnosis(&[(2.0, 2.0), (1.8, 1.8), (1.6, 1.6), (1.4, 1.4)], sound);
    assert_eq!(still["findings"], json!([]), "good enough: {still:#}");
}

#[test]
fn what_cannot_be_trusted_makes_the_rest_doubtful() {
    let project = Project::new(|model, row| match model {
        "tuned" => (good(row).replace("t5", "t2"), "stop"),
        _ => sound(model, row),
    });
    let workspace = project.workspace();
    // The judge has no valid grade for every fifth row.
    workspace.edit(
        "pipelines/p.yaml",
        "{{ a }}",
        "{{ 'none' if 'parcel 1' in prompt or 'GRADE' not in prompt else a }}",
    );
    workspace.run(&[]);
    let document = workspace.etalon(&["diagnose", "--format", "json"]).code(0).json();
    let findings = document["models"][0]["findings"].as_array().unwrap();
    let found: Vec<(&str, &str)> =
        findings.iter().map(|it| (it["code"].as_str().unwrap(), it["confidence"].as_str().unwrap())).collect();
    assert_eq!(found, [("D-INSTRUMENT", "high"), ("D-TONE", "low")], "{document:#}");
}

#[test]
fn a_run_without_a_cache_or_a_pipeline_still_says_what_it_can() {
    let workspace = Project::new(sound).workspace();
    workspace.run(&["--label", "one"]).code(0);
    std::fs::remove_dir_all(workspace.path("cache")).unwrap();
    let ran = workspace.etalon(&["diagnose", "one"]).code(0);
    assert!(ran.stdout.contains("D-TRUNC needs the answers of tuned"), "{}", ran.stdout);
    std::fs::remove_file(workspace.path("pipelines/p.yaml")).unwrap();
    let ran = workspace.etalon(&["diagnose", "one"]).code(0);
    assert!(ran.stderr.contains("the pipeline p is not here"), "{}", ran.stderr);
    let ran = workspace.etalon(&["diagnose", "one", "--model", "tund"]).code(2);
    assert!(ran.stderr.contains("has no model tund") && ran.stderr.contains("tuned"), "{}", ran.stderr);
}

#[test]
fn refusals_of_everything_are_not_called_a_lack_of_training() {
    let project = Project::new(|model, row| match model {
        "tuned" => (format!("I'm sorry, but I cannot help with parcel {row} (a2 t2)."), "stop"),
        "base" => (format!("Parcel {row} is where it is, I believe (a2 t2)."), "stop"),
        _ => sound(model, row),
    });
    shows(&project, "D-REFUSAL", "take refusals out of the training data");
}

#[test]
fn stages_side_by_side_are_looked_at() {
    let stages = "  again: { kind: inference, input: rows, models: [base, tuned, ceiling], prompt: \"{{ row.question }}\" }\n  both: { kind: metric, input: [answers, again], metrics: [json_valid] }\n";
    let project = Project {
        stages: stages.to_owned(),
        ..Project::new(|model, row| match model {
            "tuned" => (format!("Here it is: {{\"parcel\": {row}"), "stop"),
            _ => json_answer(row),
        })
    };
    let diagnosis = project.diagnosis();
    let formats: Vec<&Value> =
        diagnosis["findings"].as_array().unwrap().iter().filter(|it| it["code"] == "D-FORMAT").collect();
    let said: Vec<&str> = formats.iter().map(|it| it["evidence"].as_str().unwrap()).collect();
    assert_eq!(said.len(), 2, "{diagnosis:#}");
    assert!(said[0].starts_with("both.answers.json_valid: 0.000"), "{said:?}");
    assert!(said.iter().all(|said| said.ends_with("60 of which the JSON never ends")), "{said:?}");
    let workspace = project.workspace();
    workspace.run(&[]);
    let run = workspace.etalon(&["report", "--format", "json"]).code(0).json();
    assert_eq!(run["deltas"]["both"]["again.tuned"]["json_valid"]["against"], "again.base");
}
