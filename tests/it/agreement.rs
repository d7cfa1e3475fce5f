//! Checks that `check` and the JSON Schema agree, for every field and for values of every sort.
//!
//! [`bases`] are pipelines without a mistake that together hold every field of the schema. In turn, each of their
//! values is replaced by others, removed, given an unknown neighbour, and written as `${params.…}`; `check` and the
//! schema must agree on the result. Some mistakes only the files, the rest of the pipeline or the data can show: they
//! are known by their code ([`CONTENT`]), or listed with a reason ([`JUSTIFIED`]).

use std::collections::BTreeSet;

use etalon::problem::Severity;
use etalon::spec::{self, Workspace as Opened};
use etalon::{plan, plan::schema};
use serde_json::{Value, json};

use super::support::Workspace;

/// Codes of problems that are not about the shape of the spec.
const CONTENT: &[(&str, &str)] = &[
    ("unknown-stage", "which stages there are, the whole pipeline says"),
    ("unknown-model", "which models there are, the whole pipeline and etalon.toml say"),
    ("unknown-part", "the name of a part stands beside it"),
    ("unknown-variable", "the schema knows nothing of templates"),
    ("missing-file", "files are in the workspace"),
    ("missing-program", "programs are on this machine"),
    ("bad-gate", "the schema knows nothing of the grammar of gates"),
    ("conflict", "which fields exclude each other is told by words, not by the schema"),
    ("wrong-input", "what a stage reads, the whole pipeline says"),
    ("wrong-label", "labels are in files"),
    ("bad-model", "what a provider needs, the provider says, and files are in the workspace"),
];

/// Problems of shape that the schema cannot see: a part of the message, and why.
const JUSTIFIED: &[(&str, &str)] = &[
    ("this etalon was built without", "the schema is that of an etalon built with all features"),
    ("needs one of", "of several fields one is needed: told by words"),
    ("needs either", "of several fields one is needed: told by words"),
    ("needs `prompt`, `messages` or `completions`", "of several fields one is needed: told by words"),
    ("needs `models`", "of several fields one is needed: told by words"),
    ("needs `model`, or `panel`", "of several fields one is needed: told by words"),
    ("needs `by`", "what one strategy needs, another refuses"),
    ("needs a `reference`", "a metric's own reference or the stage's is enough"),
    ("is no dataset of the hub", "how repositories are called, the hub says"),
    ("metric `pass_at_k`: `", "the settings of the other metric are that metric's"),
    ("has no column, and other fields have one", "one field decides about another"),
    ("there is no program", "programs are on this machine"),
    ("there is no file", "files are in the workspace"),
    ("failed to read", "files are in the workspace"),
    ("takes no value", "one setting decides about another"),
    ("`min` is above `max`", "one setting decides about another"),
    ("is empty", "text that may be a number has no least length"),
    ("is nothing, expected a map", "an editor may leave a field without its value for a moment"),
    ("is a count or a share", "a text in the form of a share"),
    ("`samples` ", "the stage of others: at least 1"),
    ("needs two labels or more", "a list or a map of at least two"),
    ("a label is one line", "no dot, no line break: gates name labels"),
    ("`verdicts` is 2", "one of three numbers"),
    ("has two to", "a panel has two to nine judges"),
    ("a rubric needs criteria", "at least one"),
    ("lies outside the scale", "one setting decides about another"),
    ("must be above 0", "a bound that the type does not say"),
    ("`scale` goes from", "one number decides about the other"),
    ("`max_chars` of", "a bound that the type does not say"),
    ("must be at least 1", "a bound that the type does not say"),
    ("is a number of seconds above 0", "a bound that the type does not say"),
    ("is no setting of provider scripted", "which provider a model inherits, `extends` says"),
];

/// Values that the schema refuses and `check` accepts: the field, the value (`*` is any), and why.
const LENIENT: &[(&str, &str, &str)] = &[
    ("models.*.revision", "*", "a number stands for its own text"),
    ("models.*.provider", "null", "a model without provider names completions that a dataset has"),
    ("stages.metric.metrics[]", "${params.…}", "an editor completes names of metrics here"),
];

/// What a pipeline is called to which nothing was done.
const AS_IT_IS: &str = "as it is";

/// Returns pipelines without a mistake. Each comes with the pointer of the part that is tried, and the beginning of its
/// path.
fn bases() -> Vec<(&'static str, String, Value)> {
    let stages = |probe: Value, kind: &str| {
        let mut stages = json!({
            "rows": { "kind": "dataset", "rows": [{ "key": "1", "question": "a", "gold": "b", "group": "x", "base_reply": "y" }], "id": "key" },
            "answers": { "kind": "inference", "input": "rows", "models": ["base", "tuned"], "prompt": "{{ row.question }}" },
        });
        stages["probe"] = probe;
        stages["probe"]["kind"] = kind.into();
        json!({ "etalon": 1, "models": models(), "stages": stages })
    };
    let mut bases = Vec::new();
    let mut probe = |kind: &str, probe: Value| {
        // The settings that all metric stages share are tried in the one stage that has all of them.
        let is_of_metric = kind == "metric" && probe.get("cluster").is_none();
        let is_free = probe["metrics"].get("mine").is_some();
        let (pointer, below) = match (is_of_metric, is_free) {
            (true, true) => ("/stages/probe/metrics/mine/metric", ".metrics.*.metric"),
            (true, false) => ("/stages/probe/metrics", ".metrics"),
            (false, _) => ("/stages/probe", ""),
        };
        bases.push((pointer, format!("stages.{kind}{below}"), stages(probe, kind)));
    };
    for dataset in datasets() {
        probe("dataset", dataset);
    }
    for inference in [
        json!({
            "input": "rows", "model": "tuned", "system": "Be brief.", "prompt": "{{ row.question }}", "options": { "temperature": 0 },
            "response_format": { "type": "json_object" }, "samples": 2, "max_failures": 3, "description": "text",
        }),
        json!({ "input": "rows", "models": ["base", "tuned"], "messages": [{ "role": "user", "content": "{{ row.question }}" }], "max_failures": "5%" }),
        json!({ "input": "rows", "models": ["base"], "completions": "{{ row.base_reply }}" }),
        json!({
            "input": "rows", "models": ["base"], "system": "Be brief.", "messages": "{{ row.question }}", "until": "last_user",
            "tools": [{ "type": "function" }], "tool_choice": "auto",
        }),
        json!({
            "input": "rows", "models": ["base"], "prompt": "{{ row.question }}", "tools": "{{ row.question }}",
            "tool_choice": { "type": "function" },
        }),
    ] {
        probe("inference", inference);
    }
    for metric in metrics() {
        probe("metric", metric);
    }
    for judge in judges() {
        probe("judge", judge);
    }
    for model in [
        json!({
            "extends": "base", "provider": "openai", "model": "support", "base_url": "http://127.0.0.1:9/v1", "api_key_env": "MY_KEY",
            "role": "candidate", "family": "llama", "base_model": "llama", "trained_on_outputs_of": ["base"], "weights": "weights/*",
            "reasoning_tags": { "<a>": "</a>" }, "revision": "3", "probe": false, "options": { "temperature": 0 }, "headers": { "X-Team": "research" }, "concurrency": 4,
            "requests_per_minute": 60, "tokens_per_minute": 1000, "connect_timeout": 5, "timeout": 60, "max_attempts": 3,
            "retry_seconds": 10, "patience": 600, "price": { "input": 0.4, "output": 1.6, "cached_input": 0.1, "cache_write": 0.5, "reasoning": 1.6, "batch": 0.5 }, "batch": false,
        }),
        json!({ "provider": "command", "command": "cat", "files": ["data/*.jsonl"], "concurrency": 2, "timeout": 60 }),
        json!({ "provider": "openai", "model": "m", "base_url": "http://127.0.0.1:9/v1", "concurrency": "auto" }),
        json!({ "provider": "replay", "file": "data/replies.jsonl" }),
        json!({ "provider": "scripted", "reply": "x", "seed": 3 }),
        Value::Null,
    ] {
        let mut pipeline = stages(json!({ "input": "rows", "model": "base", "prompt": "x" }), "inference");
        // The probed model is not asked; only its settings are tried.
        pipeline["stages"]["answers"]["models"] = json!(["base"]);
        pipeline["models"]["tuned"] = model;
        bases.push(("/models/tuned", "models.*".to_owned(), pipeline));
    }
    let mut whole = stages(json!({ "rows": [] }), "dataset");
    whole["name"] = "p".into();
    whole["description"] = "text".into();
    whole["params"] = json!({ "size": 3 });
    whole["gates"] = json!(["answers.base.coverage >= 0"]);
    for pointer in ["/etalon", "/name", "/description", "/params", "/gates"] {
        bases.push((pointer, pointer[1..].to_owned(), whole.clone()));
    }
    bases
}

fn models() -> Value {
    json!({
        "base": { "provider": "scripted", "reply": "x", "role": "baseline" },
        "tuned": { "provider": "scripted", "reply": "y", "role": "candidate" },
        "grader": { "provider": "scripted", "reply": "z" },
        "second": { "provider": "scripted", "reply": "z" },
    })
}

fn datasets() -> Vec<Value> {
    vec![
        json!({
            "path": "data/rows.jsonl", "format": "jsonl", "id": "key", "rename": { "old": "new" }, "types": { "key": "text", "gold": "text" },
            "derive": { "words": "{{ row.question }}", "one": 1 }, "require": ["question"], "where": "row.key == \"1\"",
            "on_bad_row": "skip", "split": { "part": "a", "parts": { "a": 0.8, "b": 0.2 }, "by": "group", "seed": 1 },
            "dedupe": { "by": ["question"], "near": 0.7 },
            "leakage": {
                "against": ["data/train.jsonl"], "column": "question", "against_column": "question", "label": "gold",
                "jaccard": 0.7, "containment": 0.8, "run": 13, "action": "drop",
            },
            "sample": { "size": 2, "strategy": "diverse", "by": "question", "strata": ["group"], "seed": 7 },
            "role": "training",
            "description": "text",
        }),
        json!({ "path": "data/rows.jsonl", "require": { "question": "text", "gold": "text?" }, "dedupe": "question", "sample": { "size": 1 } }),
        json!({ "path": "data/rows.jsonl", "dedupe": ["question"], "leakage": { "against": "data/train.jsonl", "column": "question" } }),
        json!({ "path": "data/rows.jsonl", "sample": { "size": 2, "strategy": "stratified", "by": ["group"] } }),
        json!({ "path": "data/rows.jsonl", "sample": { "size": 2, "strategy": "diverse", "by": ["group"], "model": "models/mini" } }),
        json!({ "rows": [{ "a": 1 }] }),
        json!({ "command": "cat data/rows.jsonl", "files": "data/rows.jsonl", "format": "jsonl" }),
        json!({ "command": ["sort", "-u"], "files": ["data/*.jsonl"] }),
        json!({ "hf": "openai/gsm8k" }),
        json!({ "hf": { "repo": "openai/gsm8k", "split": "test", "config": "main", "revision": "main", "file": "*.jsonl" } }),
    ]
}

fn metrics() -> Vec<Value> {
    let metric = |metrics: Value| json!({ "input": "answers", "reference": "{{ row.gold }}", "metrics": metrics });
    let all = json!({
        "exact_match": { "mode": "strict", "empty": "null", "metric": "exact_match", "prediction": "{{ completion }}", "reference": "{{ row.gold }}" },
        "squad_f1": { "version": "v1", "squad_compat": false, "tokens": "characters" },
        "contains": { "text": ["a", "b"], "match": "any", "ignore_case": true },
        "regex": { "pattern": "^a", "full": true, "ignore_case": true },
        "numeric": { "tolerance": 0.1, "relative": 0.1, "extract": "last" },
        "classification": { "labels": ["a", "b"], "zero_division": "nan", "sample_weight": "{{ row.key }}", "digits": 3, "empty": "text" },
        "rouge1": { "stemmer": true, "tokenizer": "unicode" },
        "rouge2": { "stemmer": true, "tokenizer": "unicode" },
        "rouge3": { "stemmer": true, "tokenizer": "unicode" },
        "rougeL": { "stemmer": true, "tokenizer": "unicode" },
        "rougeLsum": { "stemmer": true, "tokenizer": "unicode", "split": "sentence" },
        "bleu": { "tokenize": "intl", "smooth": "floor", "smooth_value": 0.1, "lowercase": true, "max_ngram_order": 2, "effective_order": true },
        "chrf": { "beta": 1, "lowercase": true, "eps_smoothing": true },
        "chrf++": { "beta": 1, "lowercase": true, "eps_smoothing": true },
        "ter": { "case_sensitive": true, "normalized": true, "no_punct": true },
        "edit_distance": { "unit": "words" },
        "bertscore": { "model": "models/mini", "layer": 1, "idf": true },
        "embedding_similarity": { "model": "models/mini" },
        "json_valid": null,
        "json_schema": { "schema": "data/schema.json" },
        "json_fields": {
            "fields": { "a": "gold", "b.c": { "column": "gold", "mode": "casefold", "lists": "set", "tolerance": 0.1 } },
            "mode": "strict", "lists": "set", "tolerance": 0.1, "empty": null,
        },
        "tool_call": {
            "order": "any", "mode": "casefold",
            "arguments": { "a": { "mode": "strict", "lists": "set", "tolerance": 0.1 }, "b": false },
        },
        "csv_valid": { "header": ["a", "b"], "delimiter": ";" },
        "length": { "unit": "words", "min": 1, "max": 9 },
        "refusal": {}, "truncation": {}, "repetition": {}, "latency": {}, "tokens": {}, "cost": {},
        "pass_at_k": { "of": "exact_match", "with": { "mode": "strict" }, "at_least": 0.5, "k": [1, 2] },
        "command": { "command": "cat", "files": "data/*.jsonl", "batch": 10, "timeout": 60 },
    });
    let mut found: Vec<Value> = Vec::new();
    for (name, settings) in all.as_object().unwrap() {
        // Each metric is tried under its own name, and under a name of the user's.
        found.push(metric(json!({ name.as_str(): settings })));
        let mut settings = settings.as_object().cloned().unwrap_or_default();
        settings.insert("metric".to_owned(), name.as_str().into());
        found.push(metric(json!({ "mine": settings })));
    }
    found.push(metric(json!(["exact_match", "json_valid"])));
    for more in [
        json!({ "classification": { "zero_division": 1, "labels": [0, true] } }),
        json!({ "pass_at_k": { "k": 2 } }),
        json!({ "json_fields": { "fields": ["a", "b.c"] } }),
        json!({ "json_schema": { "schema": { "type": "object" } } }),
        json!({ "command": { "command": ["sort", "-u"], "files": [] } }),
    ] {
        found.push(metric(more));
    }
    let mut whole = metric(json!(["exact_match"]));
    for (name, value) in [
        ("prediction", json!("{{ completion }}")),
        ("by", json!(["group"])),
        ("cluster", json!("group")),
        ("description", json!("text")),
    ] {
        whole[name] = value;
    }
    found.push(whole);
    found
}

fn judges() -> Vec<Value> {
    let rubric = json!({
        "scale": [1, 5], "fractional": true, "calls": "per_criterion", "shuffle_criteria": true,
        "criteria": { "tone": "Is it kind?", "truth": { "ask": "Is it true?", "weight": 2, "pass_at": 4, "anchors": { "1": "no", "5": "yes" } } },
    });
    vec![
        json!({
            "input": "answers", "model": "grader", "samples": 2, "system": "Be fair.", "prompt": "{{ completion }} {{ reference }}",
            "reference": "{{ row.gold }}", "human": "labels/tone.jsonl", "canaries": 3, "truncate_candidates": { "max_chars": 4000, "side": "end" },
            "rubric": rubric, "options": { "temperature": 0 }, "response_format": { "type": "json_object" }, "retries": 2, "allow_self": true,
            "max_failures": "5%", "description": "text",
        }),
        json!({ "input": "answers", "panel": ["grader", "second"], "canaries": true, "rubric": { "criteria": { "tone": "Is it kind?" } } }),
        json!({ "input": "answers", "model": "grader", "messages": [{ "role": "user", "content": "{{ a }} {{ b }}" }],
            "compare": { "baseline": "base", "order": "random", "tie_rule": "drop", "verdicts": 5, "seed": 1, "identity_pairs": 1, "answer_first": false, "verdict_style": "bracket", "models": ["tuned"] } }),
        json!({ "input": "answers", "model": "grader", "compare": { "pairs": "all" } }),
        json!({ "input": "answers", "model": "grader", "classify": { "labels": ["good", "bad"] } }),
        json!({ "input": "answers", "model": "grader", "classify": { "labels": { "good": 1, "bad": 0 } } }),
    ]
}

fn workspace() -> Workspace {
    let workspace = Workspace::new();
    let rows =
        "{\"key\": \"1\", \"question\": \"a\", \"gold\": \"b\", \"group\": \"x\", \"old\": 1, \"base_reply\": \"y\"}\n";
    workspace
        .write("etalon.toml", "")
        .write("data/rows.jsonl", rows)
        .write("data/train.jsonl", rows)
        .write("data/schema.json", "{\"type\": \"object\"}")
        .write("data/replies.jsonl", "")
        .write("weights/model.safetensors", "w")
        .write("labels/tone.jsonl", "{\"row\": \"1\", \"criterion\": \"tone\", \"label\": 3, \"model\": \"base\"}\n");
    workspace
}

/// Returns values of every sort.
fn palette() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!("text"),
        json!(""),
        json!(0),
        json!(2),
        json!(-1),
        json!(0.5),
        json!([]),
        json!(["text"]),
        json!([1]),
        json!([null]),
        json!({}),
        json!({ "text": 1 }),
    ]
}

/// The schema, and the disagreements found so far.
struct Tried {
    schema: Value,
    validator: jsonschema::Validator,
    workspace: Workspace,
    opened: Opened,
    differences: BTreeSet<String>,
    fields: BTreeSet<String>,
    used: BTreeSet<&'static str>,
    cases: usize,
}

impl Tried {
    /// Returns the schemas that apply to a value, as far as its place and the names in it decide.
    fn forms<'a>(&'a self, schema: &'a Value, value: &Value) -> Vec<&'a Value> {
        if let Some(reference) = schema["$ref"].as_str() {
            return self.forms(self.schema.pointer(reference.trim_start_matches('#')).unwrap(), value);
        }
        let holds = |part: &Value| {
            let Some(conditions) = part["if"]["properties"].as_object() else { return true };
            conditions.iter().all(|(name, condition)| value.get(name) == condition.get("const"))
        };
        let mut forms = vec![schema];
        for key in ["anyOf", "oneOf", "allOf"] {
            for part in schema[key].as_array().into_iter().flatten().filter(|part| holds(part)) {
                forms.extend(self.forms(part.get("then").unwrap_or(part), value));
            }
        }
        forms
    }

    /// Returns the schemas of a map's entry or a list's item.
    fn parts<'a>(&'a self, forms: &[&'a Value], name: &str, is_item: bool) -> Vec<&'a Value> {
        let part = |form: &&'a Value| -> Option<&'a Value> {
            let form: &'a Value = form;
            if is_item {
                return form.get("items").filter(|items| items.is_object());
            }
            form["properties"].get(name).or_else(|| form.get("additionalProperties").filter(|more| more.is_object()))
        };
        forms.iter().filter_map(part).collect()
    }

    /// Tries other values in place of one value, and of all values within it.
    fn walk(&mut self, pipeline: &Value, pointer: &str, path: &str, schemas: &[Value]) {
        let value = pipeline.pointer(pointer).unwrap().clone();
        self.fields.insert(path.to_owned());
        let mut others = palette();
        for schema in schemas {
            for form in self.forms(schema, &value) {
                let bounds = ["minimum", "maximum", "exclusiveMinimum"].iter().filter_map(|name| form[*name].as_i64());
                others
                    .extend(bounds.flat_map(|bound| [json!(bound), json!(bound - 1), json!(bound.saturating_add(1))]));
                others.extend(form["enum"].as_array().into_iter().flatten().cloned());
                others.extend(form["examples"].as_array().into_iter().flatten().cloned());
            }
        }
        for other in others {
            let mut tried = pipeline.clone();
            *tried.pointer_mut(pointer).unwrap() = other.clone();
            self.hold(&tried, path, &other.to_string());
        }
        // The fields beside `kind` depend on its value, so it is no param here; lists and maps are seldom params, and
        // editors are not told about them.
        let is_tried = !value.is_object() && !value.is_array() && !value.is_null();
        if is_tried
            && !pointer.ends_with("/kind")
            && !["/name", "/etalon"].contains(&pointer)
            && !pointer.starts_with("/params")
        {
            let mut tried = pipeline.clone();
            tried["params"] = json!({ "tried": value });
            *tried.pointer_mut(pointer).unwrap() = "${params.tried}".into();
            self.hold(&tried, path, "${params.…}");
        }
        let owned: Vec<Value> = schemas.iter().flat_map(|schema| self.forms(schema, &value)).cloned().collect();
        match &value {
            Value::Object(entries) => {
                let mut tried = pipeline.clone();
                tried.pointer_mut(pointer).unwrap()["unheard_of"] = 1.into();
                self.hold(&tried, path, "an unknown field");
                for name in entries.keys() {
                    let mut tried = pipeline.clone();
                    tried.pointer_mut(pointer).unwrap().as_object_mut().unwrap().shift_remove(name);
                    let is_known = owned.iter().any(|form| form["properties"].get(name).is_some());
                    let below = format!("{path}.{}", if is_known { name } else { "*" });
                    self.hold(&tried, &below, "nothing at all");
                    let forms: Vec<&Value> = owned.iter().collect();
                    let parts: Vec<Value> = self.parts(&forms, name, false).into_iter().cloned().collect();
                    // The schema says nothing about the keys of free maps.
                    if !parts.is_empty() {
                        self.walk(pipeline, &format!("{pointer}/{}", name.replace('/', "~1")), &below, &parts);
                    }
                }
            }
            Value::Array(items) => {
                for index in 0..items.len().min(2) {
                    let forms: Vec<&Value> = owned.iter().collect();
                    let parts: Vec<Value> = self.parts(&forms, "", true).into_iter().cloned().collect();
                    self.walk(pipeline, &format!("{pointer}/{index}"), &format!("{path}[]"), &parts);
                }
            }
            _ => {}
        }
    }

    /// Compares what `check` says about a pipeline with what the schema says.
    fn hold(&mut self, pipeline: &Value, path: &str, what: &str) {
        self.cases += 1;
        let file = self.workspace.path("pipelines/p.yaml");
        std::fs::write(&file, pipeline.to_string()).unwrap();
        let opened = &self.opened;
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let (found, mut problems) = spec::load(opened, file.to_str().unwrap(), &[]);
            problems.extend(found.into_iter().flat_map(|found| plan::resolve(opened, found).1));
            problems
        }));
        let Ok(mut problems) = checked else {
            self.differences.insert(format!("{path} = {what}: check panics"));
            return;
        };
        problems.retain(|problem| problem.severity == Severity::Error);
        let is_valid = self.validator.is_valid(pipeline);
        let mut of_shape = Vec::new();
        for problem in &problems {
            let reason = CONTENT.iter().find(|(code, _)| *code == problem.code).map(|(code, _)| *code);
            let reason =
                reason.or_else(|| JUSTIFIED.iter().map(|(part, _)| *part).find(|part| problem.message.contains(part)));
            match reason {
                Some(reason) => _ = self.used.insert(reason),
                None => of_shape.push(format!("[{}] {}", problem.code, problem.message)),
            }
        }
        let is_base = what == AS_IT_IS;
        if is_base && !(is_valid && of_shape.is_empty()) {
            self.differences
                .insert(format!("{path}: the pipeline to begin with has a mistake: {pipeline} {of_shape:?}"));
        }
        if is_valid && !of_shape.is_empty() {
            self.differences
                .insert(format!("{path} = {what}: the schema accepts what check does not: {}", of_shape.join("; ")));
        }
        if !is_valid && problems.is_empty() {
            let known = LENIENT.iter().find(|(field, value, _)| *field == path && (*value == what || *value == "*"));
            match known {
                Some((field, _, _)) => _ = self.used.insert(field),
                None => {
                    let said = self
                        .validator
                        .iter_errors(pipeline)
                        .map(|error| format!("{} at {}", error, error.instance_path()));
                    let said: String = said.collect::<Vec<_>>().join("; ").chars().take(300).collect();
                    self.differences.insert(format!("{path} = {what}: check accepts what the schema does not: {said}"));
                }
            }
        }
    }
}

/// Collects the fields of a schema, by the paths that [`Tried::walk`] gives them.
fn collect(schema: &Value, root: &Value, path: &str, found: &mut BTreeSet<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        return collect(root.pointer(reference.trim_start_matches('#')).unwrap(), root, path, found);
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let below = format!("{path}.{name}");
        found.insert(below.clone());
        collect(property, root, &below, found);
    }
    if schema["items"].is_object() {
        collect(&schema["items"], root, &format!("{path}[]"), found);
    }
    if schema["additionalProperties"].is_object() {
        collect(&schema["additionalProperties"], root, &format!("{path}.*"), found);
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        for part in schema[key].as_array().into_iter().flatten() {
            let is_of_model = part["if"].is_object();
            if !is_of_model {
                collect(part, root, path, found);
            }
        }
    }
}

#[test]
fn check_and_the_schema_agree_on_every_field() {
    let workspace = workspace();
    std::fs::create_dir_all(workspace.path("pipelines")).unwrap();
    let schema = schema();
    let opened = Opened::open(Some(&workspace.path(""))).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut tried = Tried {
        schema,
        validator,
        workspace,
        opened,
        differences: BTreeSet::new(),
        fields: BTreeSet::new(),
        used: BTreeSet::new(),
        cases: 0,
    };
    let root = tried.schema.clone();
    let mut known = BTreeSet::new();
    for choice in root["properties"]["stages"]["additionalProperties"]["allOf"].as_array().unwrap() {
        let kind = choice["if"]["properties"]["kind"]["const"].as_str().unwrap();
        collect(&choice["then"], &root, &format!("stages.{kind}"), &mut known);
    }
    let model = &root["properties"]["models"]["additionalProperties"];
    collect(model, &root, "models.*", &mut known);
    for choice in model["allOf"].as_array().into_iter().flatten() {
        collect(&choice["then"], &root, "models.*", &mut known);
    }
    for (pointer, path, pipeline) in bases() {
        tried.hold(&pipeline, &path, AS_IT_IS);
        let mut schemas = vec![root.clone()];
        let mut above = String::new();
        for name in pointer.split('/').skip(1) {
            let value = pipeline.pointer(&above).unwrap();
            let forms: Vec<Value> = schemas.iter().flat_map(|schema| tried.forms(schema, value)).cloned().collect();
            schemas = tried.parts(&forms.iter().collect::<Vec<_>>(), name, false).into_iter().cloned().collect();
            above = format!("{above}/{name}");
        }
        tried.walk(&pipeline, pointer, &path, &schemas);
    }
    // The settings that every metric may have are one type, which is tried in one metric only.
    let is_common = |field: &String| {
        let name = field.rsplit('.').next().unwrap_or_default();
        field.starts_with("stages.metric.metrics.") && ["metric", "prediction", "reference"].contains(&name)
    };
    known.retain(|field| !is_common(field) || field.starts_with("stages.metric.metrics.exact_match."));
    let untried: Vec<&String> = known.iter().filter(|field| !tried.fields.contains(*field)).collect();
    if let Some(path) = std::env::var_os("AGREEMENT") {
        std::fs::write(path, format!("{untried:#?}\n{:#?}\n{:#?}", tried.differences, tried.used)).unwrap();
    }
    assert!(untried.is_empty(), "no pipeline here has these fields: {untried:#?}");
    let differences: Vec<&String> = tried.differences.iter().collect();
    assert!(differences.is_empty(), "{} of {} cases differ: {differences:#?}", differences.len(), tried.cases);
    let reasons = CONTENT
        .iter()
        .map(|(code, _)| code)
        .chain(JUSTIFIED.iter().map(|(part, _)| part))
        .chain(LENIENT.iter().map(|(field, _, _)| field));
    let unused: Vec<&&str> = reasons.filter(|reason| !tried.used.contains(**reason)).collect();
    assert!(unused.is_empty(), "nothing needs these reasons any more: {unused:?}");
    assert!(tried.cases > 3_000, "{}", tried.cases);
}

/// Fields whose names are keywords of JSON Schema are fields all the same.
#[test]
fn no_field_is_lost() {
    let schema = schema();
    let dataset = &schema["properties"]["stages"]["additionalProperties"]["allOf"][0]["then"];
    assert!(dataset["properties"]["format"].is_object(), "{dataset}");
}
