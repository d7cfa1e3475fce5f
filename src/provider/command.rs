//! `command`: any program answers, JSON lines in, JSON lines out.
//!
//! One process answers many requests. It gets one line per request on its standard input, `{"id", "messages", "sample"}`
//! with `options` and `model` where there are some, and prints one line for each on its standard output, in any order:
//! `{"id", "completion"}`, with `reasoning`, `refusal`, `tool_calls`, `finish_reason` and `usage` if known, or
//! `{"id", "error"}`. It must flush its output after each line, and may print what it likes on standard error: the end of
//! that stands in the message when it dies. It is started anew then, and what it left unanswered is asked again.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::ChildStdin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use super::local::{LocalAnswer, local_body, local_sent};
use super::network::{Concurrency, calls, check_concurrency};
use super::reply::start;
use super::{
    BuildError, Building, CallError, Entry, ErrorKind, Limits, Provider, Reach, Reply, Request, Sent, check as typed,
};
use crate::digest::Digest;
use crate::files;
use crate::problem::Problem;
use crate::process::{Ender, INTERRUPTED, Launch, Output, Program, unseen, unseen_text};
use crate::spec::{Node, OneOrMany, decode};

/// How often a request is asked of a program that dies over it.
const MAX_ATTEMPTS: u32 = 3;
/// A program that dies so many times in a row without an answer is given up.
const MAX_DEATHS: u64 = 3;

/// Settings of a model behind a program.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// A line for the shell, or a list of program and arguments. It runs in the workspace; words of it that are files
    /// enter the key.
    command: Option<OneOrMany>,
    /// Files or globs that the program reads; their content enters the key. A command whose words do not say what it
    /// runs (`python3 -m model`, `a | b`) needs them; `[]` where there is none.
    files: Option<OneOrMany>,
    /// Requests that the program has at once, one per core unless said. It may answer them in any order.
    #[schemars(with = "Option<Concurrency>")]
    concurrency: Option<Value>,
    /// Seconds for an answer, 600 unless said. A program that takes longer is ended, and started anew.
    timeout: Option<f64>,
}

pub(super) const ENTRY: Entry = Entry {
    name: "command",
    about: "A program of your own, JSON lines in, JSON lines out; one process answers many requests.",
    check,
    schema: Settings::json_schema,
    build,
};

fn check(node: &Node, what: &str) -> Vec<Problem> {
    let mut problems = typed::<Settings>(node, what);
    problems.extend(check_concurrency(node, what));
    let Ok(settings) = decode::<Settings>(node, what) else { return problems };
    if settings.timeout.is_some_and(|seconds| !(seconds > 0.0 && seconds < 1e6)) {
        let message = format!("{what}: `timeout` is a number of seconds above 0");
        problems.push(Problem::error("wrong-value", message).at(node.place_of("timeout")));
    }
    if let (Some(command), None) = (settings.command, &settings.files)
        && let Some(why) = Program::from(command).unseen(None)
    {
        problems.push(unseen(what, &why, node.place_of("command")));
    }
    problems
}

fn build(building: &Building<'_>) -> Result<Box<dyn Provider>, BuildError> {
    let settings: Settings = building.settings()?;
    let Some(program) = settings.command.map(Program::from) else {
        return Err(BuildError::new(
            "provider command needs `command`",
            "a program that reads and prints JSON lines: `command: python3 models/mine.py`",
        ));
    };
    if let Some(name) = program.missing(building.root) {
        let help = "a name is looked up in PATH, a path with `/` starts at the workspace";
        return Err(BuildError::new(format!("there is no program `{name}`"), help));
    }
    if let (None, Some(why)) = (&settings.files, program.unseen(Some(building.root))) {
        let (message, help) = unseen_text(&why);
        return Err(BuildError::new(message, help));
    }
    let mut names: Vec<String> = program.words().filter(|word| building.root.join(word).is_file()).collect();
    for pattern in settings.files.map(OneOrMany::into_vec).unwrap_or_default() {
        let found = files::files(building.root, &pattern);
        if found.iter().all(|name| !building.root.join(name).is_file()) {
            return Err(BuildError::new(format!("there is no file {pattern}"), "paths start at the workspace"));
        }
        names.extend(found);
    }
    let mut digests = BTreeMap::new();
    for name in names {
        let digest = (building.digest_file)(&building.root.join(&name)).map_err(|error| {
            BuildError::new(format!("failed to read {name}: {error}"), "paths start at the workspace")
        })?;
        digests.insert(name, digest);
    }
    let text = |digests: &BTreeMap<String, Digest>| -> Map<String, Value> {
        digests.iter().map(|(name, digest)| (name.clone(), Value::from(digest.to_string()))).collect()
    };
    let mut identity = Map::new();
    identity.insert("provider".to_owned(), "command".into());
    identity.insert("command".to_owned(), program.text().into());
    identity.insert("files".to_owned(), Value::Object(text(&digests)));
    if let Some(model) = &building.spec.model {
        identity.insert("model".to_owned(), model.as_str().into());
    }
    if let Some(revision) = &building.spec.revision {
        identity.insert("revision".to_owned(), revision.as_str().into());
    }
    if !building.weights.is_empty() {
        identity.insert("weights".to_owned(), Value::Object(text(&building.weights)));
    }
    Ok(Box::new(Command {
        launch: program.launch(&digests),
        program,
        root: building.root.to_owned(),
        model: building.spec.model.clone(),
        identity,
        limits: Limits { concurrency: calls(&settings.concurrency), ..Limits::default() },
        timeout: Duration::try_from_secs_f64(settings.timeout.unwrap_or(600.0)).unwrap_or(Duration::from_secs(600)),
        running: Mutex::default(),
        numbers: AtomicU64::new(0),
        deaths: Arc::default(),
    }))
}

/// One model behind a program.
struct Command {
    launch: Launch,
    program: Program,
    root: PathBuf,
    model: Option<String>,
    identity: Map<String, Value>,
    limits: Limits,
    timeout: Duration,
    running: Mutex<Option<Running>>,
    numbers: AtomicU64,
    /// How many times in a row the program died without an answer.
    deaths: Arc<AtomicU64>,
}

/// What a program answered, or why it did not.
type Answered = Result<Map<String, Value>, Silence>;

/// Why a request has no answer.
#[derive(Clone)]
enum Silence {
    /// The program died; another one may answer.
    Died(String),
    /// What it printed is no answer.
    Nonsense(String),
}

/// The requests that a process has not answered yet; none once it has ended.
type Waiting = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<Answered>>>>>;

/// A process that answers. Dropping it ends the process.
struct Running {
    lines: Sender<Vec<u8>>,
    waiting: Waiting,
    _ender: Ender,
}

impl Command {
    /// Sends a request to the process, which is started if none runs.
    fn ask(&self, number: u64, line: &[u8]) -> Result<oneshot::Receiver<Answered>, CallError> {
        let mut running = self.running.lock().expect("no panic while locked");
        loop {
            if running.is_none() {
                *running = Some(self.start()?);
            }
            let process = running.as_ref().expect("it was just started");
            let (sender, answer) = oneshot::channel();
            if let Some(waiting) = &mut *process.waiting.lock().expect("no panic while locked") {
                waiting.insert(number, sender);
                // A process that ends meanwhile tells so through `answer`.
                let _ = process.lines.send(line.to_vec());
                return Ok(answer);
            }
            *running = None;
        }
    }

    fn start(&self) -> Result<Running, CallError> {
        let failed = |error: std::io::Error| {
            CallError::new(ErrorKind::Fatal, format!("`{}` cannot be started: {error}", self.program.text()))
        };
        let (output, stdin, ender) = self.program.converse(&self.root).map_err(failed)?;
        let (lines, to_write) = channel::<Vec<u8>>();
        std::thread::spawn(move || write(stdin, &to_write));
        let waiting: Waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        let (known, deaths, program) = (waiting.clone(), self.deaths.clone(), self.program.text());
        std::thread::spawn(move || {
            let silence = read(output, &known, &deaths, &program);
            let left = known.lock().expect("no panic while locked").take();
            left.into_iter().flatten().for_each(|(_, sender)| _ = sender.send(Err(silence.clone())));
        });
        Ok(Running { lines, waiting, _ender: ender })
    }

    async fn answer(&self, body: &[u8], request: &Request) -> Result<String, CallError> {
        let mut asked: Map<String, Value> = serde_json::from_slice(body).expect("a body is a map");
        asked.insert("sample".to_owned(), request.sample.into());
        if let Some(model) = &self.model {
            asked.insert("model".to_owned(), model.as_str().into());
        }
        let mut died = String::new();
        for _ in 0..MAX_ATTEMPTS {
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            asked.insert("id".to_owned(), number.into());
            let mut line = serde_json::to_vec(&asked).expect("requests are JSON");
            line.push(b'\n');
            let answer = self.ask(number, &line)?;
            let Ok(answered) = tokio::time::timeout(self.timeout, answer).await else {
                // It hangs, or is too slow: nothing more is expected of this process.
                self.running.lock().expect("no panic while locked").take();
                let message =
                    format!("`{}` did not answer within {} s", self.program.text(), self.timeout.as_secs_f64());
                return Err(CallError::new(ErrorKind::Permanent, message));
            };
            match answered.unwrap_or_else(|_| Err(Silence::Died("it was ended".to_owned()))) {
                Ok(said) => return self.said(said),
                Err(Silence::Nonsense(message)) => return Err(CallError::new(ErrorKind::Fatal, message)),
                Err(Silence::Died(message)) if message == INTERRUPTED => {
                    return Err(CallError::new(ErrorKind::Stopped, message));
                }
                Err(Silence::Died(message)) => died = message,
            }
            if self.deaths.load(Ordering::Relaxed) >= MAX_DEATHS {
                let message = format!("`{}` ended {MAX_DEATHS} times without an answer: {died}", self.program.text());
                return Err(CallError::new(ErrorKind::Fatal, message));
            }
        }
        let message = format!("`{}` died {MAX_ATTEMPTS} times over this request: {died}", self.program.text());
        Err(CallError::new(ErrorKind::Permanent, message))
    }

    /// Returns an answer in the form in which it is kept.
    fn said(&self, said: Map<String, Value>) -> Result<String, CallError> {
        if let Some(error) = said.get("error").filter(|error| !error.is_null()) {
            let error = error.as_str().map_or_else(|| error.to_string(), str::to_owned);
            return Err(CallError::new(ErrorKind::Permanent, format!("`{}`: {}", self.program.text(), start(&error))));
        }
        let text = |name: &str| said.get(name).and_then(Value::as_str).map(str::to_owned);
        let count = |name: &str| said.get("usage").and_then(|usage| usage.get(name)?.as_u64());
        let calls = said.get("tool_calls").cloned().unwrap_or_default();
        let says_more = calls.is_array() || text("refusal").is_some() || text("reasoning").is_some();
        let Some(completion) = text("completion").or_else(|| says_more.then(String::new)) else {
            let shown = start(&Value::Object(said.clone()).to_string());
            let message = format!("`{}` printed `{shown}`, which has no `completion`", self.program.text());
            return Err(CallError::new(ErrorKind::Permanent, message));
        };
        let answer = LocalAnswer {
            text: completion,
            reasoning: text("reasoning"),
            refusal: text("refusal"),
            tool_calls: calls,
            finish_reason: text("finish_reason"),
            prompt_tokens: count("prompt_tokens"),
            completion_tokens: count("completion_tokens"),
        };
        Ok(serde_json::to_string(&answer).expect("answers are JSON"))
    }
}

/// Writes requests until there are no more, or the process does not take them.
fn write(mut stdin: ChildStdin, lines: &std::sync::mpsc::Receiver<Vec<u8>>) {
    while let Ok(line) = lines.recv() {
        if stdin.write_all(&line).and_then(|()| stdin.flush()).is_err() {
            return;
        }
    }
}

/// Reads answers until the process ends, and hands them to those who wait. Returns why it ended.
fn read(output: Output, waiting: &Waiting, deaths: &AtomicU64, program: &str) -> Silence {
    let mut lines = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        match lines.read_until(b'\n', &mut line) {
            Ok(0) => {
                deaths.fetch_add(1, Ordering::Relaxed);
                return Silence::Died("the program ended although there were requests".to_owned());
            }
            Ok(_) if line.trim_ascii().is_empty() => continue,
            Ok(_) => {}
            Err(error) => {
                deaths.fetch_add(1, Ordering::Relaxed);
                return Silence::Died(error.to_string());
            }
        }
        let parsed: Option<Map<String, Value>> = serde_json::from_slice(&line).ok();
        let number = parsed.as_ref().and_then(|answer| answer.get("id")?.as_u64());
        let (Some(answer), Some(number)) = (parsed, number) else {
            let shown = start(&String::from_utf8_lossy(&line));
            return Silence::Nonsense(format!(
                "`{program}` printed `{}`, which is no answer: a line of JSON with the `id` of the request; logs go to standard error",
                shown.trim()
            ));
        };
        deaths.store(0, Ordering::Relaxed);
        let mut waiting = waiting.lock().expect("no panic while locked");
        if let Some(sender) = waiting.as_mut().and_then(|waiting| waiting.remove(&number)) {
            // Whoever asked may have given up.
            let _ = sender.send(Ok(answer));
        }
    }
}

impl Provider for Command {
    fn identity(&self) -> Map<String, Value> {
        self.identity.clone()
    }

    fn launch(&self) -> Option<Launch> {
        Some(self.launch.clone())
    }

    fn reach(&self) -> Reach {
        Reach::Process
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn body(&self, request: &Request, out: &mut Vec<u8>) {
        local_body(request, out);
    }

    fn send<'a>(&'a self, body: &'a Bytes, request: &'a Request) -> BoxFuture<'a, Result<Sent, CallError>> {
        Box::pin(async move { self.answer(body, request).await.and_then(local_sent) })
    }

    fn read(&self, raw: &str) -> Result<Reply, CallError> {
        LocalAnswer::read(raw)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Message;
    use serde_json::json;

    use super::super::local::testing;
    use super::*;

    /// A program in which `answer` is what is printed for a request `q` and its number `n`, and `n` counts from 1.
    fn ask(root: &Path, body: &str, prompts: &[&str]) -> Vec<Result<String, CallError>> {
        let script = format!(
            "import sys, json, os\nn = 0\nfor line in sys.stdin:\n    n += 1\n    q = json.loads(line)\n    text = q['messages'][-1]['content']\n{body}\n    sys.stdout.flush()\n"
        );
        std::fs::write(root.join("m.py"), script).unwrap();
        let provider = testing::build_at(build, root, &json!({ "command": "python3 m.py", "timeout": 2 })).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let asked = prompts.iter().map(|prompt| {
            let provider = &*provider;
            async move {
                let messages = vec![Message::new("user", *prompt)];
                let request = Request { messages, options: Arc::default(), sample: 0 };
                let mut body = Vec::new();
                provider.body(&request, &mut body);
                provider.send(&body.into(), &request).await.map(|sent| sent.reply.text)
            }
        });
        runtime.block_on(futures_util::future::join_all(asked))
    }

    #[test]
    fn one_process_answers_many_in_any_order() {
        let root = tempfile::tempdir().unwrap();
        let body = "    q['completion'] = text.upper() + ' ' + str(os.getpid())\n    held = globals().setdefault('held', [])\n    held.append(json.dumps({'id': q['id'], 'completion': q['completion']}))\n    if len(held) == 3:\n        print('\\n'.join(reversed(held)))\n        held.clear()";
        let answers = ask(root.path(), body, &["a", "b", "c", "d", "e", "f"]);
        let texts: Vec<&str> =
            answers.iter().map(|answer| answer.as_ref().unwrap().split(' ').next().unwrap()).collect();
        assert_eq!(texts, ["A", "B", "C", "D", "E", "F"]);
        let processes: std::collections::BTreeSet<&str> =
            answers.iter().map(|answer| answer.as_ref().unwrap().split(' ').nth(1).unwrap()).collect();
        assert_eq!(processes.len(), 1);
    }

    #[test]
    fn a_program_that_dies_is_started_anew_and_its_last_words_are_told() {
        let root = tempfile::tempdir().unwrap();
        let body = "    if n == 3:\n        sys.exit('out of memory')\n    print(json.dumps({'id': q['id'], 'completion': text}))";
        let answers = ask(root.path(), body, &["a", "b", "c", "d", "e"]);
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        let answers = ask(root.path(), "    sys.exit('no such weights')", &["a", "b"]);
        let error = answers[0].as_ref().unwrap_err();
        assert_eq!(error.kind, ErrorKind::Fatal);
        assert!(
            error.message.contains("ended 3 times") && error.message.contains("no such weights"),
            "{}",
            error.message
        );
        // Over one request alone it dies each time; the others are answered.
        let body = "    if text == 'bad':\n        sys.exit('bad request')\n    print(json.dumps({'id': q['id'], 'completion': text}))\n    sys.stdout.flush()\n    import time; time.sleep(0.05)";
        let answers = ask(root.path(), body, &["a", "bad"]);
        assert!(answers[0].is_ok() && answers[1].as_ref().unwrap_err().message.contains("bad request"), "{answers:?}");
    }

    #[test]
    fn what_is_no_answer_is_told() {
        let root = tempfile::tempdir().unwrap();
        for (body, told) in [
            ("    print('Loading model')", "printed `Loading model`, which is no answer"),
            ("    print(json.dumps({'id': q['id']}))", "which has no `completion`"),
            ("    print(json.dumps({'id': q['id'], 'error': 'too long'}))", "`python3 m.py`: too long"),
            ("    import time; time.sleep(60)", "did not answer within 2 s"),
        ] {
            let error = ask(root.path(), body, &["a"]).remove(0).unwrap_err();
            assert!(error.message.contains(told), "{}", error.message);
        }
    }
}
