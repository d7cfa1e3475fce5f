//! Servers that fail, slow down, lie or are not there; keys that must not leak.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::support::{Ran, Reply, Server, Workspace, default_reply, files, standard};

fn error(status: u16, message: &str) -> Reply {
    Reply::Raw(
        status,
        vec![("content-type", "application/json".to_owned())],
        format!("{{\"error\": {{\"message\": \"{message}\"}}}}"),
    )
}

#[test]
fn every_tenth_call_a_500_and_the_run_completes() {
    let server = Server::start(|number, body, _| match number % 10 {
        0 => error(500, "overloaded"),
        _ => Reply::Text(default_reply(body)),
    });
    let workspace = standard(&server, 50);
    let run = workspace.run(&[]).code(0).json();
    assert!(run["nodes"].as_array().unwrap().iter().all(|node| node["failed"] == 0 && node["missing"] == 0));
    assert_eq!(workspace.run(&[]).code(0).ran().len(), 0);
}

#[test]
fn a_dead_endpoint_is_named_once_and_soon() {
    let server = Server::plain();
    let workspace = standard(&server, 50);
    // A port that was free a moment ago, so nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dead = format!("http://127.0.0.1:{port}/v1");
    workspace.edit("pipelines/p.yaml", &server.url, &dead);
    let start = Instant::now();
    let ran = workspace.run(&[]).code(3);
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    let named = ran.stderr.lines().filter(|line| line.contains(&dead)).count();
    assert_eq!(named, 2, "once per model that was asked:\n{}", ran.stderr);
    let run = ran.json();
    assert_eq!(run["nodes"][1]["outcome"], "failed");
    assert!(run["nodes"].as_array().unwrap().iter().any(|node| node["outcome"] == "skipped"));
}

#[test]
fn a_retry_after_is_honoured() {
    let server = Server::start(|number, body, _| match number {
        1 => Reply::Raw(429, vec![("retry-after", "1".to_owned())], "slow down".to_owned()),
        _ => Reply::Text(default_reply(body)),
    });
    let workspace = standard(&server, 3);
    workspace.edit("pipelines/p.yaml", "revision: a", "revision: a, concurrency: 1");
    let start = Instant::now();
    workspace.run(&["--only", "answers.base"]).code(0);
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(server.count(), 4);
}

/// A server with a limit is used up to it and no row is lost, whatever it says beside the 429. How few calls are refused
/// depends on how busy the machine is that both run on: `provider::pace` holds that with a simulated clock. A pool that
/// looked for no limit would send thousands here.
#[test]
fn a_limit_of_the_server_is_found_and_loses_no_row() {
    for headers in [vec![], vec![("retry-after", "0".to_owned())]] {
        let of_server = headers.clone();
        let server = Server::start(move |_, body, _| {
            Reply::Limited(8, Duration::from_millis(20), default_reply(body), of_server.clone())
        });
        let workspace = standard(&server, 600);
        // A refused call is no attempt: one is all that there may be.
        workspace.edit("pipelines/p.yaml", "revision: a", "revision: a, concurrency: 64, max_attempts: 1");
        let run = workspace.run(&["--only", "answers.base"]).code(0).json();
        assert_eq!(run["summary"]["answers"]["base"]["coverage"]["value"], 1.0);
        let calls = server.count();
        assert!(calls <= 1_200, "{headers:?}: {} of {calls} calls were refused", calls - 600);
    }
}

#[test]
fn a_server_that_refuses_everything_is_given_up_with_its_own_words() {
    let server = Server::start(|_, _, _| {
        Reply::Raw(429, vec![("retry-after", "60".to_owned())], "{\"error\": \"quota of today\"}".to_owned())
    });
    let workspace = standard(&server, 20);
    workspace.edit("pipelines/p.yaml", "revision: a", "revision: a, patience: 30");
    let ran = workspace.run(&["--only", "answers.base"]).code(3);
    assert!(ran.stderr.contains("quota of today"), "{}", ran.stderr);
    assert!(ran.stderr.contains("it asks to wait 60 s, and `patience` is 30 s"), "{}", ran.stderr);
    assert!(server.count() <= 16, "what is in flight at once, and no more");
}

#[test]
fn no_money_left_stops_at_once() {
    for (status, body) in [
        (429, "{\"error\": {\"code\": \"insufficient_quota\", \"message\": \"check your plan\"}}"),
        (402, "{\"error\": {\"message\": \"check your plan\"}}"),
        (200, "{\"error\": {\"code\": \"insufficient_quota\", \"message\": \"check your plan\"}}"),
    ] {
        let server = Server::start(move |_, _, _| Reply::Raw(status, Vec::new(), body.to_owned()));
        let workspace = standard(&server, 100);
        workspace.edit("pipelines/p.yaml", "revision: a", "revision: a, concurrency: 2");
        let start = Instant::now();
        let ran = workspace.run(&["--only", "answers.base"]).code(3);
        assert!(ran.stderr.contains("check your plan"), "{}", ran.stderr);
        assert!(server.count() <= 2 && start.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn concurrency_is_bounded_and_requests_overlap() {
    let server = Server::start(|_, body, _| Reply::Slow(Duration::from_millis(30), default_reply(body)));
    let workspace = standard(&server, 60);
    workspace.edit("pipelines/p.yaml", "revision: a", "revision: a, concurrency: 7");
    workspace.run(&["--only", "answers.base"]).code(0);
    assert_eq!(server.most_in_flight(), 7);
}

#[test]
fn a_few_failures_are_missing_many_fail_the_node() {
    // The calls of one row are refused for good; the others work.
    let refuse = |needle: &'static str| {
        move |_: usize, body: &serde_json::Value, _: &axum::http::HeaderMap| {
            let is_bad = body["model"] == "m-tuned" && super::support::prompt(body).contains(needle);
            if is_bad { error(400, "content is not allowed") } else { Reply::Text(default_reply(body)) }
        }
    };
    let server = Server::start(refuse("question 7"));
    let workspace = standard(&server, 40);
    let ran = workspace.run(&[]).code(0);
    assert!(
        ran.stderr.contains("1 of 40 rows failed") && ran.stderr.contains("content is not allowed"),
        "{}",
        ran.stderr
    );
    let run = ran.json();
    assert_eq!(run["summary"]["answers"]["tuned"]["coverage"]["missing"], 1);
    let exact = &run["summary"]["exact"]["tuned"]["exact_match"];
    assert_eq!(
        (exact["n"].as_u64(), exact["missing"].as_u64()),
        (Some(39), Some(1)),
        "a failed row is missing, not wrong"
    );
    assert_eq!(run["summary"]["duel"]["tuned"]["win_rate"]["missing"], 1);
    let failed = workspace.etalon(&["show", "p", "answers.tuned", "--failed", "--format", "json"]).code(0).stdout;
    assert_eq!(failed.lines().count(), 1);
    assert!(failed.contains("content is not allowed"));
    server.count();
    let plan = workspace.plan(&[]).code(0).json();
    let node = plan["nodes"].as_array().unwrap().iter().find(|node| node["node"] == "answers.tuned").unwrap().clone();
    assert_eq!(
        (node["state"].as_str(), node["reason"].as_str(), node["calls"].as_u64()),
        (Some("run"), Some("1 row failed before"), Some(1))
    );
    // The row is tried again and fails again, and everything behind it stays cached.
    assert_eq!(workspace.run(&[]).code(0).ran(), ["answers.tuned"]);
    assert_eq!(server.count(), 1);

    let server = Server::start(refuse("question"));
    let workspace = standard(&server, 40);
    let ran = workspace.run(&[]).code(3);
    assert!(ran.stderr.contains("calls failed, 2 may"), "{}", ran.stderr);
    assert!(server.count() < 40 + 40 + 40 + 40, "it gives up early");
    assert_eq!(ran.json()["nodes"].as_array().unwrap().iter().filter(|node| node["outcome"] == "skipped").count(), 3);
}

#[test]
fn a_missing_key_is_named_before_the_first_row() {
    let server = Server::plain();
    let workspace = standard(&server, 20);
    workspace.edit("pipelines/p.yaml", "model: m-grader", "model: m-grader, api_key_env: ETALON_NO_SUCH_KEY");
    let plan = workspace.plan(&[]).code(0);
    assert!(
        plan.stderr.contains("model grader: ") && plan.stderr.contains("export ETALON_NO_SUCH_KEY="),
        "{}",
        plan.stderr
    );
    let ran = workspace.run(&[]).code(3);
    assert!(ran.stderr.contains("export ETALON_NO_SUCH_KEY="), "{}", ran.stderr);
    assert_eq!(server.count(), 0, "nothing is bought for a judge that cannot judge");
    workspace.run(&["--only", "exact"]).code(0);
    assert_eq!(server.count(), 40, "what needs no judge runs");
    // A judge that cannot be reached is found just as early.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let workspace = standard(&server, 20);
    workspace.edit(
        "pipelines/p.yaml",
        "model: m-grader",
        &format!("model: m-grader, base_url: 'http://127.0.0.1:{port}/v1'"),
    );
    let ran = workspace.run(&[]).code(3);
    assert!(
        ran.stderr.contains("model grader (pipelines/p.yaml:6): http://127.0.0.1")
            && ran.stderr.contains("cannot be reached"),
        "{}",
        ran.stderr
    );
    assert_eq!(server.count(), 0);
}

#[test]
fn a_slow_answer_ends_with_its_timeout() {
    let server = Server::start(|_, body, _| Reply::Slow(Duration::from_secs(5), default_reply(body)));
    let workspace = standard(&server, 1);
    workspace.edit("pipelines/p.yaml", "revision: a", "revision: a, timeout: 0.3, max_attempts: 1");
    let ran = workspace.run(&["--only", "answers.base"]).code(3);
    assert!(ran.stderr.contains("did not answer within 0.3 s"), "{}", ran.stderr);
}

#[test]
fn broken_answers_are_retried_and_named() {
    let server = Server::start(|number, body, _| match number % 3 {
        1 => Reply::Raw(200, vec![], "<html>gateway</html>".to_owned()),
        2 => Reply::Raw(200, vec![], "{\"choices\": []}".to_owned()),
        _ => Reply::Text(default_reply(body)),
    });
    let workspace = standard(&server, 2);
    workspace.edit("pipelines/p.yaml", "revision: a", "revision: a, concurrency: 1");
    workspace.run(&["--only", "answers.base"]).code(0);
    let server =
        Server::start(|_, _, _| Reply::Raw(302, vec![("location", "http://127.0.0.1:1/".to_owned())], String::new()));
    let workspace = standard(&server, 2);
    let ran = workspace.run(&["--only", "answers.base"]).code(3);
    assert!(ran.stderr.contains("redirects are not followed"), "{}", ran.stderr);
    assert_eq!(server.count(), 2, "a redirect is not retried");
}

#[test]
fn a_key_appears_nowhere() {
    let canary = "sk-canary-4f1d8a";
    // The server repeats the API key in answers and in errors.
    let server = Server::start(move |number, body, headers| {
        let key = headers["authorization"].to_str().unwrap().to_owned();
        assert!(key.ends_with(canary));
        if number.is_multiple_of(10) {
            error(401, &format!("wrong key: {key}"))
        } else {
            Reply::Text(format!("{} {key}", default_reply(body)))
        }
    });
    let workspace = standard(&server, 30);
    workspace.edit("pipelines/p.yaml", "revision: a", "revision: a, api_key_env: CANARY_KEY");
    let run = |arguments: &[&str]| {
        let output = workspace.command(arguments).env("CANARY_KEY", canary).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!text.contains(canary), "{text}");
        text
    };
    assert!(run(&["run", "p"]).contains("[key]"));
    run(&["run", "p", "--set", "x=1"]);
    run(&["show", "p", "answers"]);
    for file in files(&workspace.path("")) {
        let bytes = std::fs::read(&file).unwrap();
        let text = match file.extension().is_some_and(|extension| extension == "zst") {
            true => zstd::decode_all(bytes.as_slice()).unwrap(),
            false => bytes,
        };
        assert!(!String::from_utf8_lossy(&text).contains(canary), "{}", file.display());
    }
    let ran = workspace.run(&["--refresh", "answers"]).code(3);
    assert!(ran.stderr.contains("CANARY_KEY is not set: export CANARY_KEY="), "{}", ran.stderr);
}

#[test]
fn credentials_in_a_spec_are_refused() {
    let server = Server::plain();
    let workspace = standard(&server, 2);
    workspace.edit("pipelines/p.yaml", "revision: a", "revision: a, headers: { Authorization: Bearer x }");
    assert!(workspace.run(&[]).code(2).stdout.contains("carries a credential"));
    let workspace = standard(&server, 2);
    workspace.edit("pipelines/p.yaml", "http://", "http://user:pass@");
    assert!(workspace.run(&[]).code(2).stdout.contains("carries a credential"));
}

#[test]
fn an_interrupt_keeps_what_arrived() {
    let server = Server::start(|_, body, _| Reply::Slow(Duration::from_millis(50), default_reply(body)));
    let workspace = standard(&server, 200);
    let child = workspace.spawn(&["run", "pipelines/p.yaml", "--format", "json"]);
    while server.seen() < 40 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let status = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    let ran = super::support::finish(child).code(130);
    assert_eq!(ran.json()["interrupted"], true);
    let before = server.count();
    workspace.run(&["--only", "answers"]).code(0);
    assert_eq!(before + server.count(), 400, "nothing that arrived is bought again");
}

/// Waits until a program has written its id, and interrupts etalon; both must end soon.
fn interrupted_with_its_program(workspace: &Workspace, arguments: &[&str]) -> Ran {
    let child = workspace.spawn(arguments);
    let pid = loop {
        match std::fs::read_to_string(workspace.path("pid")) {
            Ok(pid) if pid.ends_with('\n') => break pid.trim().to_owned(),
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let start = Instant::now();
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let ran = super::support::finish(child).code(130);
    assert!(start.elapsed() < Duration::from_secs(5), "it took {:?}", start.elapsed());
    let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let is_gone = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        stat().is_empty() || stat().contains(") Z ")
    });
    assert!(is_gone, "{}", stat());
    ran
}

#[test]
fn an_interrupt_ends_the_programs_of_a_run() {
    let server = Server::plain();
    let workspace = standard(&server, 4);
    let program = "sh -c 'echo $$ > pid.new; mv pid.new pid; exec sleep 60' | cat";
    let metric = format!("metrics: {{ own: {{ metric: command, command: \"{program}\", files: [] }}, ");
    workspace.edit("pipelines/p.yaml", "metrics: [exact_match]", &format!("{metric} exact_match: }}"));
    let run = interrupted_with_its_program(&workspace, &["run", "p", "--format", "json"]).json();
    assert_eq!(run["interrupted"], true);
    assert!(run["nodes"].as_array().unwrap().iter().all(|node| node["outcome"] != "failed"), "{run}");
    std::fs::remove_file(workspace.path("pid")).unwrap();
    let metric = format!("command:command={program}");
    workspace.write("predictions.csv", "prediction,reference\na,b\n");
    interrupted_with_its_program(&workspace, &["score", "predictions.csv", "--metric", &metric]);
}

#[test]
fn an_interrupt_ends_the_program_of_a_dataset() {
    let workspace = Workspace::new();
    workspace.write("pipelines/p.yaml", "etalon: 1\nstages:\n  d:\n    kind: dataset\n    command: \"echo '{}'; echo $$ > pid.new; mv pid.new pid; sleep 60 | cat\"\n    files: []\n");
    let run = interrupted_with_its_program(&workspace, &["run", "p", "--format", "json"]).json();
    assert_eq!((&run["interrupted"], &run["nodes"][0]["outcome"]), (&true.into(), &"skipped".into()), "{run}");
}

#[test]
fn each_request_is_sent_once_however_often_it_is_asked() {
    let seen: &'static Mutex<HashMap<String, usize>> = Box::leak(Box::default());
    let server = Server::start(move |_, body, _| {
        *seen.lock().unwrap().entry(body.to_string()).or_default() += 1;
        Reply::Slow(Duration::from_millis(5), default_reply(body))
    });
    let workspace = standard(&server, 10);
    let same: String =
        (0..50).map(|i| format!("{{\"key\": \"r{i}\", \"question\": \"the same\", \"gold\": \"{i}\"}}\n")).collect();
    workspace.write("data/rows.jsonl", same);
    let plan = workspace.plan(&[]).code(0).json();
    let planned = |name: &str| {
        plan["nodes"].as_array().unwrap().iter().find(|node| node["node"] == name).unwrap()["calls"].as_u64().unwrap()
    };
    assert_eq!((planned("answers.base"), planned("answers.tuned")), (1, 1));
    workspace.run(&[]).code(0);
    assert!(seen.lock().unwrap().values().all(|count| *count == 1));
}

#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged() {
    let server = Server::plain();
    let workspace = standard(&server, 200);
    // A limit on the size of files stands in for a full disk.
    let script = format!(
        "ulimit -f 40; trap '' XFSZ; exec {} run pipelines/p.yaml --only answers.base",
        env!("CARGO_BIN_EXE_etalon")
    );
    let output =
        std::process::Command::new("bash").args(["-c", &script]).current_dir(workspace.path("")).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("failed to append"), "{stderr}");
    let before = server.count();
    assert!(before < 200);
    workspace.run(&["--only", "answers.base"]).code(0);
    let again = before + server.count() - 200;
    assert!(again <= 16, "{again} calls were bought again");
}

#[test]
fn a_result_that_cannot_be_written_is_no_success() {
    let server = Server::plain();
    let workspace = standard(&server, 3);
    workspace.run(&[]).code(0);
    let shell = |script: &str| {
        let script = script.replace("etalon", env!("CARGO_BIN_EXE_etalon"));
        let output =
            std::process::Command::new("bash").args(["-c", &script]).current_dir(workspace.path("")).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, stderr) = shell("etalon run p --format json > /dev/full");
    assert_eq!(code, Some(4), "{stderr}");
    assert!(stderr.contains("standard output"), "{stderr}");
    // If the reader of the output goes away, the exit code stays the same, also that of a failed gate.
    let spec = workspace.read("pipelines/p.yaml");
    workspace.write("pipelines/p.yaml", format!("{spec}gates: [quality.tuned.accuracy >= 5]\n"));
    assert_eq!(shell("set -o pipefail; etalon run p | true").0, Some(1));
    assert_eq!(shell("set -o pipefail; etalon show p answers | head -1").0, Some(0));
    let json = workspace.etalon(&["run", "p", "--format", "json", "--workspace", "/nowhere/at/all"]).code(2).json();
    assert!(json["problems"][0]["message"].as_str().unwrap().contains("there is no directory"));
}

#[test]
fn two_names_for_one_model_buy_once() {
    let server = Server::plain();
    let workspace = standard(&server, 10);
    workspace
        .edit("pipelines/p.yaml", "  grader:", "  twin: { extends: tuned, revision: b, concurrency: 3 }\n  grader:")
        .edit("pipelines/p.yaml", "models: [base, tuned]", "models: [base, tuned, twin]");
    let plan = workspace.plan(&["--only", "answers"]).code(0).json();
    assert_eq!(plan["total"]["calls"], 20);
    workspace.run(&["--only", "answers"]).code(0);
    assert_eq!(server.count(), 20);
    workspace.run(&["--only", "answers", "--refresh", "answers"]).code(0);
    assert_eq!(server.count(), 20, "a refresh buys each request once");
}

#[test]
fn damage_that_only_showing_finds_is_mended_by_the_next_run() {
    let server = Server::plain();
    let workspace = standard(&server, 10);
    workspace.run(&[]).code(0);
    server.count();
    for artifact in files(&workspace.path("cache/artifacts")) {
        let mut bytes = std::fs::read(&artifact).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        std::fs::write(&artifact, bytes).unwrap();
    }
    let shown = workspace.etalon(&["show", "p", "answers.base"]).code(3);
    assert!(shown.stderr.contains("makes them again"), "{}", shown.stderr);
    workspace.run(&[]).code(0);
    assert_eq!(workspace.show("answers.base").len(), 10);
    assert_eq!(server.count(), 0);
}
