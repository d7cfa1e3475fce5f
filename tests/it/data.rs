//! Data as people have them: many files, programs, logs, columns to rename, derive and require.

use super::support::{Ran, Server, Workspace};

/// Returns a workspace whose dataset has the given settings.
fn dataset(settings: &str) -> Workspace {
    let workspace = Workspace::new();
    let indented: String = settings.trim().lines().map(|line| format!("    {line}\n")).collect();
    workspace.write("pipelines/p.yaml", format!("etalon: 1\nname: p\nstages:\n  rows:\n    kind: dataset\n{indented}"));
    workspace
}

/// Returns the rows as `show` prints them, without their ids.
fn rows(workspace: &Workspace) -> Vec<String> {
    workspace.run(&[]).code(0);
    let mut rows: Vec<String> = workspace
        .show("rows")
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["row"].to_string())
        .collect();
    rows.sort();
    rows
}

fn note(ran: &Ran) -> String {
    ran.json()["nodes"][0]["notes"].as_array().unwrap().iter().map(|note| note.as_str().unwrap()).collect()
}

#[test]
fn a_glob_takes_several_files_of_several_formats() {
    let workspace = dataset("path: data/**/part-*.*");
    workspace
        .write("data/part-1.jsonl", "{\"a\": \"1\"}\n")
        .write("data/b/part-2.csv", "a\n2\n")
        .write("data/part-3.json", "[{\"a\": \"3\"},\n{\"a\":\n\"4\"}]");
    assert_eq!(rows(&workspace), [r#"{"a":"1"}"#, r#"{"a":"2"}"#, r#"{"a":"3"}"#, r#"{"a":"4"}"#]);
    // A file under another name is the same file; a new file counts.
    std::fs::rename(workspace.path("data/part-3.json"), workspace.path("data/part-4.json")).unwrap();
    assert!(workspace.run(&[]).code(0).ran().is_empty());
    workspace.write("data/part-5.jsonl", "{\"a\": \"5\"}\n");
    assert_eq!(workspace.run(&[]).code(0).ran(), ["rows"]);
    workspace.write("data/part-5.jsonl", "{\"a\": \"5\"}\n{\"a\": ");
    let stderr = workspace.run(&[]).code(3).stderr;
    assert!(stderr.contains("data/part-5.jsonl:2: not JSON"), "{stderr}");
    workspace.edit("pipelines/p.yaml", "part-", "prat-");
    assert!(workspace.etalon(&["check", "p"]).code(2).stderr.contains("no file matches data/**/prat-*.*"));
}

#[test]
fn columns_are_renamed_derived_required_and_filtered() {
    let workspace = dataset(
        r#"
rows:
  - { Frage: "how much", n: "3", lang: en }
  - { Frage: "wie viel", n: "4", lang: de }
  - { Frage: "what", n: "5", lang: en }
rename: { Frage: question }
derive:
  count: "{{ row.n | int }}"
  words: "{{ row.question | split | length }}"
  label: "{{ row.lang }}-{{ row.count }}"
  source: hand
require: { question: text, count: integer, note: text? }
where: row.lang == 'en'
"#,
    );
    assert_eq!(
        rows(&workspace),
        [
            r#"{"count":3,"label":"en-3","lang":"en","n":"3","question":"how much","source":"hand","words":2}"#,
            r#"{"count":5,"label":"en-5","lang":"en","n":"5","question":"what","source":"hand","words":1}"#
        ]
    );
    assert_eq!(note(&workspace.run(&[])), "`where` leaves out 1 rows", "also when nothing runs");
    let ids = |workspace: &Workspace| -> Vec<String> {
        workspace.show("rows").iter().map(|line| line.split("\"row\"").next().unwrap().to_owned()).collect()
    };
    let before = ids(&workspace);
    workspace.edit("pipelines/p.yaml", "source: hand", "source: file");
    assert_eq!(workspace.run(&[]).code(0).ran(), ["rows"]);
    assert_eq!(ids(&workspace), before, "what is derived changes no id");
    for (from, to, message) in [
        ("{{ row.n | int }}", "{{ row.m | int }}", "no row of rows has a column `m`"),
        ("row.lang == 'en'", "row.language == 'en'", "did you mean `lang`"),
        ("count: integer", "count: whole", "`require.count` cannot be `whole`"),
        ("count: integer", "count: text", "column `count` is a number, expected text"),
        ("row.lang == 'en'", "row.lang ==", "template-error"),
    ] {
        workspace.edit("pipelines/p.yaml", from, to);
        let stderr = workspace.etalon(&["check", "p"]).code(2).stderr;
        assert!(stderr.contains(message), "{stderr}");
        workspace.edit("pipelines/p.yaml", to, from);
    }
}

#[test]
fn bad_rows_fail_or_are_skipped_and_counted() {
    let workspace = dataset("path: rows.jsonl\nid: key\nrequire: { n: number }");
    workspace.write(
        "rows.jsonl",
        b"{\"key\": 1, \"n\": 1}\noops\n{\"key\": 2, \"n\": \"2\"}\n{\"n\": 3}\n\"\xff\"\n{\"key\": 4, \"n\": 4}\n",
    );
    let stderr = workspace.run(&[]).code(3).stderr;
    for line in [
        "4 bad rows",
        "rows.jsonl:2: not JSON",
        "rows.jsonl:3: column `n` is text, expected a number",
        "rows.jsonl:4: there is no id column `key`",
        "rows.jsonl:5: not UTF-8",
        "on_bad_row: skip",
    ] {
        assert!(stderr.contains(line), "{line}\n{stderr}");
    }
    workspace.edit("pipelines/p.yaml", "id: key", "id: key\n    on_bad_row: skip");
    let run = workspace.run(&[]).code(0);
    assert!(note(&run).starts_with("4 bad rows skipped:\n  rows.jsonl:2: "), "{}", note(&run));
    let coverage = &run.json()["summary"]["rows"]["_"]["coverage"];
    assert_eq!((coverage["n"].as_u64(), coverage["missing"].as_u64()), (Some(6), Some(4)));
    assert_eq!(note(&workspace.run(&[])), note(&run), "a hit says it too");
    workspace.etalon(&["check", "p"]).code(0);
    // What follows a broken place of an archive is unknown, so it cannot be skipped as a bad row.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, b"{\"key\": 1, \"n\": 1}\n").unwrap();
    let bytes = gzip.finish().unwrap();
    workspace.write("rows.jsonl.gz", &bytes[..bytes.len() - 6]);
    workspace.edit("pipelines/p.yaml", "rows.jsonl", "rows.jsonl.gz");
    assert!(workspace.run(&[]).code(3).stderr.contains("failed to read"));
}

#[test]
fn strata_keep_their_shares_and_splits_do_not_overlap() {
    let spec = "path: rows.jsonl\nid: key\nsample: { size: 20, strategy: stratified, by: kind, seed: 1 }";
    let workspace = dataset(spec);
    let lines: String = (0..200)
        .map(|i| format!("{{\"key\": {i}, \"kind\": \"{}\", \"user\": {}}}\n", ["a", "a", "a", "b"][i % 4], i / 10))
        .collect();
    workspace.write("rows.jsonl", lines);
    let drawn = rows(&workspace);
    let of = |kind: &str| drawn.iter().filter(|row| row.contains(&format!("\"kind\":\"{kind}\""))).count();
    assert_eq!((of("a"), of("b")), (15, 5));
    let sample = "sample: { size: 20, strategy: stratified, by: kind, seed: 1 }";
    workspace.edit("pipelines/p.yaml", sample, "split: { part: train, parts: { train: 3, test: 1 }, by: user }");
    let train = rows(&workspace);
    workspace.edit("pipelines/p.yaml", "part: train", "part: test");
    let test = rows(&workspace);
    assert_eq!(train.len() + test.len(), 200);
    assert!(!test.is_empty() && test.len().is_multiple_of(10), "users stay together");
    workspace.edit("pipelines/p.yaml", "part: test", "part: dev");
    assert!(workspace.etalon(&["check", "p"]).code(2).stderr.contains("parts there are: train, test"));
}

#[test]
fn a_program_prints_rows() {
    let workspace = dataset("command: [sh, export.sh, \"2\"]\nfiles: [export.sh, table.txt]\nid: key");
    workspace.write(
        "export.sh",
        "echo started >> ran.log\nwhile read -r key; do echo \"{\\\"key\\\": \\\"$key$1\\\"}\"; done < table.txt\n",
    );
    workspace.write("table.txt", "a\nb\n");
    workspace.etalon(&["check", "p"]).code(0);
    assert!(!workspace.path("ran.log").exists(), "nothing is executed to check");
    assert_eq!(rows(&workspace), [r#"{"key":"a2"}"#, r#"{"key":"b2"}"#]);
    assert!(workspace.run(&[]).code(0).ran().is_empty());
    workspace.write("table.txt", "a\nb\nc\n");
    assert_eq!(workspace.run(&[]).code(0).ran(), ["rows"]);
    assert_eq!(workspace.read("ran.log").lines().count(), 2);
    assert_eq!(workspace.run(&["--refresh", "rows"]).code(0).ran(), ["rows"]);
    // A program that fails does not just end the data.
    workspace.write("export.sh", "echo '{\"key\": 1}'; echo 'no such table' >&2; exit 3");
    let stderr = workspace.run(&[]).code(3).stderr;
    assert!(stderr.contains("exit status: 3") && stderr.contains("no such table"), "{stderr}");
    workspace.edit("pipelines/p.yaml", "[sh, ", "[shh, ");
    assert!(workspace.etalon(&["check", "p"]).code(2).stderr.contains("there is no program `shh`"));
    workspace.edit("pipelines/p.yaml", "[shh, export.sh, \"2\"]", "\"printf '{\\\"key\\\": 7}' | cat\"");
    assert_eq!(rows(&workspace), [r#"{"key":7}"#]);
}

#[test]
fn the_log_of_a_trainer_is_a_dataset() {
    let workspace = dataset("path: out/trainer_state.json\nformat: trainer_state\nwhere: row.loss is defined");
    workspace.write(
        "out/trainer_state.json",
        "{\"best_metric\": NaN, \"log_history\": [{\"step\": 10, \"loss\": 2.5}, {\"step\": 10, \"eval_loss\": 2.6}, {\"step\": 20, \"loss\": NaN}]}",
    );
    assert_eq!(rows(&workspace), [r#"{"loss":"NaN","step":20}"#, r#"{"loss":2.5,"step":10}"#]);
    workspace.edit("pipelines/p.yaml", "    format: trainer_state\n", "");
    assert!(workspace.etalon(&["check", "p"]).code(2).stderr.contains("`format: trainer_state` reads"));
}

#[test]
fn rows_are_exported_and_read_again() {
    let workspace = dataset(
        "rows:\n  - { key: 1, text: \"a, \\\"b\\\"\\né\", n: 2, list: [1], big: 9007199254740993, mixed: 1 }\n  - { key: 2, text: ~, n: 2.5, flag: true, big: 1, mixed: x }\nid: key",
    );
    workspace.run(&[]).code(0);
    let csv = workspace.etalon(&["export", "p", "rows", "--to", "csv"]).code(0).stdout;
    assert_eq!(
        csv,
        "id,row.big,row.key,row.list,row.mixed,row.n,row.text,row.flag\n1,9007199254740993,1,[1],1,2,\"a, \"\"b\"\"\né\",\n2,1,2,,x,2.5,,true\n"
    );
    let jsonl = workspace.etalon(&["export", "p", "rows", "--to", "jsonl"]).code(0).stdout;
    assert_eq!(jsonl, workspace.show("rows").join("\n") + "\n");
    workspace.etalon(&["export", "p", "rows", "--to", "csv", "--output", "rows.csv"]).code(0);
    assert_eq!(workspace.read("rows.csv"), csv);
    assert!(workspace.etalon(&["export", "p", "rwos", "--to", "csv"]).code(2).stderr.contains("did you mean `rows`?"));
    // A device is written to, and stays a device.
    let ran = workspace.etalon(&["export", "p", "rows", "--to", "csv", "--output", "/dev/full"]).code(4);
    assert!(ran.stderr.contains("failed to write"), "{}", ran.stderr);
    assert!(!std::fs::metadata("/dev/full").unwrap().is_file());
    let fresh = dataset("rows: [{ a: 1 }]");
    assert!(fresh.etalon(&["export", "p", "rows", "--to", "csv"]).code(3).stderr.contains("has not run yet"));
    let failed = workspace.etalon(&["export", "p", "rows", "--to", "csv", "-o", "no/such/place.csv"]).code(2);
    assert!(failed.stderr.contains("there is no folder for no/such/place.csv"), "{}", failed.stderr);
}

#[cfg(not(feature = "parquet"))]
#[test]
fn without_parquet_a_message_says_how_to_get_it() {
    let workspace = dataset("path: rows.parquet");
    workspace.write("rows.parquet", "PAR1");
    for arguments in [&["check", "p"][..], &["export", "p", "rows", "--to", "parquet", "-o", "x"]] {
        let stderr = workspace.etalon(arguments).code(2).stderr;
        assert!(stderr.contains("--features parquet"), "{stderr}");
    }
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_is_written_and_read() {
    let text = "rows:\n  - { key: 1, text: \"é\", n: 2, list: [1, 2], flag: true, x: 0.5, big: 9007199254740993 }\n  - { key: 2, text: ~, n: 3, flag: false, big: 1 }\nid: key";
    let workspace = dataset(text);
    workspace.run(&[]).code(0);
    workspace.etalon(&["export", "p", "rows", "--to", "parquet", "-o", "rows.parquet"]).code(0);
    let back = dataset("path: rows.parquet\nid: id");
    std::fs::copy(workspace.path("rows.parquet"), back.path("rows.parquet")).unwrap();
    assert_eq!(
        rows(&back),
        [
            r#"{"id":"1","row.big":9007199254740993,"row.flag":true,"row.key":1,"row.list":"[1,2]","row.n":2,"row.text":"é","row.x":0.5}"#,
            r#"{"id":"2","row.big":1,"row.flag":false,"row.key":2,"row.list":null,"row.n":3,"row.text":null,"row.x":null}"#
        ]
    );
    back.write("rows.parquet", "PAR1 and nothing more");
    assert!(back.run(&[]).code(3).stderr.contains("no Parquet file"));
}

#[test]
fn a_dataset_of_the_hub_is_fetched_once_and_pinned() {
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let server = Server::plain();
    let endpoint = server.url.trim_end_matches("/v1").to_owned();
    let workspace = dataset("hf: { repo: team/questions, split: test }\nid: key");
    let hub = |workspace: &Workspace, arguments: &[&str]| {
        let all = [&["run", "p", "--format", "json"], arguments].concat();
        let mut command = workspace.command(&all);
        command.env("HF_ENDPOINT", &endpoint).env("HF_HOME", workspace.path("hf")).env_remove("HF_TOKEN");
        Ran::of(command.output().unwrap())
    };
    let stderr = hub(&workspace, &[]).code(3).stderr;
    assert!(stderr.contains("answered 404") && stderr.contains("export HF_TOKEN="), "{stderr}");
    let files = ["README.md", "main/train.jsonl", "main/test.jsonl"];
    let siblings: Vec<serde_json::Value> = files.iter().map(|name| serde_json::json!({ "rfilename": name })).collect();
    let answer = serde_json::json!({ "sha": commit, "siblings": siblings });
    server.page("/api/datasets/team/questions/revision/main", &answer);
    server.text_page(
        &format!("/datasets/team/questions/resolve/{commit}/main/test.jsonl"),
        "{\"key\": 1}\n{\"key\": 2}\n",
    );
    workspace.etalon(&["check", "p"]).code(0);
    assert_eq!(hub(&workspace, &[]).code(0).json()["nodes"][0]["rows"], 2);
    assert!(
        workspace.read("etalon.lock").contains(&format!("[datasets.\"team/questions@main\"]\ncommit = \"{commit}\""))
    );
    // The files downloaded so far do not tell what the repository holds: another config is fetched, and an incomplete
    // one does not count as a dataset.
    let listing = serde_json::json!({ "sha": commit, "siblings": [{"rfilename": "a/test.jsonl"}, {"rfilename": "b/test.jsonl"}] });
    server.page("/api/datasets/team/parts/revision/main", &listing);
    server.text_page(&format!("/datasets/team/parts/resolve/{commit}/a/test.jsonl"), "{\"key\": 1}\n");
    let parts = dataset("hf: { repo: team/parts, split: test, config: a }\nid: key");
    assert_eq!(hub(&parts, &[]).code(0).json()["nodes"][0]["rows"], 1);
    parts.edit("pipelines/p.yaml", ", config: a", "");
    hub(&parts, &[]).code(3);
    hub(&parts, &[]).code(3);
    server.text_page(&format!("/datasets/team/parts/resolve/{commit}/b/test.jsonl"), "{\"key\": 2}\n");
    assert_eq!(hub(&parts, &[]).code(0).json()["nodes"][0]["rows"], 2);
    // From now on no server is asked.
    let endpoint = "http://127.0.0.1:9".to_owned();
    let offline = |workspace: &Workspace| {
        let mut command = workspace.command(&["run", "p", "--format", "json"]);
        command.env("HF_ENDPOINT", &endpoint).env("HF_HOME", workspace.path("hf"));
        Ran::of(command.output().unwrap())
    };
    assert!(offline(&workspace).code(0).ran().is_empty());
    // Files that the Python libraries have downloaded are used as they are.
    let other = dataset("hf: team/questions\nid: key");
    let folder = "hf/hub/datasets--team--questions";
    other.write(&format!("{folder}/refs/main"), commit);
    other.write(&format!("{folder}/snapshots/{commit}/test.csv"), "key\n7\n");
    assert_eq!(offline(&other).code(0).json()["nodes"][0]["rows"], 1);
    other.edit("pipelines/p.yaml", "hf: team/questions", "hf: { repo: team/questions, split: train }");
    assert!(offline(&other).code(3).stderr.contains("http://127.0.0.1:9"), "it asks for what is not there");
    other.edit("pipelines/p.yaml", "team/questions", "../secrets");
    assert!(other.etalon(&["check", "p"]).code(2).stderr.contains("no dataset of the hub"));
}
