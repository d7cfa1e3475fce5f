//! Models that are asked by batches, in both APIs: sent once, collected after a kill, paid at their price.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::support::{Workspace, finish, serve};

/// What the server has seen.
#[derive(Default)]
struct Seen {
    files: HashMap<String, String>,
    /// By id: the requests, the tag, and how often it was polled.
    batches: HashMap<String, (Vec<Value>, Value, usize)>,
    /// The next submission is taken, and its answer is an error.
    loses_an_answer: bool,
    /// How often a batch is polled until it has ended.
    polls: usize,
}

type Shared = Arc<Mutex<Seen>>;

/// A server that takes batches in both APIs, as their references describe them.
struct BatchServer {
    url: String,
    seen: Shared,
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl BatchServer {
    fn start(polls: usize) -> BatchServer {
        let seen: Shared = Arc::new(Mutex::new(Seen { polls, ..Seen::default() }));
        let app = Router::new()
            .route("/v1/files", post(upload))
            .route("/v1/files/{id}/content", get(content))
            .route("/v1/batches", post(submit).get(list))
            .route("/v1/batches/{id}", get(poll))
            .route("/v1/messages/batches", post(submit_messages).get(list_messages))
            .route("/v1/messages/batches/{id}", get(poll_messages))
            .route("/v1/messages/batches/{id}/results", get(results))
            .fallback(|| async { StatusCode::IM_A_TEAPOT })
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(seen.clone());
        let (url, stop) = serve(app);
        BatchServer { url, seen, _stop: stop }
    }

    /// Returns how many requests each batch has.
    fn sizes(&self) -> Vec<usize> {
        let mut sizes: Vec<usize> =
            self.seen.lock().unwrap().batches.values().map(|(requests, ..)| requests.len()).collect();
        sizes.sort_unstable();
        sizes
    }
}

async fn upload(State(seen): State<Shared>, body: String) -> Response {
    let lines: Vec<&str> = body.lines().filter(|line| line.starts_with('{')).collect();
    assert!(body.contains("name=\"purpose\"\r\n\r\nbatch\r\n"), "{body}");
    let mut seen = seen.lock().unwrap();
    let id = format!("file-{}", seen.files.len());
    seen.files.insert(id.clone(), lines.join("\n"));
    axum::Json(json!({ "id": id })).into_response()
}

fn taken(seen: &mut Seen, requests: Vec<Value>, tag: Value) -> Response {
    let id = format!("batch-{}", seen.batches.len());
    seen.batches.insert(id.clone(), (requests, tag, 0));
    if std::mem::take(&mut seen.loses_an_answer) {
        return (StatusCode::BAD_GATEWAY, "gone").into_response();
    }
    axum::Json(json!({ "id": id, "status": "validating", "processing_status": "in_progress" })).into_response()
}

async fn submit(State(seen): State<Shared>, body: String) -> Response {
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["endpoint"], "/v1/chat/completions");
    let mut seen = seen.lock().unwrap();
    let lines = seen.files[body["input_file_id"].as_str().unwrap()].clone();
    let requests = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    taken(&mut seen, requests, body["metadata"].clone())
}

async fn submit_messages(State(seen): State<Shared>, body: String) -> Response {
    let body: Value = serde_json::from_str(&body).unwrap();
    taken(&mut seen.lock().unwrap(), body["requests"].as_array().unwrap().clone(), Value::Null)
}

fn described(seen: &Seen, id: &str) -> Value {
    let (requests, tag, polls) = &seen.batches[id];
    let has_ended = *polls >= seen.polls;
    json!({
        "id": id, "metadata": tag, "output_file_id": format!("out-{id}"), "error_file_id": format!("err-{id}"),
        "status": if has_ended { "completed" } else { "in_progress" },
        "processing_status": if has_ended { "ended" } else { "in_progress" },
        "request_counts": { "processing": requests.len() },
    })
}

async fn poll(State(seen): State<Shared>, Path(id): Path<String>) -> Response {
    let mut seen = seen.lock().unwrap();
    match seen.batches.get_mut(&id) {
        Some(batch) => batch.2 += 1,
        None => return StatusCode::NOT_FOUND.into_response(),
    }
    axum::Json(described(&seen, &id)).into_response()
}

async fn poll_messages(state: State<Shared>, path: Path<String>) -> Response {
    poll(state, path).await
}

async fn list(State(seen): State<Shared>) -> Response {
    let seen = seen.lock().unwrap();
    let all: Vec<Value> = seen.batches.keys().map(|id| described(&seen, id)).collect();
    axum::Json(json!({ "data": all })).into_response()
}

async fn list_messages(state: State<Shared>) -> Response {
    list(state).await
}

fn question(body: &Value) -> String {
    body["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap().to_owned()
}

/// The results of OpenAI's API stand in two files, in no order.
async fn content(State(seen): State<Shared>, Path(file): Path<String>) -> Response {
    let seen = seen.lock().unwrap();
    let (kind, id) = file.split_once('-').unwrap();
    let (requests, ..) = &seen.batches[id];
    let line = |request: &Value| {
        let text = question(&request["body"]);
        let is_error = text.contains("bad");
        if text.contains("hollow") && kind == "out" {
            let body = json!({ "choices": [], "usage": { "prompt_tokens": 500_000, "completion_tokens": 0 } });
            let response = json!({ "status_code": 200, "body": body });
            return Some(json!({ "custom_id": request["custom_id"], "response": response }).to_string());
        }
        (is_error == (kind == "err")).then(|| match is_error {
            true => json!({ "custom_id": request["custom_id"], "response": { "status_code": 400, "body": { "error": { "message": "too long" } } }, "error": null }),
            false => json!({ "custom_id": request["custom_id"], "error": null, "response": { "status_code": 200, "body": {
                "choices": [{ "finish_reason": "stop", "message": { "content": format!("answer to {text}") } }],
                "usage": { "prompt_tokens": 1_000_000, "completion_tokens": 0 },
            } } }),
        }.to_string())
    };
    let lines: Vec<String> = requests.iter().rev().filter_map(line).collect();
    lines.join("\n").into_response()
}

async fn results(State(seen): State<Shared>, Path(id): Path<String>) -> Response {
    let seen = seen.lock().unwrap();
    let line = |request: &Value| {
        let text = question(&request["params"]);
        let result = match text.contains("bad") {
            true => json!({ "type": "errored", "error": { "type": "error", "error": { "message": "too long" } } }),
            false => json!({ "type": "succeeded", "message": {
                "content": [{ "type": "text", "text": format!("answer to {text}") }], "stop_reason": "end_turn",
                "usage": { "input_tokens": 1_000_000, "output_tokens": 0 },
            } }),
        };
        json!({ "custom_id": request["custom_id"], "result": result }).to_string()
    };
    let lines: Vec<String> = seen.batches[&id].0.iter().rev().map(line).collect();
    lines.join("\n").into_response()
}

fn workspace(server: &BatchServer, provider: &str, rows: usize) -> Workspace {
    let workspace = Workspace::new();
    let lines: String = (0..rows).map(|i| format!("{{\"id\": \"r{i:04}\", \"q\": \"q{i}\"}}\n")).collect();
    workspace.write("data/rows.jsonl", lines).write(
        "pipelines/p.yaml",
        format!(
            "etalon: 1\nname: p\nmodels:\n  m: {{ provider: {provider}, base_url: '{}', model: m, batch: true, price: {{ input: 2, output: 0 }} }}\nstages:\n  rows: {{ kind: dataset, path: data/rows.jsonl, id: id }}\n  answers: {{ kind: inference, input: rows, model: m, prompt: \"{{{{ row.q }}}}\" }}\n  took: {{ kind: metric, input: answers, metrics: [latency] }}\n",
            server.url
        ),
    );
    workspace
}

#[test]
fn a_stage_goes_out_as_one_batch_at_half_the_price() {
    for provider in ["openai", "anthropic"] {
        let server = BatchServer::start(2);
        let workspace = workspace(&server, provider, 300);
        let plan = workspace.plan(&[]).code(0).json();
        assert_eq!(plan["total"]["calls"], 300);
        let ran = workspace.run(&[]).code(0).json();
        assert_eq!(server.sizes(), [300], "{provider}");
        assert_eq!(ran["nodes"][1]["cost_usd"], 300.0, "{provider}");
        assert_eq!(ran["summary"]["took"]["m"]["latency"]["missing"], 300, "a batch has no latency");
        let shown = workspace.show("answers");
        assert!(shown[7].contains("answer to q7"), "{}", shown[7]);
        let again = workspace.etalon(&["run", "p", "--refresh", "answers"]).code(0);
        assert!(again.stderr.contains("300 requests are sent as batch batch-1"), "{}", again.stderr);
        assert_eq!(server.sizes(), [300, 300], "{provider}");
        assert!(!workspace.path("cache/batches").join("x").exists());
    }
}

#[test]
fn what_a_batch_does_not_answer_is_a_failed_row() {
    for provider in ["openai", "anthropic"] {
        let server = BatchServer::start(0);
        let workspace = workspace(&server, provider, 40);
        workspace.edit("data/rows.jsonl", "\"q\": \"q7\"", "\"q\": \"bad\"");
        let ran = workspace.run(&[]).code(0).json();
        assert_eq!((&ran["nodes"][1]["failed"], server.sizes()), (&json!(1), vec![40]), "{provider}");
        assert!(ran["nodes"][1]["notes"].to_string().contains("in a batch: too long"), "{ran}");
        // The next run tries what failed, and nothing else.
        workspace.run(&[]).code(0);
        assert_eq!(server.sizes(), [1, 40], "{provider}");
    }
}

#[test]
fn an_answer_of_a_batch_that_is_of_no_use_is_billed_and_told() {
    let server = BatchServer::start(0);
    let workspace = workspace(&server, "openai", 30);
    workspace.edit("data/rows.jsonl", "\"q\": \"q7\"", "\"q\": \"hollow\"");
    let ran = workspace.run(&[]).code(0).json();
    let bill = &ran["nodes"][1]["bill"];
    assert_eq!((&bill["kept"], &bill["useless"]), (&json!(29), &json!(1)), "{bill}");
    assert_eq!((&bill["wasted_usd"], &bill["bought_usd"]), (&json!(0.5), &json!(29.5)), "{bill}");
    let log = super::support::files(&workspace.path("cache/completions"));
    let text: String = log.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    assert_eq!(text.matches("\"type\":\"useless\"").count(), 1);
}

#[test]
fn a_run_that_is_killed_or_stopped_leaves_its_batch_to_the_next() {
    for provider in ["openai", "anthropic"] {
        for signal in ["-KILL", "-INT"] {
            let server = BatchServer::start(usize::MAX);
            let workspace = workspace(&server, provider, 50);
            let mut run = workspace.spawn(&["run", "p"]);
            while server.sizes().is_empty() {
                assert!(run.try_wait().unwrap().is_none());
                std::thread::sleep(Duration::from_millis(10));
            }
            std::thread::sleep(Duration::from_millis(300));
            std::process::Command::new("kill").args([signal, &run.id().to_string()]).status().unwrap();
            finish(run);
            server.seen.lock().unwrap().polls = 0;
            let ran = workspace.run(&[]).code(0);
            assert!(ran.stderr.contains("50 requests of an earlier run are under way as a batch"), "{}", ran.stderr);
            assert_eq!(server.sizes(), [50], "{provider} {signal}: nothing is submitted again");
            assert_eq!(ran.json()["nodes"][1]["missing"], 0);
            workspace.run(&[]).code(0);
            assert_eq!(server.sizes(), [50]);
        }
    }
}

#[test]
fn a_batch_whose_receipt_was_lost_is_found_again() {
    for provider in ["openai", "anthropic"] {
        let server = BatchServer::start(1);
        server.seen.lock().unwrap().loses_an_answer = true;
        let workspace = workspace(&server, provider, 20);
        workspace.run(&[]).code(0);
        assert_eq!(server.sizes(), [20], "{provider}");
    }
}
