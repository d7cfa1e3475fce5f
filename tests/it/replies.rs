//! What models and people really send: replies in odd shapes, answers with reasoning, JSON among words, values of other
//! types, conversations.

use serde_json::{Value, json};

use super::support::{Reply, Server, Workspace, prompt};

const MODEL: &str = "  m: { provider: openai, base_url: \"URL\", model: m, revision: \"1\", retry_seconds: 5 }\n";

/// Returns a workspace whose one model is asked about each row, with stages behind.
fn asked(server: &Server, rows: &[Value], stages: &str) -> Workspace {
    let workspace = Workspace::new();
    let rows: String = rows.iter().map(|row| format!("{row}\n")).collect();
    workspace.write("data/rows.jsonl", rows);
    let models = MODEL.replace("URL", &server.url);
    workspace.write("pipelines/p.yaml", format!("etalon: 1\nname: p\nmodels:\n{models}stages:\n{stages}"));
    workspace
}

const ASK: &str = r#"  rows: { kind: dataset, path: data/rows.jsonl, id: id }
  answers: { kind: inference, input: rows, models: [m], prompt: "{{ row.q }}", max_failures: "100%" }
  scores: { kind: metric, input: answers, reference: "{{ row.gold }}", metrics: [exact_match] }
"#;

/// Returns a workspace whose dataset has the completions already.
fn given(rows: &[Value], metric: &str) -> Workspace {
    let workspace = Workspace::new();
    let rows: String = rows.iter().map(|row| format!("{row}\n")).collect();
    workspace.write("data/rows.jsonl", rows);
    workspace.write(
        "pipelines/p.yaml",
        format!(
            r#"
etalon: 1
name: p
models: {{ m: {{}} }}
stages:
  rows: {{ kind: dataset, path: data/rows.jsonl, id: id }}
  answers: {{ kind: inference, input: rows, models: [m], completions: "{{{{ row.out }}}}" }}
  scores: {{ kind: metric, input: answers, {metric} }}
"#
        ),
    );
    workspace
}

fn choice(choice: Value) -> Reply {
    Reply::Raw(200, Vec::new(), json!({ "choices": [choice] }).to_string())
}

fn value<'a>(run: &'a Value, stage: &str, name: &str) -> &'a Value {
    &run["summary"][stage]["m"][name]
}

fn notes(run: &Value, node: &str) -> String {
    let node = run["nodes"].as_array().unwrap().iter().find(|known| known["node"] == node).unwrap();
    node["notes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}

fn row(id: &str, more: Value) -> Value {
    let mut row = json!({ "id": id, "q": format!("question {id}") });
    row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    row
}

#[test]
fn errors_that_come_as_answers_are_tried_again() {
    let bad = json!({ "finish_reason": "error", "error": { "code": 502 }, "message": { "content": "" } });
    let server = Server::start(move |number, body, _| match (prompt(body).as_str(), number) {
        ("question 1", 1) => choice(bad.clone()),
        ("question 2", n) if n <= 3 => {
            Reply::Raw(200, Vec::new(), json!({ "choices": [], "error": { "message": "busy" } }).to_string())
        }
        _ => Reply::Text("green".to_owned()),
    });
    let rows = [row("1", json!({ "gold": "green" })), row("2", json!({ "gold": "green" }))];
    let workspace = asked(&server, &rows, ASK);
    workspace.edit("pipelines/p.yaml", "retry_seconds: 5", "retry_seconds: 20, concurrency: 1");
    let run = workspace.run(&[]).code(0).json();
    assert_eq!(value(&run, "scores", "exact_match")["value"], 1.0);
    for file in super::support::files(&workspace.path("cache/completions")) {
        assert!(!std::fs::read_to_string(file).unwrap().contains("502"), "an error is no answer");
    }
}

#[test]
fn a_request_at_fault_is_not_tried_again_although_it_comes_as_an_answer() {
    let server = Server::start(|_, _, _| {
        Reply::Raw(200, Vec::new(), json!({ "error": { "code": 400, "message": "too long" } }).to_string())
    });
    let workspace = asked(&server, &[row("1", json!({ "gold": "x" }))], ASK);
    let run = workspace.run(&[]).code(0).json();
    assert!(notes(&run, "answers.m").contains("too long"), "{run}");
    assert_eq!(server.count(), 1);
}

#[test]
fn empty_answers_are_told_with_their_reason_and_can_be_gated() {
    let server = Server::start(|_, _, _| {
        choice(json!({ "finish_reason": "length", "message": { "content": null, "reasoning_content": "Hm, well" } }))
    });
    let rows: Vec<Value> = (0..20).map(|n| row(&n.to_string(), json!({ "gold": "x" }))).collect();
    let workspace = asked(&server, &rows, ASK);
    let gates = "gates: [\"answers.m.empty <= 0.1\", \"answers.m.refused <= 0\", \"answers.m.cut <= 1\"]\n";
    workspace.edit("pipelines/p.yaml", "models:\n", &format!("{gates}models:\n"));
    let ran = workspace.run(&[]).code(1);
    let run = ran.json();
    assert_eq!(value(&run, "scores", "exact_match")["value"], 0.0);
    assert_eq!(value(&run, "answers", "empty")["value"], 1.0);
    assert_eq!(value(&run, "answers", "cut")["value"], 1.0);
    assert_eq!(value(&run, "answers", "refused")["value"], 0.0);
    let told = "20 of 20 answers are empty: 20 × length, all with reasoning; raise max_tokens or switch reasoning off";
    assert!(notes(&run, "answers.m").contains(told), "{}", notes(&run, "answers.m"));
    let shown: Value = serde_json::from_str(&workspace.show("answers")[0]).unwrap();
    assert_eq!((&shown["status"], &shown["reasoning"]), (&json!("empty"), &json!("Hm, well")));
    // What is told is told again by a run with nothing to do.
    let again = workspace.run(&[]).code(1).json();
    assert!(notes(&again, "answers.m").contains(told));
}

#[test]
fn refusals_and_calls_of_tools_are_told_apart_and_measured() {
    let call = json!([{ "id": "1", "type": "function", "function": { "name": "weather", "arguments": "{\"city\": \"Paris\"}" } }]);
    let server = Server::start(move |_, body, _| match prompt(body).as_str() {
        "question 1" => {
            choice(json!({ "finish_reason": "tool_calls", "message": { "content": null, "tool_calls": call } }))
        }
        "question 2" => {
            choice(json!({ "finish_reason": "stop", "message": { "content": null, "refusal": "I can't." } }))
        }
        "question 3" => choice(json!({ "finish_reason": "content_filter", "message": { "content": "" } })),
        _ => Reply::Text("It is sunny.".to_owned()),
    });
    let wanted = json!([{ "name": "weather", "arguments": { "city": "Paris" } }]);
    let rows: Vec<Value> = (1..=4).map(|n| row(&n.to_string(), json!({ "gold": wanted }))).collect();
    let stages = ASK.replace("[exact_match]", "[tool_call]");
    let workspace = asked(&server, &rows, &stages);
    let run = workspace.run(&[]).code(0).json();
    assert_eq!(value(&run, "scores", "tool_call")["value"], 0.25);
    assert_eq!(value(&run, "answers", "tool_calls")["value"], 0.25);
    assert_eq!(value(&run, "answers", "refused")["value"], 0.5);
    let shown: Vec<Value> = workspace.show("answers").iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let statuses: Vec<&Value> = shown.iter().map(|row| &row["status"]).collect();
    assert_eq!(statuses, ["tool_calls", "refused", "refused", "ok"]);
    assert_eq!(shown[0]["tool_calls"], wanted);
    assert_eq!((&shown[1]["refusal"], &shown[1]["finish_reason"]), (&json!("I can't."), &json!("refusal")));
    assert!(notes(&run, "answers.m").contains("1 of 4 answers call tools"));
}

#[test]
fn content_that_is_no_text_is_told_and_not_replaced() {
    let server = Server::start(|_, body, _| match prompt(body).as_str() {
        "question 1" => choice(json!({ "message": { "content": { "answer": 1 } } })),
        "question 2" => Reply::Raw(200, Vec::new(), r#"{"choices":[{"message":{"content":"a\ud800b"}}]}"#.to_owned()),
        "question 3" => choice(
            json!({ "message": { "content": [{ "type": "text", "text": "gre" }, { "type": "text", "text": "en" }] } }),
        ),
        _ => Reply::Text("green".to_owned()),
    });
    let rows: Vec<Value> = (1..=4).map(|n| row(&n.to_string(), json!({ "gold": "green" }))).collect();
    let workspace = asked(&server, &rows, ASK);
    let run = workspace.run(&[]).code(0).json();
    let exact = value(&run, "scores", "exact_match");
    assert_eq!((&exact["value"], &exact["n"], &exact["missing"]), (&json!(1.0), &json!(2), &json!(2)));
    let told = notes(&run, "answers.m");
    assert!(told.contains("content that is no text but an object") && told.contains("surrogate"), "{told}");
    assert_eq!(server.count(), 4, "an answer that was paid is not bought again and again");
}

#[test]
fn a_placeholder_for_a_key_is_a_word_like_any_other() {
    let server = Server::start(|_, _, _| Reply::Text("none of the above, sk-no-key-required".to_owned()));
    for key in ["none", "EMPTY", "1", "sk-no-key-required"] {
        let workspace = asked(&server, &[row("1", json!({ "gold": "none of the above, sk-no-key-required" }))], ASK);
        let output = workspace.command(&["run", "p", "--format", "json"]).env("OPENAI_API_KEY", key).output().unwrap();
        let run: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(value(&run, "scores", "exact_match")["value"], 1.0, "{key}");
    }
}

#[test]
fn the_answer_is_what_follows_the_reasoning() {
    let rows = [
        row("1", json!({ "out": "<think>Lyon? Paris?</think>Lyon", "gold": "Paris" })),
        row("2", json!({ "out": "Paris or Lyon?</think>\n\nParis", "gold": "Paris" })),
        row("3", json!({ "out": "<think>Paris", "gold": "Paris" })),
    ];
    let metric = "reference: \"{{ row.gold }}\", metrics: { contains: , exact_match: , whole: { metric: contains, prediction: \"{{ raw }}\" } }";
    let workspace = given(&rows, metric);
    let run = workspace.run(&[]).code(0).json();
    let third = 1.0 / 3.0;
    assert_eq!(value(&run, "scores", "contains")["value"], third);
    assert_eq!(value(&run, "scores", "exact_match")["value"], third);
    assert_eq!(value(&run, "scores", "whole")["value"], 1.0);
    let shown: Value = serde_json::from_str(&workspace.show("answers")[0]).unwrap();
    assert_eq!(
        (&shown["completion"], &shown["reasoning"], &shown["raw"]),
        (&json!("Lyon"), &json!("Lyon? Paris?"), &json!("<think>Lyon? Paris?</think>Lyon"))
    );
    // Other tags are a setting of the model.
    workspace.edit("pipelines/p.yaml", "m: {}", "m: { reasoning_tags: {} }");
    let run = workspace.run(&[]).code(0).json();
    assert_eq!(value(&run, "scores", "contains")["value"], 1.0);
}

#[test]
fn other_tags_cost_no_call_and_judges_see_the_answer() {
    let server = Server::start(|_, body, _| match prompt(body) {
        asked if asked.starts_with("JUDGE") => Reply::Text(json!({ "good": 4, "reason": asked }).to_string()),
        _ => Reply::Text("<scratch>Paris?</scratch>Lyon".to_owned()),
    });
    let stages = ASK.to_owned()
        + "  quality: { kind: judge, input: answers, model: g, prompt: \"JUDGE {{ completion }}|{{ reasoning }}\", rubric: { criteria: { good: Is it? } } }\n";
    let workspace = asked(&server, &[row("1", json!({ "gold": "Lyon" }))], &stages);
    workspace.edit("pipelines/p.yaml", "models:\n", "models:\n  g: { extends: m, model: g, revision: \"1\" }\n");
    let run = workspace.run(&[]).code(0).json();
    assert_eq!(value(&run, "scores", "exact_match")["value"], 0.0);
    server.take();
    let tags = "revision: \"1\", reasoning_tags: { \"<scratch>\": \"</scratch>\" }, retry_seconds";
    workspace.edit("pipelines/p.yaml", "revision: \"1\", retry_seconds", tags);
    let run = workspace.run(&[]).code(0).json();
    assert_eq!(value(&run, "scores", "exact_match")["value"], 1.0);
    let prompts: Vec<String> = server.take().iter().map(prompt).collect();
    assert_eq!(prompts, ["JUDGE Lyon|Paris?"], "the answer is cut from what was bought, and judged anew");
}

#[test]
fn json_is_read_from_fences_and_words() {
    let rows = [
        row("1", json!({ "out": "```json\n{\"intent\": \"billing\"}\n```", "gold": "billing" })),
        row("2", json!({ "out": "It is {\"intent\": \"billing\"}, I think.", "gold": "billing" })),
        row("3", json!({ "out": "{\"intent\": \"billing\"}", "gold": "billing" })),
        row("4", json!({ "out": "billing", "gold": "billing" })),
    ];
    let metric = r#"prediction: "{{ completion | json('intent') }}", reference: "{{ row.gold }}",
    metrics: { exact_match: , form: { metric: json_valid, prediction: "{{ completion }}" } }"#;
    let workspace = given(&rows, metric);
    let run = workspace.run(&[]).code(0).json();
    assert_eq!(value(&run, "scores", "exact_match")["value"], 0.75);
    assert_eq!(value(&run, "scores", "form")["value"], 0.25);
    assert_eq!(value(&run, "scores", "form.fenced")["value"], 0.5);
    assert!(notes(&run, "scores.m").contains("exact_match: 1 of 4 predictions cannot be read: there is no JSON in it"));
    let shown: Vec<Value> = workspace.show("scores").iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(shown[0]["extracted"]["exact_match"], json!({ "prediction": "billing", "reference": "billing" }));
    assert_eq!(shown[3]["extracted"]["exact_match"]["prediction"], "(none: there is no JSON in it)");
}

#[test]
fn absent_null_and_unreadable_are_three_things() {
    let rows = [
        row("1", json!({ "out": "{\"order\": null}", "gold": null })),
        row("2", json!({ "out": "no json", "gold": null })),
        row("3", json!({ "out": "{\"order\": \"B\"}", "gold": null })),
        row("4", json!({ "out": "{}", "gold": "B" })),
    ];
    let metric = r#"prediction: "{{ completion | json('order') }}", reference: "{{ row.gold }}", metrics: [exact_match, classification]"#;
    let workspace = given(&rows, metric);
    let run = workspace.run(&[]).code(0).json();
    for name in ["exact_match", "classification.accuracy"] {
        let of = value(&run, "scores", name);
        assert_eq!((&of["value"], &of["n"], &of["missing"]), (&json!(0.25), &json!(4), &json!(0)), "{name}");
    }
    let told = notes(&run, "scores.m");
    assert!(told.contains("there is no JSON in it") && told.contains("its JSON has no such field"), "{told}");
    // For a text that is scored as it is, a null reference is none; and a note says so.
    let workspace = given(&rows, "reference: \"{{ row.gold }}\", metrics: [exact_match]");
    let run = workspace.run(&[]).code(0).json();
    let of = value(&run, "scores", "exact_match");
    assert_eq!((&of["n"], &of["missing"]), (&json!(1), &json!(3)));
    assert!(notes(&run, "scores.m").contains("3 without a score: the row has no reference"));
}

#[test]
fn values_are_the_same_across_types() {
    let rows = [
        row("1", json!({ "out": "{\"v\": 3}", "gold": 3.0 })),
        row("2", json!({ "out": "{\"v\": true}", "gold": "True" })),
        row("3", json!({ "out": "{\"v\": false}", "gold": "False" })),
        row("4", json!({ "out": "{\"v\": true}", "gold": "False" })),
    ];
    let metric = r#"prediction: "{{ completion | json('v') }}", reference: "{{ row.gold }}", metrics: [exact_match, classification]"#;
    let workspace = given(&rows, metric);
    let run = workspace.run(&[]).code(0).json();
    assert_eq!(value(&run, "scores", "exact_match")["value"], 0.75);
    assert_eq!(value(&run, "scores", "classification.accuracy")["value"], 0.75);
    assert_eq!(value(&run, "scores", "classification.recall.False")["value"], 0.5);
    assert_eq!(value(&run, "scores", "classification.precision.True")["value"], 0.5);
    assert_eq!(run["signatures"]["scores"]["exact_match"], "exact_match|mode:trim|empty:text|types:value");
}

#[test]
fn an_empty_cell_may_stand_for_null() {
    let workspace = given(&[], "");
    workspace.write("data/rows.csv", "id,out,gold\n1,\"{\"\"order\"\": null}\",\n2,\"{\"\"order\"\": \"\"B\"\"}\",B\n");
    workspace.edit("pipelines/p.yaml", "rows.jsonl", "rows.csv");
    workspace.edit(
        "pipelines/p.yaml",
        "input: answers, ",
        r#"input: answers, prediction: "{{ completion | json('order') }}", reference: "{{ row.gold }}", metrics: { exact_match: , nulls: { metric: exact_match, empty: null } }"#,
    );
    let run = workspace.run(&[]).code(0).json();
    assert_eq!(value(&run, "scores", "exact_match")["value"], 0.5);
    assert_eq!(value(&run, "scores", "nulls")["value"], 1.0);
}

#[test]
fn columns_of_text_become_what_they_are() {
    let workspace = Workspace::new();
    let spec = |more: &str| {
        format!("etalon: 1\nname: p\nstages:\n  rows: {{ kind: dataset, path: data/rows.csv, id: id{more} }}\n")
    };
    workspace.write("data/rows.csv", "id,score,easy\n1,3.5,True\n2,12,false\n3,,True\n");
    workspace.write("pipelines/p.yaml", spec(", types: { score: number, easy: boolean }, where: row.easy"));
    workspace.etalon(&["check", "p"]).code(0);
    workspace.run(&[]).code(0);
    let rows: Vec<Value> = workspace.show("rows").iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let scores: Vec<&Value> = rows.iter().map(|row| &row["row"]["score"]).collect();
    assert_eq!(scores, [&json!(3.5), &json!(null)]);
    workspace.write("data/rows.csv", "id,score,easy\n1,3.5,True\n2,twelve,false\n");
    let ran = workspace.run(&[]).code(3);
    assert!(ran.stderr.contains("data/rows.csv:3: column `score` is `twelve`, expected a number"), "{}", ran.stderr);
    // Conditions that take text for something else.
    for (condition, says) in [
        ("row.score > 3", "is text in 2 rows, and is compared with a number"),
        ("row.easy", "is text in 2 rows, and any text but the empty one is true"),
        ("not row.easy and row.id != ''", "any text but the empty one is true"),
    ] {
        workspace.write("pipelines/p.yaml", spec(&format!(", where: \"{condition}\"")));
        let checked = workspace.etalon(&["check", "p"]).code(2);
        assert!(checked.stderr.contains(says) && checked.stderr.contains("types: {"), "{}", checked.stderr);
        let ran = workspace.run(&[]).code(3);
        assert!(ran.stderr.contains("is text"), "{}", ran.stderr);
    }
    workspace.write("pipelines/p.yaml", spec(", where: \"row.score | float > 3 and row.easy == 'True'\""));
    workspace.edit("data/rows.csv", "twelve", "12");
    workspace.etalon(&["check", "p"]).code(0);
    workspace.run(&[]).code(0);
    let shown = workspace.etalon(&["show", "p", "rows", "--where", "row.score > 3"]).code(2);
    assert!(shown.stderr.contains("compares text with a number"), "{}", shown.stderr);
}

#[test]
fn a_null_in_a_prompt_is_told_with_its_rows() {
    let server = Server::plain();
    let rows = [row("1", json!({ "context": null })), row("2", json!({ "context": "c" })), row("3", json!({}))];
    let stages = r#"  rows: { kind: dataset, path: data/rows.jsonl, id: id }
  answers: { kind: inference, input: rows, models: [m], prompt: "Context: {{ row.context }} {{ row.q }}" }
"#;
    let workspace = asked(&server, &rows, stages);
    let checked = workspace.etalon(&["check", "p"]);
    assert!(checked.stderr.contains("`context` is null in 1 row (data/rows.jsonl:1)"), "{}", checked.stderr);
    assert!(checked.stderr.contains("default('')"), "{}", checked.stderr);
    for quiet in [
        "{{ row.context | default('') }}",
        "{{ row.context or '' }}",
        "{% if row.context %}{{ row.context }}{% endif %}",
    ] {
        let workspace = asked(&server, &rows[..2], &stages.replace("{{ row.context }}", quiet));
        let checked = workspace.etalon(&["check", "p"]).code(0);
        assert!(!checked.stderr.contains("null"), "{quiet}: {}", checked.stderr);
        server.take();
        workspace.run(&[]).code(0);
        let prompts: Vec<String> = server.take().iter().map(prompt).collect();
        assert!(prompts.contains(&"Context:  question 1".to_owned()), "{prompts:?}");
    }
}

#[test]
fn each_row_sends_its_own_conversation() {
    let server = Server::start(|_, body, _| {
        let turns = body["messages"].as_array().unwrap();
        Reply::Text(format!("{} turns", turns.len()))
    });
    let turn = |role: &str, content: &str| json!({ "role": role, "content": content });
    let rows = [
        row("1", json!({ "messages": [turn("user", "a")], "tools": null })),
        row(
            "2",
            json!({ "messages": [turn("user", "a"), turn("assistant", "b"), turn("user", "c")],
            "tools": [{ "type": "function", "function": { "name": "f" } }] }),
        ),
        row("3", json!({ "messages": [{ "from": "human", "value": "a" }], "tools": null })),
    ];
    let stages = r#"  rows: { kind: dataset, path: data/rows.jsonl, id: id }
  answers: { kind: inference, input: rows, models: [m], system: "Be brief.", messages: "{{ row.messages }}", tools: "{{ row.tools }}" }
  quality: { kind: judge, input: answers, model: m, allow_self: true, prompt: "{{ prompt }} ## {{ messages | length }}", rubric: { criteria: { good: Is it? } } }
"#;
    let workspace = asked(&server, &rows, stages);
    workspace.run(&[]);
    let bodies = server.take();
    let sent = |n: usize| -> &Value {
        bodies
            .iter()
            .find(|body| body["messages"].as_array().unwrap().len() == n && body["messages"][0]["role"] == "system")
            .unwrap()
    };
    assert_eq!(sent(4)["messages"][3], turn("user", "c"));
    assert_eq!(sent(4)["tools"][0]["function"]["name"], "f");
    assert_eq!(sent(2).get("tools"), None);
    assert_eq!(sent(2)["messages"][1], turn("user", "a"));
    let judged: Vec<String> = bodies.iter().map(prompt).filter(|prompt| prompt.contains("##")).collect();
    assert!(judged.contains(&"user: a\n\nassistant: b\n\nuser: c ## 4".to_owned()), "{judged:?}");
    // A conversation that already has its answer.
    let answered = [row("1", json!({ "messages": [turn("user", "a"), turn("assistant", "2 turns")] }))];
    let stages = r#"  rows: { kind: dataset, path: data/rows.jsonl, id: id }
  answers: { kind: inference, input: rows, models: [m], system: "Be brief.", messages: "{{ row.messages }}", max_failures: 1 }
  scores: { kind: metric, input: answers, metrics: [json_valid] }
"#;
    let workspace = asked(&server, &answered, stages);
    let run = workspace.run(&[]).code(0).json();
    assert!(notes(&run, "answers.m").contains("until: last_user"), "{run}");
    workspace.edit("pipelines/p.yaml", "max_failures: 1", "until: last_user");
    workspace.edit("pipelines/p.yaml", "[json_valid]", "[exact_match]");
    let run = workspace.run(&[]).code(0).json();
    assert_eq!(value(&run, "scores", "exact_match")["value"], 1.0, "what was cut off is the reference");
}

#[test]
fn two_models_are_told_on_the_rows_that_both_have() {
    let server = Server::start(|_, body, _| {
        let number: usize = prompt(body).rsplit(' ').next().unwrap().parse().unwrap();
        match (body["model"].as_str().unwrap(), number) {
            ("t", n) if n % 20 == 0 => Reply::Raw(400, Vec::new(), "{\"error\": \"no\"}".to_owned()),
            (_, n) if n % 20 == 0 => Reply::Text("wrong".to_owned()),
            _ => Reply::Text("x".to_owned()),
        }
    });
    let rows: Vec<Value> = (0..100).map(|n| row(&n.to_string(), json!({ "gold": "x" }))).collect();
    let workspace = asked(&server, &rows, &ASK.replace("models: [m]", "models: [m, t]"));
    workspace.edit("pipelines/p.yaml", "models:\n", "models:\n  t: { extends: m, model: t, revision: \"1\" }\n");
    let run = workspace.run(&[]).code(0).json();
    let told = notes(&run, "scores.t");
    assert!(
        told.contains("5 rows only of m (0, 20, 40, 60, 80); on the 95 rows of both t has against m: exact_match 1.000 against 1.000"),
        "{told}"
    );
}

#[test]
fn which_response_was_a_is_kept_and_shown() {
    let server = Server::start(|_, body, _| match prompt(body) {
        asked if asked.starts_with("PAIR") => Reply::Text(format!("I saw {asked}.\n[[A]]")),
        asked => Reply::Text(format!("{} {asked}", body["model"].as_str().unwrap())),
    });
    let stages = r#"  rows: { kind: dataset, path: data/rows.jsonl, id: id }
  answers: { kind: inference, input: rows, models: [m, t], prompt: "{{ row.q }}" }
  duel: { kind: judge, input: answers, model: g, prompt: "PAIR {{ a }} / {{ b }}", compare: { baseline: m } }
"#;
    let workspace = asked(&server, &[row("1", json!({}))], stages);
    let models =
        "models:\n  t: { extends: m, model: t, revision: \"1\" }\n  g: { extends: m, model: g, revision: \"1\" }\n";
    workspace.edit("pipelines/p.yaml", "models:\n", models);
    workspace.run(&[]).code(0);
    let shown: Value = serde_json::from_str(&workspace.show("duel")[0]).unwrap();
    let asked = shown["asked"].as_array().unwrap();
    assert_eq!(asked.len(), 2);
    for order in asked {
        let first = if order["a"] == "t" { "t question 1 / m" } else { "m question 1 / t" };
        assert!(order["reason"].as_str().unwrap().contains(&format!("PAIR {first}")), "{order}");
        assert_eq!(order["verdict"], if order["a"] == "t" { "win" } else { "loss" });
    }
}
