//! Calls that cost money: what is paid is told, kept, and bought once; what is kept is what answered.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::support::{Ran, Reply, Server, Workspace, default_reply, finish, prompt, standard};

/// A pipeline of one model, whose fields are given, with two metrics.
fn priced(server: &Server, rows: usize, fields: &str) -> Workspace {
    let workspace = Workspace::new();
    let lines: String = (0..rows).map(|i| format!("{{\"id\": \"r{i}\", \"question\": \"q{i}\"}}\n")).collect();
    workspace.write("data/rows.jsonl", lines).write(
        "pipelines/p.yaml",
        format!(
            "etalon: 1\nname: p\nmodels:\n  base: {{ provider: openai, base_url: '{}', model: m, retry_seconds: 20, {fields} }}\nstages:\n  rows: {{ kind: dataset, path: data/rows.jsonl, id: id }}\n  answers: {{ kind: inference, input: rows, model: base, prompt: \"{{{{ row.question }}}}\", max_failures: 50% }}\n  took: {{ kind: metric, input: answers, metrics: [cost, tokens] }}\n",
            server.url
        ),
    );
    workspace
}

#[track_caller]
fn node(ran: &Ran, name: &str) -> Value {
    let document = ran.json();
    let nodes = document["nodes"].as_array().unwrap();
    nodes.iter().find(|node| node["node"] == name).cloned().unwrap_or_else(|| panic!("no {name} in {document}"))
}

fn usage(prompt_tokens: u64, completion_tokens: u64) -> Value {
    json!({ "prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens })
}

fn answer(text: &str, usage: &Value) -> Reply {
    let choice = json!({ "finish_reason": "stop", "message": { "content": text } });
    Reply::Raw(200, vec![], json!({ "choices": [choice], "usage": usage }).to_string())
}

#[test]
fn an_answer_without_choices_is_billed_bounded_and_told() {
    let server = Server::start(|_, body, _| match prompt(body).as_str() {
        "q1" | "q2" => Reply::Raw(200, vec![], json!({ "choices": [], "usage": usage(4_000, 0) }).to_string()),
        _ => answer("fine", &usage(10, 0)),
    });
    let workspace = priced(&server, 10, "price: { input: 1.0, output: 1.0 }");
    let ran = workspace.run(&[]).code(0);
    let answers = node(&ran, "answers.base");
    assert_eq!(server.count(), 12, "each useless answer is paid twice at most");
    assert_eq!(answers["calls"], 12);
    assert_eq!((&answers["bill"]["kept"], &answers["bill"]["useless"]), (&json!(8), &json!(4)));
    assert_eq!(answers["bill"]["wasted_usd"], 0.016);
    assert_eq!(answers["cost_usd"], 0.01608);
    let again = workspace.etalon(&["run", "p"]).code(0);
    assert_eq!(server.count(), 4);
    assert!(
        again.stdout.contains("4 calls, 4 of no use, 8 reused · $0.0160, $0.0160 of it wasted"),
        "{}",
        again.stdout
    );
    let log = std::fs::read_dir(workspace.path("cache/completions")).unwrap().next().unwrap().unwrap().path();
    let lines: String =
        std::fs::read_dir(log).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    assert_eq!(lines.matches("\"type\":\"useless\"").count(), 8, "what is billed is recorded");
}

#[test]
fn a_billed_answer_is_bounded_whatever_error_it_holds() {
    // A rate limit is no attempt and waited for; one that is billed each time is not.
    for code in [429, 500, 400] {
        let server = Server::start(move |_, body, _| match prompt(body).as_str() {
            "q1" => {
                let error = json!({ "code": code, "message": "no" });
                Reply::Raw(200, vec![], json!({ "error": error, "usage": usage(1_000, 0) }).to_string())
            }
            _ => answer("fine", &usage(10, 0)),
        });
        let workspace = priced(&server, 4, "price: { input: 1.0, output: 1.0 }");
        let ran = workspace.run(&[]).code(0);
        let asked = server.count() as u64;
        assert!(asked <= 5, "{code}: {asked} calls");
        let answers = node(&ran, "answers.base");
        assert_eq!((answers["calls"].as_u64(), &answers["failed"]), (Some(asked), &json!(1)), "{code}: {answers}");
        assert_eq!(answers["bill"]["useless"], asked - 3, "{code}");
    }
}

#[test]
fn a_price_belongs_to_its_model_and_not_to_the_desk() {
    let server = Server::start(|_, body, _| answer(&default_reply(body), &usage(1_000_000, 0)));
    let workspace = priced(&server, 5, "price: { input: 0.2, output: 0 }");
    workspace
        .edit("pipelines/p.yaml", "stages:\n", "  dear: { extends: base, price: { input: 2.0, output: 0 } }\nstages:\n")
        .edit("pipelines/p.yaml", "  took:", "  more: { kind: inference, input: rows, model: dear, prompt: \"More: {{ row.question }}\" }\n  same: { kind: inference, input: rows, model: dear, prompt: \"{{ row.question }}\" }\n  again: { kind: metric, input: same, metrics: [cost] }\n  took:");
    let ran = workspace.run(&[]).code(0);
    assert_eq!(server.count(), 10);
    assert_eq!(
        (&node(&ran, "answers.base")["cost_usd"], &node(&ran, "more.dear")["cost_usd"]),
        (&json!(1.0), &json!(10.0))
    );
    // Of nodes with one key the first makes it and pays, whichever would be the quickest.
    let same = node(&ran, "same.dear");
    assert_eq!((&same["outcome"], &same["reason"]), (&json!("cached"), &json!("made by answers.base")));
    // The same completions, each at the price of the model that asks.
    let summary = &ran.json()["summary"];
    assert_eq!(summary["took"]["base"]["cost"]["value"], 0.2);
    assert_eq!(summary["again"]["dear"]["cost"]["value"], 2.0);
    // Another price asks nobody, and changes what the metric says.
    workspace.edit("pipelines/p.yaml", "input: 0.2", "input: 0.4");
    let ran = workspace.run(&[]).code(0);
    assert_eq!((server.count(), ran.ran()), (0, vec!["took.base".to_owned()]));
    assert_eq!(ran.json()["summary"]["took"]["base"]["cost"]["value"], 0.4);
}

#[test]
fn nothing_is_rounded_and_no_usage_is_not_free() {
    let server = Server::start(|_, body, _| match prompt(body).as_str() {
        "q0" => answer("x", &Value::Null),
        _ => answer("x", &usage(7, 0)),
    });
    let workspace = priced(&server, 101, "price: { input: 0.07, output: 0 }");
    let ran = workspace.run(&[]).code(0);
    let answers = node(&ran, "answers.base");
    assert_eq!((&answers["cost_usd"], &answers["bill"]["unpriced"]), (&json!(0.000049), &json!(1)));
    let cost = &ran.json()["summary"]["took"]["base"]["cost"];
    assert_eq!((&cost["n"], &cost["missing"]), (&json!(100), &json!(1)));
    let plain = Server::start(|_, _, _| answer("x", &Value::Null));
    let workspace = priced(&plain, 3, "price: { input: 1, output: 1 }");
    assert_eq!(node(&workspace.run(&[]).code(0), "answers.base")["cost_usd"], Value::Null);
}

#[test]
fn cached_and_reasoning_tokens_have_prices_of_their_own() {
    let server = Server::start(|_, _, _| {
        answer(
            "x",
            &json!({
                "prompt_tokens": 1_000_000, "completion_tokens": 200_000,
                "prompt_tokens_details": { "cached_tokens": 600_000 },
                "completion_tokens_details": { "reasoning_tokens": 100_000 },
            }),
        )
    });
    let workspace = priced(&server, 1, "price: { input: 1, cached_input: 0.1, output: 4, reasoning: 2 }");
    let ran = workspace.run(&[]).code(0);
    assert_eq!(node(&ran, "answers.base")["cost_usd"], 0.4 + 0.06 + 0.4 + 0.2);
}

#[test]
fn a_budget_is_never_exceeded_and_the_next_run_goes_on() {
    let server =
        Server::start(|_, body, _| Reply::Slow(Duration::from_millis(3), format!("{} of a reply", prompt(body))));
    // Each call takes 10 and 3 tokens: 0.13 dollars.
    let workspace = priced(&server, 40, "price: { input: 10000, output: 10000 }, options: { max_tokens: 5 }");
    let ran = workspace.run(&["--budget", "2.00"]).code(3);
    let answers = node(&ran, "answers.base");
    let first = server.count();
    assert!(answers["cost_usd"].as_f64().unwrap() <= 2.0 && first > 8, "{answers}");
    assert!(answers["error"].as_str().unwrap().contains("the budget of $2.00"), "{answers}");
    workspace.write("etalon.toml", "budget = 1.5\n");
    let ran = workspace.run(&[]).code(3);
    let second = server.count();
    assert!(node(&ran, "answers.base")["cost_usd"].as_f64().unwrap() <= 1.5 && second > 4);
    let ran = workspace.run(&["--budget", "100"]).code(0);
    assert_eq!(first + second + server.count(), 40, "nothing is bought twice");
    assert_eq!(node(&ran, "answers.base")["reused"], first + second);
    // What has no price cannot be bounded.
    workspace.edit("pipelines/p.yaml", "price: { input: 10000, output: 10000 }, ", "");
    let refused = workspace.etalon(&["run", "p", "--budget", "1"]).code(2);
    assert!(refused.stderr.contains("model base has no price"), "{}", refused.stderr);
    workspace.write("etalon.toml", "budget = -1\n");
    workspace.run(&[]).code(2);
}

#[test]
fn a_plan_quotes_a_range_that_holds() {
    let server = Server::start(|_, body, _| {
        let number: u64 = prompt(body)[1..].parse().unwrap();
        let length = (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) % 40;
        answer("x", &usage(20, 80 + length))
    });
    let workspace = priced(&server, 400, "price: { input: 1, output: 10 }");
    let quote = |plan: &Value| {
        let dollars = |name: &str| plan["total"][name].as_f64().unwrap();
        (dollars("cost_low"), dollars("cost_usd"), dollars("cost_high"))
    };
    let (low, _, high) = quote(&workspace.plan(&[]).code(0).json());
    workspace.run(&["--limit", "200"]).code(0);
    let (near_low, near, near_high) = quote(&workspace.plan(&[]).code(0).json());
    assert!(near_high - near_low < (high - low) / 10.0, "earlier calls narrow it");
    let cost = node(&workspace.run(&[]).code(0), "answers.base")["cost_usd"].as_f64().unwrap();
    assert!(near_low <= cost && cost <= near_high && (cost / near - 1.0).abs() < 0.1, "{near_low} {cost} {near_high}");
    let plan = workspace.plan(&[]).code(0).json();
    assert_eq!((&plan["total"]["calls"], &plan["total"]["calls_high"]), (&json!(0), &json!(0)));
}

#[test]
fn what_the_key_cannot_tell_apart_is_refused() {
    let [wrong, right] = ["wrong", "right"].map(|word| Server::start(move |_, _, _| Reply::Text(word.to_owned())));
    let workspace = priced(&wrong, 3, "revision: main");
    workspace
        .edit(
            "pipelines/p.yaml",
            "stages:\n",
            &format!("  tuned: {{ extends: base, base_url: '{}', revision: main }}\nstages:\n", right.url),
        )
        .edit("pipelines/p.yaml", "model: base, prompt", "models: [base, tuned], prompt");
    workspace.run(&[]).code(0);
    assert_eq!((wrong.count(), right.count()), (3, 3), "a name that may move proves nothing");
    let commit = "0123456789abcdef0123456789abcdef01234567";
    workspace.edit("pipelines/p.yaml", "revision: main", &format!("revision: {commit}"));
    let refused = workspace.run(&[]).code(2).json();
    assert_eq!(refused["problems"][0]["code"], "M-TWINS");
    // Weights that turn out to be the same are found when they are digested.
    workspace.write("out/a/model.safetensors", "same").write("out/b/model.safetensors", "same");
    for (commit, folder) in [("a", "out/a"), ("b", "out/b")] {
        let text = workspace.read("pipelines/p.yaml");
        let _ = commit;
        workspace.write(
            "pipelines/p.yaml",
            text.replacen("revision: 0123456789abcdef0123456789abcdef01234567", &format!("weights: {folder}"), 1),
        );
    }
    let ran = workspace.run(&[]).code(3);
    assert!(ran.stderr.contains("are the same to the cache, and stand at different addresses"), "{}", ran.stderr);
    workspace.write("out/b/model.safetensors", "other");
    workspace.run(&[]).code(0);
}

#[test]
fn several_models_behind_one_name_are_told() {
    let served = AtomicUsize::new(0);
    let server = Server::start(move |_, _, _| {
        let revision = if served.fetch_add(1, Ordering::Relaxed) < 4 { "m-05" } else { "m-11" };
        let choice = json!({ "finish_reason": "stop", "message": { "content": "x" } });
        Reply::Raw(200, vec![], json!({ "model": revision, "choices": [choice] }).to_string())
    });
    let workspace = priced(&server, 6, "");
    let ran = workspace.run(&[]).code(0);
    let notes = node(&ran, "answers.base")["notes"].to_string();
    assert!(notes.contains("base was answered by several models: 4 × m-05, 2 × m-11"), "{notes}");
}

#[test]
fn a_file_that_is_touched_meanwhile_leaves_nothing_under_the_old_key() {
    let server = Server::start(|_, body, _| Reply::Slow(Duration::from_millis(400), default_reply(body)));
    let workspace = priced(&server, 4, "weights: out, concurrency: 2");
    workspace.write("out/model.safetensors", "one").write("score.py", "import sys\nfor line in sys.stdin: print(1)\n");
    workspace.edit("pipelines/p.yaml", "[cost, tokens]", "{ own: { metric: command, command: python3 score.py } }");
    let interfere = |path: &str, other: &str| {
        let run = workspace.spawn(&["run", "p", "--format", "json"]);
        let before = workspace.read(path);
        while server.in_flight() == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        workspace.write(path, other);
        std::thread::sleep(Duration::from_millis(100));
        workspace.write(path, before);
        finish(run)
    };
    // Weights, swapped and put back: whoever answered, it is not remembered as an answer of these weights.
    let ran = interfere("out/model.safetensors", "two").code(3);
    assert!(ran.stderr.contains("model.safetensors changed while"), "{}", ran.stderr);
    server.take();
    let plan = workspace.plan(&[]).code(0).json();
    assert_eq!(plan["total"]["calls"], 4, "none of the answers counts");
    // A program, edited while the answers are bought, and still another when it is run.
    let run = workspace.spawn(&["run", "p", "--format", "json"]);
    while server.in_flight() == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    workspace.write("score.py", "import sys\nfor line in sys.stdin: print(0)\n");
    let ran = finish(run).code(3);
    assert!(ran.stderr.contains("score.py changed since the run began; run again"), "{}", ran.stderr);
    workspace.write("score.py", "import sys\nfor line in sys.stdin: print(1)\n");
    let ran = workspace.run(&[]).code(0).json();
    assert_eq!(ran["summary"]["took"]["base"]["own"]["value"], 1.0, "{ran}");
}

#[test]
fn the_same_artifact_of_two_models_is_healed_for_both() {
    let server = Server::start(|_, body, _| {
        Reply::Text(if prompt(body).contains("COMPARE") { "[[A]]".to_owned() } else { "the same".to_owned() })
    });
    let workspace = standard(&server, 5);
    let ran = workspace.run(&[]).code(0);
    let digest = |name: &str| node(&ran, name)["artifact"].as_str().unwrap().to_owned();
    assert_eq!(digest("answers.base"), digest("answers.tuned"));
    let path = format!("cache/artifacts/{}/{}.jsonl.zst", &digest("answers.base")[..2], digest("answers.base"));
    let mut bytes = std::fs::read(workspace.path(&path)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    workspace.write(&path, &bytes);
    workspace.edit("templates/compare.j2", "COMPARE", "COMPARE well");
    server.take();
    let healed = workspace.run(&[]).code(0);
    let asked: Vec<String> = server.take().iter().map(prompt).collect();
    assert!(asked.iter().all(|prompt| prompt.contains("COMPARE well")), "the judge alone is asked again: {asked:?}");
    assert!(healed.ran().contains(&"duel.tuned".to_owned()), "{:?}", healed.outcomes());
    assert!(!healed.outcomes().iter().any(|line| line.ends_with("skipped")), "{:?}", healed.outcomes());
}

#[test]
fn nothing_is_bought_for_a_text_that_is_not_what_it_was() {
    let server = Server::plain();
    let workspace = standard(&server, 400);
    let ran = workspace.run(&[]).code(0);
    let digest = node(&ran, "answers.tuned")["artifact"].as_str().unwrap().to_owned();
    let path = format!("cache/artifacts/{}/{digest}.jsonl.zst", &digest[..2]);
    // A sound file with other texts: only its digest tells.
    let mut lines = zstd::decode_all(&*std::fs::read(workspace.path(&path)).unwrap()).unwrap();
    let text = String::from_utf8(lines).unwrap();
    let forge = |(number, line): (usize, &str)| match line.split_once("says Q: question") {
        Some((before, after)) if number > 200 => {
            format!("{before}Says{}\n", after.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit()))
        }
        _ => format!("{line}\n"),
    };
    lines = text.lines().enumerate().map(forge).collect::<String>().into_bytes();
    let size = std::fs::metadata(workspace.path(&path)).unwrap().len() as usize;
    let forged = (1..20).map(|level| zstd::encode_all(&*lines, level).unwrap()).find(|bytes| bytes.len() == size);
    let Some(forged) = forged.or_else(|| {
        // A frame that is ignored fills up what is missing.
        let bytes = zstd::encode_all(&*lines, 19).unwrap();
        let rest = size.checked_sub(bytes.len() + 8)?;
        let mut frame = 0x184D_2A50_u32.to_le_bytes().to_vec();
        frame.extend((rest as u32).to_le_bytes());
        frame.extend(vec![0; rest]);
        Some([bytes, frame].concat())
    }) else {
        panic!("no forgery of {size} bytes");
    };
    workspace.write(&path, forged).edit("templates/grade.j2", "GRADE", "GRADE well");
    server.take();
    workspace.run(&[]).code(0);
    let asked = server.take();
    assert!(asked.iter().all(|body| !prompt(body).contains("Says")), "a forged text reached the judge");
    assert_eq!(asked.len(), 800);
}

#[test]
fn a_judge_is_told_as_the_judge() {
    let server = Server::start(|_, body, _| match body["model"].as_str() {
        Some("m-grader") => Reply::Raw(404, vec![], json!({ "error": { "message": "no such model" } }).to_string()),
        _ => Reply::Text(default_reply(body)),
    });
    server.page("/v1/models", &json!({ "data": [{ "id": "judge-large" }, { "id": "judge-small" }] }));
    let workspace = standard(&server, 30);
    let ran = workspace.etalon(&["run", "p"]).code(3);
    let line = ran.stderr.lines().find(|line| line.contains("quality.tuned")).unwrap_or_default();
    assert!(
        line.contains("model grader (pipelines/p.yaml:6): ") && line.contains("it has: judge-large, judge-small"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("ran     answers.tuned"), "{}", ran.stderr);
    let asked = server.take().iter().filter(|body| body["model"] == "m-grader").count();
    assert!(asked <= 32, "a model that is not there is not asked {asked} times");
}

#[test]
fn a_hangup_drains_like_an_interrupt() {
    for signal in ["-HUP", "-TERM", "-INT"] {
        let server = Server::start(|_, body, _| Reply::Slow(Duration::from_millis(300), default_reply(body)));
        let workspace = standard(&server, 100);
        let run = workspace.spawn(&["run", "p", "--only", "answers.base", "--format", "json"]);
        while server.in_flight() < 8 {
            std::thread::sleep(Duration::from_millis(2));
        }
        std::process::Command::new("kill").args([signal, &run.id().to_string()]).status().unwrap();
        let ran = finish(run).code(130).json();
        let sent = server.count();
        assert_eq!(ran["nodes"][1]["bill"]["kept"], sent, "{signal}: {ran}");
        assert_eq!(workspace.plan(&["--only", "answers.base"]).code(0).json()["total"]["calls"], 100 - sent);
    }
}

#[test]
fn a_cache_that_is_removed_meanwhile_is_told() {
    let server = Server::start(|_, body, _| Reply::Slow(Duration::from_millis(50), default_reply(body)));
    let workspace = standard(&server, 200);
    let run = workspace.spawn(&["run", "p", "--only", "answers.base", "--format", "json"]);
    while server.seen() < 40 {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::fs::remove_dir_all(workspace.path("cache")).unwrap();
    let ran = finish(run).code(3);
    assert!(ran.stderr.contains("was removed while this run wrote to it"), "{}", ran.stderr);
    assert!(!ran.stderr.contains(" kept)"), "{}", ran.stderr);
    assert!(server.count() < 120, "it stops buying");
}

#[test]
fn whoever_waits_says_for_whom_and_hears_signals() {
    let server = Server::start(|_, body, _| Reply::Slow(Duration::from_millis(1_500), default_reply(body)));
    let workspace = standard(&server, 2);
    let text = workspace.read("pipelines/p.yaml");
    workspace.write(
        "pipelines/q.yaml",
        text.replace("name: p", "name: q").replace("Q:", "R:").replace("ask.j2", "other.j2"),
    );
    workspace.write("templates/other.j2", "Another question: {{ row.question }}");
    let first = workspace.spawn(&["run", "p", "--only", "answers.base"]);
    while server.in_flight() == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let second = workspace.spawn(&["run", "q", "--only", "answers.base"]);
    std::thread::sleep(Duration::from_millis(500));
    let pid = first.id();
    std::process::Command::new("kill").args(["-INT", &second.id().to_string()]).status().unwrap();
    let start = std::time::Instant::now();
    let waited = finish(second).code(130);
    assert!(start.elapsed() < Duration::from_secs(1), "it ended after {:?}", start.elapsed());
    assert!(
        waited.stderr.contains(&format!("waiting for process {pid} (etalon run p --only answers.base)")),
        "{}",
        waited.stderr
    );
    finish(first).code(0);
}

#[test]
fn strict_runs_fail_what_is_not_proven_and_fail_fast_ends_at_once() {
    let server = Server::start(|_, body, _| match prompt(body) == "q10" {
        true => Reply::Raw(400, vec![], "{\"error\": {\"message\": \"too long\"}}".to_owned()),
        false => Reply::Text(default_reply(body)),
    });
    let workspace = priced(&server, 60, "concurrency: 4");
    workspace.edit("pipelines/p.yaml", "[cost, tokens]", "{ hit: { metric: regex, pattern: '[0-4]$' } }");
    let spec = workspace.read("pipelines/p.yaml");
    workspace.write("pipelines/p.yaml", format!("{spec}gates: [took.base.hit >= 0.45]\n"));
    workspace.run(&[]).code(0);
    let strict = workspace.run(&["--strict"]).code(1).json();
    assert_eq!(strict["gates"][0]["verdict"], "UNPROVEN");
    server.take();
    let ran = workspace.run(&["--fail-fast", "--refresh", "answers"]).code(3);
    assert!(server.count() < 60);
    assert_eq!(ran.json()["interrupted"], false);
    assert!(
        ran.stderr.contains("answers.base failed, and --fail-fast ends the run") || ran.outcomes().len() == 3,
        "{}",
        ran.stderr
    );
}

#[test]
fn a_disk_that_fills_ends_the_buying_and_loses_nothing() {
    let filler = "x".repeat(3_000);
    let server =
        Server::start(move |_, body, _| Reply::Slow(Duration::from_millis(5), format!("{filler} {}", prompt(body))));
    let workspace = priced(&server, 1_500, "concurrency: 24");
    // A small disk of its own, in a namespace of its own; what the log holds is counted before it goes.
    let script = format!(
        "mount -t tmpfs -o size=3m tmpfs cache && for i in 1 2 3; do {} run p --format json > run.$i; echo $? >> codes; done; cat cache/completions/*/*.jsonl | tr -cd '\\n' | wc -c > lines",
        env!("CARGO_BIN_EXE_etalon")
    );
    std::fs::create_dir_all(workspace.path("cache")).unwrap();
    let output = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
        .current_dir(workspace.path(""))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(workspace.path("codes").exists(), "no small disk can be had here: {stderr}");
    assert_eq!(workspace.read("codes"), "3\n3\n3\n", "{stderr}");
    let (bought, lines) = (server.count(), workspace.read("lines").trim().parse::<usize>().unwrap());
    // A line that did not fit stands torn in its file, and once more in the next.
    assert!(bought > 100 && bought < 1_500 && lines >= bought, "{bought} bought, {lines} kept: {stderr}");
    assert!(stderr.contains("is full: nothing is bought that could not be kept"), "{stderr}");
    let kept: u64 = (1..=3)
        .map(|run| {
            let run: Value = serde_json::from_str(&workspace.read(&format!("run.{run}"))).unwrap();
            run["nodes"][1]["bill"]["kept"].as_u64().unwrap_or(0)
        })
        .sum();
    assert_eq!(kept, bought as u64, "what is told as kept is kept");
}

#[test]
fn a_recorded_run_replays_without_a_server() {
    let server = Server::plain();
    let workspace = standard(&server, 6);
    let first = workspace.run(&[]).code(0).json();
    server.take();
    let ran = workspace.run(&["--record", "demo/run.jsonl"]).code(0);
    assert_eq!(server.count(), 0, "what is in the cache is not bought again");
    assert!(ran.stderr.contains("recorded 36 completions"), "{}", ran.stderr);
    let text = workspace.read("demo/run.jsonl");
    workspace.run(&["--record", "demo/run.jsonl"]).code(0);
    assert_eq!(workspace.read("demo/run.jsonl"), text, "the same completions make the same file");
    let spec = workspace.read("pipelines/p.yaml");
    let models = spec.lines().filter(|line| line.contains("m-")).collect::<Vec<_>>();
    let mut replayed = spec.clone();
    for (line, fields) in
        models.iter().zip(["base: { FILE, role: baseline }", "tuned: { FILE, role: candidate }", "grader: { FILE }"])
    {
        replayed =
            replayed.replace(*line, &format!("  {}", fields.replace("FILE", "provider: replay, file: demo/run.jsonl")));
    }
    let other = Workspace::new();
    other.write("pipelines/p.yaml", replayed).write("demo/run.jsonl", &text);
    for file in ["data/rows.jsonl", "templates/ask.j2", "templates/grade.j2", "templates/compare.j2"] {
        other.write(file, workspace.read(file));
    }
    let again = other.run(&[]).code(0).json();
    assert_eq!(again["summary"]["quality"], first["summary"]["quality"]);
    assert_eq!(again["summary"]["duel"], first["summary"]["duel"]);
}
