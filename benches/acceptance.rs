//! The acceptance figures, measured on whole processes: `cargo bench`.
//!
//! Each figure is compared with something real in the same run: a bare reqwest loop for calls, the server's own latency
//! for waiting, the number of rows for changed rows. The server is a process of its own on a loopback address. `cargo
//! bench -- NAME…` runs only the named scenarios; `ROWS=n` makes the large ones smaller.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::response::IntoResponse;
use serde_json::{Value, json};

type Scenario = (&'static str, fn());

const SCENARIOS: &[Scenario] = &[
    ("start", start),
    ("noop", noop),
    ("changed", changed),
    ("throughput", throughput),
    ("latency", latency),
    ("memory", memory),
    ("kill", kill),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.first().map(String::as_str) {
        Some("serve") => serve(arguments[1].parse().expect("a number of milliseconds")),
        Some("bare") => bare(&arguments[1], arguments[2].parse().expect("a number of calls"), Path::new(&arguments[3])),
        _ => {
            for (name, scenario) in SCENARIOS {
                if arguments.is_empty() || arguments.iter().any(|argument| argument == name) {
                    scenario();
                }
            }
        }
    }
}

fn rows_wanted(default: usize) -> usize {
    std::env::var("ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(default)
}

fn report(name: &str, value: &str, goal: &str) {
    println!("{name:<58} {value:>22}   goal {goal}");
}

// The server answers every chat completion after a while, and counts.

static CALLS: AtomicUsize = AtomicUsize::new(0);

fn serve(milliseconds: u64) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async move {
        let count = || async { CALLS.swap(0, Ordering::Relaxed).to_string() };
        let chat = move |body: Bytes| answer(body, milliseconds);
        let app = Router::new()
            .route("/count", axum::routing::get(count))
            .route("/v1/chat/completions", axum::routing::post(chat));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("an address"));
        axum::serve(listener, app).await.expect("it serves");
    });
}

async fn answer(body: Bytes, milliseconds: u64) -> impl IntoResponse {
    CALLS.fetch_add(1, Ordering::Relaxed);
    if milliseconds > 0 {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
    let text = format!("an answer of {} bytes to a prompt, as long as a label with its reason may be", body.len());
    let answer = format!(
        "{{\"id\":\"x\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"m\",\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"{text}\"}},\"finish_reason\":\"stop\"}}],\"usage\":{{\"prompt_tokens\":60,\"completion_tokens\":16,\"total_tokens\":76}}}}"
    );
    ([("content-type", "application/json")], answer)
}

struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(milliseconds: u64) -> Server {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["serve", &milliseconds.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut address = String::new();
        let mut out = std::io::BufReader::new(child.stdout.take().expect("its output"));
        std::io::BufRead::read_line(&mut out, &mut address).expect("its address");
        Server { child, address: address.trim().to_owned() }
    }

    /// Returns the number of calls since the last `count`.
    fn count(&self) -> usize {
        use std::io::Read;
        let mut stream = std::net::TcpStream::connect(&self.address).expect("it listens");
        write!(stream, "GET /count HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("it reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("it answers");
        text.rsplit("\r\n").next().and_then(|body| body.trim().parse().ok()).expect("a number")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// The bare loop sends, parses and logs, and does nothing else.

fn bare(url: &str, calls: usize, log: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let next = Arc::new(AtomicUsize::new(0));
    let log = Arc::new(std::sync::Mutex::new(std::fs::File::create(log).expect("a log")));
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(usize::MAX).build().expect("a client");
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..64 {
            let (next, log, client, url) = (next.clone(), log.clone(), client.clone(), url.to_owned());
            tasks.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= calls {
                        return;
                    }
                    let body = json!({"model": "m", "temperature": 0, "messages": [{"role": "user", "content": question(number)}]});
                    let response = client.post(&url).json(&body).send().await.expect("an answer");
                    let answer: Value = response.json().await.expect("JSON");
                    let text = answer["choices"][0]["message"]["content"].as_str().expect("a completion");
                    let line = format!("{}\n", json!({"id": number, "text": text}));
                    log.lock().expect("no panic").write_all(line.as_bytes()).expect("it is kept");
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    });
}

fn question(number: usize) -> String {
    format!(
        "Question {number}: a customer writes that parcel {} has not arrived, and asks what to do about it now.",
        number * 7919
    )
}

// Workspaces, and runs in them.

struct Workspace(tempfile::TempDir);

impl Workspace {
    fn new(server: &Server, rows: usize, concurrency: usize) -> Workspace {
        let workspace = Workspace(tempfile::tempdir().expect("a directory"));
        workspace.write("etalon.toml", "");
        workspace.write_rows(rows, 0);
        workspace.write(
            "pipelines/p.yaml",
            &format!(
                "etalon: 1
name: p
models:
  tuned: {{ provider: openai, base_url: \"http://{}/v1\", model: m, revision: a, concurrency: {concurrency} }}
stages:
  rows: {{ kind: dataset, path: data/rows.jsonl, id: key }}
  answers: {{ kind: inference, input: rows, model: tuned, prompt: \"{{{{ row.question }}}}\", options: {{ temperature: 0 }} }}
  exact: {{ kind: metric, input: answers, reference: \"{{{{ row.gold }}}}\", metrics: [exact_match] }}
  labels: {{ kind: metric, input: answers, prediction: \"{{{{ completion[:9] }}}}\", reference: \"{{{{ row.label }}}}\", metrics: [classification] }}
",
                server.address
            ),
        );
        workspace
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }

    /// Writes rows; every hundredth depends on `version`.
    fn write_rows(&self, rows: usize, version: usize) {
        let path = self.path("data/rows.jsonl");
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        let mut file = std::io::BufWriter::new(std::fs::File::create(path).expect("a file"));
        for number in 0..rows {
            let version = if number % 100 == 0 { version } else { 0 };
            let row = json!({
                "key": number, "question": format!("{} {version}", question(number)), "gold": format!("gold {number}"),
                "label": if number % 3 == 0 { "an answer" } else { "other" }, "note": "nobody reads this column, but it is there and takes its room",
            });
            writeln!(file, "{row}").expect("a row");
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_etalon"));
        command.args(arguments).current_dir(self.0.path()).stdout(Stdio::piped()).stderr(Stdio::null());
        command
    }

    /// Runs the pipeline; returns the seconds it took, and the run's document.
    fn run(&self) -> (f64, Value) {
        let start = Instant::now();
        let output = self.command(&["run", "p", "--format", "json"]).output().expect("it runs");
        let seconds = start.elapsed().as_secs_f64();
        assert!(output.status.success(), "{output:?}");
        (seconds, serde_json::from_slice(&output.stdout).expect("a document"))
    }
}

/// Returns the median time of several runs, in seconds.
fn median(runs: usize, mut once: impl FnMut() -> f64) -> f64 {
    let mut times: Vec<f64> = (0..runs).map(|_| once()).collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

// The scenarios.

fn start() {
    let server = Server::start(0);
    let workspace = Workspace::new(&server, 100, 16);
    let mut spec = std::fs::read_to_string(workspace.path("pipelines/p.yaml")).expect("the spec");
    for number in 0..6 {
        spec.push_str(&format!("  more{number}: {{ kind: metric, input: answers, metrics: [json_valid] }}\n"));
    }
    workspace.write("pipelines/p.yaml", &spec);
    let time = |arguments: &[&str]| {
        median(11, || {
            let start = Instant::now();
            assert!(workspace.command(arguments).status().expect("it runs").success());
            start.elapsed().as_secs_f64()
        })
    };
    report("etalon --version", &format!("{:.1} ms", 1e3 * time(&["--version"])), "10 ms");
    report("check, 10 stages", &format!("{:.1} ms", 1e3 * time(&["check", "p"])), "30 ms");
}

fn noop() {
    let rows = rows_wanted(100_000);
    let server = Server::start(0);
    let workspace = Workspace::new(&server, rows, 64);
    workspace.run();
    std::thread::sleep(Duration::from_millis(2_200));
    // A file younger than two seconds is not remembered, so this run digests it once more.
    workspace.run();
    server.count();
    let seconds = median(11, || workspace.run().0);
    assert_eq!(server.count(), 0);
    report(&format!("nothing to do, 4 stages, {rows} rows"), &format!("{:.1} ms", 1e3 * seconds), "50 ms");
}

fn changed() {
    let rows = rows_wanted(100_000);
    let server = Server::start(0);
    let workspace = Workspace::new(&server, rows, 64);
    workspace.run();
    server.count();
    let mut version = 0;
    let seconds = median(3, || {
        version += 1;
        workspace.write_rows(rows, version);
        let (seconds, _) = workspace.run();
        assert_eq!(server.count(), rows.div_ceil(100), "only the changed rows are sent");
        seconds
    });
    report(&format!("1 % of {rows} rows changed"), &format!("{seconds:.2} s"), "1.5 s");
    let start = Instant::now();
    workspace.write(
        "pipelines/p.yaml",
        &std::fs::read_to_string(workspace.path("pipelines/p.yaml"))
            .expect("the spec")
            .replace("{{ row.question }}", "Q: {{ row.question }}"),
    );
    assert!(workspace.command(&["plan", "p"]).status().expect("it runs").success());
    report(
        &format!("plan, {rows} rows, one template changed"),
        &format!("{:.2} s", start.elapsed().as_secs_f64()),
        "1 s",
    );
}

/// Enough rounds that a quarter of them may meet a busy machine.
const ROUNDS: usize = 16;

fn throughput() {
    let calls = rows_wanted(40_000);
    let server = Server::start(0);
    let log = tempfile::NamedTempFile::new().expect("a file");
    let url = format!("http://{}/v1/chat/completions", server.address);
    let bare_seconds = || {
        let start = Instant::now();
        let status = Command::new(std::env::current_exe().expect("this program"))
            .args(["bare", &url, &calls.to_string(), &log.path().to_string_lossy()])
            .status()
            .expect("it runs");
        assert!(status.success());
        start.elapsed().as_secs_f64()
    };
    let etalon_seconds = || {
        let workspace = Workspace::new(&server, calls, 64);
        let start = Instant::now();
        let status = workspace.command(&["run", "p", "--only", "answers"]).status().expect("it runs");
        assert!(status.success());
        start.elapsed().as_secs_f64()
    };
    bare_seconds();
    server.count();
    // The two alternate, so that whatever slows one round slows both.
    let mut ratios = Vec::new();
    let (mut bare_all, mut etalon_all) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let bare = bare_seconds();
        let etalon = etalon_seconds();
        assert_eq!(server.count(), 2 * calls);
        ratios.push(bare / etalon);
        bare_all.push(bare);
        etalon_all.push(etalon);
    }
    for values in [&mut ratios, &mut bare_all, &mut etalon_all] {
        values.sort_by(f64::total_cmp);
    }
    let rate = |seconds: f64| calls as f64 / seconds;
    report(
        &format!(
            "{calls} calls, 64 in flight ({:.0}/s, bare loop {:.0}/s)",
            rate(etalon_all[ROUNDS / 2]),
            rate(bare_all[ROUNDS / 2])
        ),
        &format!(
            "{:.2} of the bare loop (quartiles {:.2}, {:.2})",
            ratios[ROUNDS / 2],
            ratios[ROUNDS / 4],
            ratios[3 * ROUNDS / 4]
        ),
        "0.8",
    );
}

fn latency() {
    let server = Server::start(100);
    let seconds = median(3, || {
        let workspace = Workspace::new(&server, 1_000, 100);
        workspace.run().0
    });
    report("1,000 rows at 100 ms, 100 in flight", &format!("{seconds:.2} s"), "1.3 s (floor 1.0 s)");
}

fn memory() {
    let rows = rows_wanted(1_000_000);
    let server = Server::start(0);
    let workspace = Workspace::new(&server, rows, 64);
    let start = Instant::now();
    let mut peak = 0;
    for round in 0..2 {
        let mut child =
            workspace.command(&["run", "p", "--format", "json"]).stdout(Stdio::null()).spawn().expect("it runs");
        while child.try_wait().expect("it lives").is_none() {
            peak = peak.max(high_water(child.id()));
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(child.wait().expect("it ended").success());
        if round == 0 {
            // In the second pass, the log holds a million completions.
            workspace.write_rows(rows, 1);
        }
    }
    report(
        &format!("two passes over {rows} rows, peak memory ({:.0} s)", start.elapsed().as_secs_f64()),
        &format!("{} MB", peak / 1024),
        "500 MB",
    );
}

/// Returns the most memory that a process has held, in KiB.
fn high_water(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

fn kill() {
    let server = Server::start(2);
    let rows = 2_000;
    let workspace = Workspace::new(&server, rows, 16);
    let (mut kills, mut bought_before) = (0, 0);
    for round in 0..100u64 {
        let mut child = workspace.command(&["run", "p"]).stdout(Stdio::null()).spawn().expect("it runs");
        std::thread::sleep(Duration::from_millis(5 + (round * 7) % 40));
        if child.try_wait().expect("it lives").is_none() {
            child.kill().expect("it dies");
            kills += 1;
        }
        child.wait().expect("it ended");
        bought_before += server.count();
    }
    let (_, run) = workspace.run();
    let bought = bought_before + server.count();
    assert_eq!(run["summary"]["exact"]["tuned"]["exact_match"]["n"], rows);
    let undisturbed = Workspace::new(&server, rows, 16);
    let (_, other) = undisturbed.run();
    assert_eq!(run["nodes"][1]["artifact"], other["nodes"][1]["artifact"], "the rows equal an undisturbed run's");
    report(
        &format!("kill -9, {kills} times, {rows} rows, 16 in flight"),
        &format!("{} bought again", bought - rows),
        &format!("{} at most (16 in flight each)", 16 * kills),
    );
}
