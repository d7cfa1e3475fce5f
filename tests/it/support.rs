//! A temporary workspace, the built program, and an OpenAI-compatible server that counts its calls.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// How the server answers a call.
pub enum Reply {
    Text(String),
    Raw(u16, Vec<(&'static str, String)>, String),
    Slow(Duration, String),
    /// A slow answer if fewer than so many are being answered; else a 429 with these headers.
    Limited(usize, Duration, String, Vec<(&'static str, String)>),
}

type Handler = dyn Fn(usize, &Value, &HeaderMap) -> Reply + Send + Sync;

/// A server on a loopback address.
pub struct Server {
    pub url: String,
    calls: Arc<Mutex<Vec<Value>>>,
    in_flight: Arc<AtomicUsize>,
    most_in_flight: Arc<AtomicUsize>,
    pages: Pages,
    _stop: tokio::sync::oneshot::Sender<()>,
}

/// The texts that GET requests return, by path.
type Pages = Arc<Mutex<HashMap<String, String>>>;

#[derive(Clone)]
struct Shared {
    pages: Pages,
    handler: Arc<Handler>,
    calls: Arc<Mutex<Vec<Value>>>,
    in_flight: Arc<AtomicUsize>,
    most_in_flight: Arc<AtomicUsize>,
    /// Calls that a limit lets through.
    accepted: Arc<AtomicUsize>,
}

impl Server {
    /// Starts a server. The handler gets the number of the call, its body, and its headers.
    pub fn start(handler: impl Fn(usize, &Value, &HeaderMap) -> Reply + Send + Sync + 'static) -> Server {
        let shared = Shared {
            pages: Pages::default(),
            handler: Arc::new(handler),
            calls: Arc::default(),
            in_flight: Arc::default(),
            most_in_flight: Arc::default(),
            accepted: Arc::default(),
        };
        let (url, stop) = serve(Router::new().fallback(answer).with_state(shared.clone()));
        Server {
            url,
            calls: shared.calls,
            in_flight: shared.in_flight,
            pages: shared.pages,
            most_in_flight: shared.most_in_flight,
            _stop: stop,
        }
    }

    /// Starts a server that answers every call by [`default_reply`].
    pub fn plain() -> Server {
        Server::start(|_, body, _| Reply::Text(default_reply(body)))
    }

    /// Returns the bodies of the calls since the last `take` or `count`.
    pub fn take(&self) -> Vec<Value> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    /// Returns the number of calls since the last `take` or `count`.
    pub fn count(&self) -> usize {
        self.take().len()
    }

    /// Returns the number of calls since the last `take` or `count`, and leaves them to be taken.
    pub fn seen(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    /// Makes a document available to GET requests; those are not counted as calls.
    pub fn page(&self, path: &str, document: &Value) {
        self.pages.lock().unwrap().insert(path.to_owned(), document.to_string());
    }

    /// Makes a text available to GET requests.
    pub fn text_page(&self, path: &str, text: &str) {
        self.pages.lock().unwrap().insert(path.to_owned(), text.to_owned());
    }

    pub fn most_in_flight(&self) -> usize {
        self.most_in_flight.load(Ordering::SeqCst)
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }
}

/// Serves an app on a loopback address of its own, until the returned sender is dropped. Returns its base URL, too.
pub fn serve(app: Router) -> (String, tokio::sync::oneshot::Sender<()>) {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (address, addressed) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            address.send(listener.local_addr().unwrap()).unwrap();
            let _ = axum::serve(listener, app).with_graceful_shutdown(async move { drop(stopped.await) }).await;
        });
    });
    (format!("http://{}/v1", addressed.recv().unwrap()), stop)
}

async fn answer(State(shared): State<Shared>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    if method == Method::GET {
        return match shared.pages.lock().unwrap().get(uri.path()) {
            Some(document) => document.clone().into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        };
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let number = {
        let mut calls = shared.calls.lock().unwrap();
        calls.push(body.clone());
        calls.len()
    };
    let now = shared.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
    shared.most_in_flight.fetch_max(now, Ordering::SeqCst);
    let reply = (shared.handler)(number, &body, &headers);
    let response = match reply {
        Reply::Text(text) => completion(&body, &text),
        Reply::Limited(at_once, time, text, headers) => {
            if shared.accepted.fetch_add(1, Ordering::SeqCst) < at_once {
                tokio::time::sleep(time).await;
                shared.accepted.fetch_sub(1, Ordering::SeqCst);
                completion(&body, &text)
            } else {
                shared.accepted.fetch_sub(1, Ordering::SeqCst);
                raw(429, headers, "{\"error\": {\"message\": \"slow down\"}}".to_owned())
            }
        }
        Reply::Slow(time, text) => {
            tokio::time::sleep(time).await;
            completion(&body, &text)
        }
        Reply::Raw(status, headers, text) => raw(status, headers, text),
    };
    shared.in_flight.fetch_sub(1, Ordering::SeqCst);
    response
}

fn raw(status: u16, headers: Vec<(&'static str, String)>, text: String) -> Response {
    let mut response = (StatusCode::from_u16(status).unwrap(), text).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}

fn completion(body: &Value, text: &str) -> Response {
    axum::Json(json!({
        "id": "x", "object": "chat.completion", "model": body["model"],
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13 },
    }))
    .into_response()
}

/// Returns the last user message.
pub fn prompt(body: &Value) -> String {
    let messages = body["messages"].as_array().cloned().unwrap_or_default();
    messages.last().and_then(|message| message["content"].as_str()).unwrap_or_default().to_owned()
}

/// Returns a grade or a verdict if the prompt asks for one, else an echo of the prompt.
pub fn default_reply(body: &Value) -> String {
    let prompt = prompt(body);
    if prompt.contains("GRADE") {
        "{\"reason\": \"fine\", \"accuracy\": 4, \"tone\": 5}".to_owned()
    } else if prompt.contains("COMPARE") {
        "[[B]]".to_owned()
    } else {
        format!("{} says {prompt}", body["model"].as_str().unwrap_or_default())
    }
}

/// The output and exit code of a run of the program.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn of(output: Output) -> Ran {
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts the exit code, and returns the run.
    #[track_caller]
    pub fn code(self, code: i32) -> Ran {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}\nstdout:\n{}\nstderr:\n{}", self.stdout, self.stderr))
    }

    /// Returns `node outcome` per node, for assertions on what ran.
    #[track_caller]
    pub fn outcomes(&self) -> Vec<String> {
        let field = |node: &Value, name: &str| node[name].as_str().unwrap_or_default().to_owned();
        self.json()["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| {
                let state = if node["outcome"].is_string() { field(node, "outcome") } else { field(node, "state") };
                format!("{} {state}", field(node, "node"))
            })
            .collect()
    }

    /// Returns the names of the nodes that ran, in order.
    #[track_caller]
    pub fn ran(&self) -> Vec<String> {
        self.outcomes().iter().filter_map(|line| line.strip_suffix(" ran")).map(str::to_owned).collect()
    }
}

/// A temporary workspace.
pub struct Workspace {
    directory: tempfile::TempDir,
}

impl Workspace {
    pub fn new() -> Workspace {
        Workspace { directory: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) -> &Workspace {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap()
    }

    /// Replaces text in a file; the text must be there.
    #[track_caller]
    pub fn edit(&self, path: &str, from: &str, to: &str) -> &Workspace {
        let text = self.read(path);
        assert!(text.contains(from), "{path} does not hold {from:?}:\n{text}");
        self.write(path, text.replace(from, to))
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_etalon"));
        command
            .args(arguments)
            .current_dir(self.directory.path())
            .env_remove("OPENAI_API_KEY")
            .env_remove("HTTP_PROXY")
            .env("NO_COLOR", "1")
            .env("XDG_CONFIG_HOME", settings())
            .stdin(Stdio::null());
        command
    }

    pub fn etalon(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().unwrap())
    }

    pub fn etalon_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
        Ran::of(self.command(arguments).envs(environment.iter().copied()).output().unwrap())
    }

    /// Runs `pipelines/p.yaml` with `--format json`.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        let mut all = vec!["run", "pipelines/p.yaml", "--format", "json"];
        all.extend(arguments);
        self.etalon(&all)
    }

    pub fn plan(&self, arguments: &[&str]) -> Ran {
        let mut all = vec!["plan", "pipelines/p.yaml", "--format", "json"];
        all.extend(arguments);
        self.etalon(&all)
    }

    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Returns the lines that `show` prints for a stage.
    pub fn show(&self, stage: &str) -> Vec<String> {
        self.etalon(&["show", "pipelines/p.yaml", stage, "--format", "json"])
            .code(0)
            .stdout
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

/// Returns the settings of a user to whom every workspace belongs; made once.
pub fn settings() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("settings");
    static MADE: std::sync::Once = std::sync::Once::new();
    MADE.call_once(|| {
        std::fs::create_dir_all(folder.join("etalon")).unwrap();
        std::fs::write(folder.join("etalon/settings.toml"), "trusted = [\"/\"]\n").unwrap();
    });
    folder
}

/// Waits for a child process to end.
pub fn finish(child: Child) -> Ran {
    Ran::of(child.wait_with_output().unwrap())
}

/// Returns `n` rows as JSON lines: each with an id, a question, a gold answer, and a note that nothing reads.
pub fn rows(n: usize) -> String {
    (0..n).map(|i| format!("{{\"key\": \"r{i:04}\", \"question\": \"question {i}\", \"gold\": \"gold {i}\", \"note\": \"note {i}\"}}\n")).collect()
}

/// Returns a workspace with two models, a metric, a rubric and a comparison, all against the server.
pub fn standard(server: &Server, n: usize) -> Workspace {
    let workspace = Workspace::new();
    workspace
        .write("etalon.toml", "")
        .write("data/rows.jsonl", rows(n))
        .write("templates/ask.j2", "Q: {{ row.question }}")
        .write(
            "templates/grade.j2",
            "GRADE\n{{ completion }}\n{% for c in criteria %}{{ c.name }}: {{ c.ask }}\n{% endfor %}",
        )
        .write("templates/compare.j2", "COMPARE\nA: {{ a }}\nB: {{ b }}")
        .write("pipelines/p.yaml", standard_spec(&server.url));
    workspace
}

pub fn standard_spec(url: &str) -> String {
    format!(
        "etalon: 1
name: p
models:
  base: {{ provider: openai, base_url: {url}, model: m-base, revision: a, role: baseline }}
  tuned: {{ extends: base, model: m-tuned, revision: b, role: candidate }}
  grader: {{ extends: base, model: m-grader, revision: c }}
stages:
  rows:
    kind: dataset
    path: data/rows.jsonl
    id: key
  answers:
    kind: inference
    input: rows
    models: [base, tuned]
    prompt: ask.j2
    options: {{ temperature: 0 }}
  exact:
    kind: metric
    input: answers
    reference: \"{{{{ row.gold }}}}\"
    metrics: [exact_match]
  quality:
    kind: judge
    input: answers
    model: grader
    prompt: grade.j2
    rubric: {{ criteria: {{ accuracy: Is it right?, tone: Is it kind? }} }}
  duel:
    kind: judge
    input: answers
    model: grader
    prompt: compare.j2
    compare: {{ baseline: base }}
"
    )
}

/// Returns every file below a directory.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Installs something that tests need, by `.ci/setup`.
pub fn set_up(part: &str) {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let installed = Command::new("bash").args([".ci/setup", part]).current_dir(&root).status().unwrap();
    assert!(installed.success(), ".ci/setup {part} failed");
}
