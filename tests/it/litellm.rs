//! Both chat providers against a real server by others: LiteLLM's proxy, which `.ci/setup` installs and this test
//! starts.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::support::{Ran, Workspace, rows, set_up};

/// A running proxy; ended when dropped.
struct Proxy {
    child: Child,
    port: u16,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Proxy {
    fn start() -> Proxy {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        set_up("litellm");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(root.join("target/litellm/bin/litellm"));
        command
            .args(["--config", "litellm.yaml", "--host", "127.0.0.1", "--telemetry", "False", "--port"])
            .arg(port.to_string())
            .current_dir(root.join("tests/litellm"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("LITELLM_RATE_LIMIT_WINDOW_SIZE", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // The proxy must not contact any other server.
        for (name, value) in [
            ("LITELLM_LOCAL_MODEL_COST_MAP", "True"),
            ("LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS", "True"),
            ("LITELLM_LOCAL_BLOG_POSTS", "True"),
            ("LITELLM_LOCAL_POLICY_TEMPLATES", "True"),
            ("LITELLM_TELEMETRY", "False"),
            ("LITELLM_MODE", "PRODUCTION"),
            ("DISABLE_ADMIN_UI", "True"),
            ("NO_DOCS", "True"),
            ("HF_HUB_OFFLINE", "1"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ] {
            command.env(name, value);
        }
        let proxy = Proxy { child: command.spawn().unwrap(), port };
        let start = Instant::now();
        while !proxy.is_alive() {
            assert!(start.elapsed() < Duration::from_secs(120), "LiteLLM did not start");
            std::thread::sleep(Duration::from_millis(100));
        }
        proxy
    }

    fn is_alive(&self) -> bool {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(b"GET /health/liveliness HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().is_ok_and(|answer| answer.contains(" 200 "))
    }

    fn workspace(&self, n: usize) -> Workspace {
        let workspace = Workspace::new();
        let spec = format!(
            r#"
etalon: 1
name: p
models:
  chat: {{ provider: openai, base_url: "http://127.0.0.1:{port}/v1", model: echo, revision: a, api_key_env: TEST_KEY }}
  claude: {{ provider: anthropic, base_url: "http://127.0.0.1:{port}", model: echo, revision: a, api_key_env: TEST_KEY }}
  too_long: {{ extends: chat, model: always-too-long, revision: a }}
  broken: {{ extends: claude, model: always-500, revision: a, max_attempts: 2 }}
  nobody: {{ extends: chat, model: no-such-model, revision: a }}
stages:
  rows: {{ kind: dataset, path: data/rows.jsonl, id: key }}
  answers:
    kind: inference
    input: rows
    models: [chat, claude]
    system: Say it again.
    prompt: "{{{{ row.question }}}} é \U0001F600"
    options: {{ temperature: 0, max_tokens: 20 }}
  echoed:
    kind: metric
    input: answers
    metrics: {{ exact_match: {{ reference: "{{{{ row.question }}}} é \U0001F600" }}, latency: }}
  bad: {{ kind: inference, input: rows, models: [too_long, broken, nobody], prompt: "{{{{ row.question }}}}" }}
"#,
            port = self.port
        );
        workspace.write("data/rows.jsonl", rows(n)).write("pipelines/p.yaml", spec);
        workspace
    }
}

fn run(workspace: &Workspace, key: &str, arguments: &[&str]) -> Ran {
    let mut all = vec!["run", "p", "--format", "json"];
    all.extend(arguments);
    Ran::of(workspace.command(&all).env("TEST_KEY", key).output().unwrap())
}

#[test]
fn both_providers_work_with_a_real_proxy() {
    let proxy = Proxy::start();
    let workspace = proxy.workspace(12);
    let first = run(&workspace, "sk-etalon", &["--only", "echoed"]).code(0);
    for model in ["chat", "claude"] {
        let metric = &first.json()["summary"]["echoed"][model];
        assert_eq!(
            (metric["exact_match"]["value"].as_f64(), metric["exact_match"]["n"].as_u64()),
            (Some(1.0), Some(12))
        );
        let rows = workspace.etalon(&["show", "p", &format!("answers.{model}"), "--format", "json", "--meta"]).code(0);
        let row: serde_json::Value = serde_json::from_str(rows.stdout.lines().next().unwrap()).unwrap();
        assert_eq!((row["status"].as_str(), row["finish_reason"].as_str()), (Some("ok"), Some("stop")));
        assert!(row["meta"]["prompt_tokens"].as_u64() > Some(0) && row["meta"]["completion_tokens"].as_u64() > Some(0));
    }
    assert!(run(&workspace, "sk-etalon", &["--only", "echoed"]).code(0).ran().is_empty());

    // The server's reason for refusing a call reaches the user.
    for (node, message) in [
        ("bad.too_long", "answered 400"),
        ("bad.broken", "answered 500 Internal Server Error: litellm.InternalServerError"),
        ("bad.nobody", "no-such-model"),
    ] {
        let ran = run(&workspace, "sk-etalon", &["--only", node]).code(3);
        assert!(ran.stderr.contains(message), "{node}: {}", ran.stderr);
    }
    let ran = run(&workspace, "sk-wrong", &["--only", "answers", "--refresh", "answers"]).code(3);
    assert!(ran.stderr.contains("401") && !ran.stderr.contains("sk-wrong"), "{}", ran.stderr);

    // Three calls per second are allowed; the others wait as long as the server asks.
    let limited = proxy.workspace(9);
    let ran = run(&limited, "sk-limited", &["--only", "answers.chat"]).code(0).json();
    let node = ran["nodes"].as_array().unwrap().iter().find(|node| node["node"] == "answers.chat").unwrap();
    assert_eq!((node["rows"].as_u64(), node["failed"].as_u64(), node["calls"].as_u64()), (Some(9), Some(0), Some(9)));
}
