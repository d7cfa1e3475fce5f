//! Metrics compared with their Python reference implementations, on the same data in the same run: `cargo bench
//! --features local --bench metrics`. It installs what it needs into `target/reference`.
//!
//! Both sides are timed from texts in memory to the value, and the values are compared. `-- NAME…` measures only the
//! named ones. Each side runs three times, and the median counts.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use etalon::metric::{Metric, RowScores, Scored, TallySummary, find};
use etalon::stats::{self, Confusion};
use etalon::text::{Distinct, Fingerprinted};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;
use serde_json::{Map, Value, json};

/// The same allocator as in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often each side runs.
const ROUNDS: usize = 3;

struct Task {
    /// Its name in `reference.py`.
    name: &'static str,
    what: &'static str,
    goal: f64,
    rows: usize,
    data: fn(usize) -> Vec<Value>,
    compute: fn(&[Value]) -> Value,
    /// The largest difference of the values that is allowed; none if they cannot be compared to the last digit.
    tolerance: Option<f64>,
}

const TASKS: &[Task] = &[
    Task {
        name: "rouge1",
        what: "rouge1, 10,000 pairs",
        goal: 20.0,
        rows: 10_000,
        data: pairs,
        compute: |rows| metric("rouge1", rows),
        tolerance: Some(1e-9),
    },
    Task {
        name: "rougeL",
        what: "rougeL, 10,000 pairs",
        goal: 20.0,
        rows: 10_000,
        data: pairs,
        compute: |rows| metric("rougeL", rows),
        tolerance: Some(1e-9),
    },
    Task {
        name: "rougeLsum",
        what: "rougeLsum, 10,000 pairs",
        goal: 20.0,
        rows: 10_000,
        data: pairs,
        compute: |rows| metric("rougeLsum", rows),
        tolerance: Some(1e-9),
    },
    Task {
        name: "bleu",
        what: "BLEU, corpus of 10,000",
        goal: 20.0,
        rows: 10_000,
        data: pairs,
        compute: |rows| metric("bleu", rows),
        tolerance: Some(1e-9),
    },
    Task {
        name: "chrf",
        what: "chrF, corpus of 10,000",
        goal: 20.0,
        rows: 10_000,
        data: pairs,
        compute: |rows| metric("chrf", rows),
        tolerance: Some(1e-9),
    },
    Task {
        name: "chrf++",
        what: "chrF++, corpus of 10,000",
        goal: 20.0,
        rows: 10_000,
        data: pairs,
        compute: |rows| metric("chrf++", rows),
        tolerance: Some(1e-9),
    },
    Task {
        name: "ter",
        what: "TER, corpus of 1,000",
        goal: 20.0,
        rows: 1_000,
        data: pairs,
        compute: |rows| metric("ter", rows),
        tolerance: Some(1e-9),
    },
    Task {
        name: "squad_f1",
        what: "SQuAD F1, 10,000 pairs",
        goal: 20.0,
        rows: 10_000,
        data: pairs,
        compute: |rows| metric("squad_f1", rows),
        tolerance: Some(1e-9),
    },
    Task {
        name: "classification",
        what: "classification report, 1,000,000 labels",
        goal: 20.0,
        rows: 1_000_000,
        data: labels,
        compute: classification,
        tolerance: Some(1e-9),
    },
    Task {
        name: "bootstrap",
        what: "bootstrap, 10,000 resamples of 10,000 values",
        goal: 20.0,
        rows: 10_000,
        data: values,
        compute: bootstrap,
        tolerance: Some(5e-3),
    },
    Task {
        name: "dedupe",
        what: "near-duplicates among 100,000 rows, MinHash",
        goal: 20.0,
        rows: 100_000,
        data: documents,
        compute: dedupe,
        tolerance: None,
    },
    #[cfg(feature = "local")]
    Task {
        name: "bertscore",
        what: "BERTScore, 500 pairs, against torch",
        goal: 1.0,
        rows: 500,
        data: pairs,
        compute: bertscore,
        tolerance: None,
    },
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn set_up(part: &str) {
    let status = Command::new("bash").args([".ci/setup", part]).current_dir(root()).status().expect("bash runs");
    assert!(status.success(), ".ci/setup {part} failed");
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    set_up("reference");
    println!("| work | reference | etalon | ratio | goal |\n|---|---|---|---|---|");
    for task in TASKS.iter().filter(|task| wanted.is_empty() || wanted.iter().any(|name| name == task.name)) {
        let rows = (task.data)(task.rows);
        let file = tempfile::NamedTempFile::new().expect("a file");
        let mut writer = std::io::BufWriter::new(&file);
        rows.iter().for_each(|row| writeln!(writer, "{row}").expect("it is written"));
        writer.flush().expect("it is written");
        drop(writer);
        let (theirs, their_value) = median(|| reference(task.name, file.path()));
        let (ours, our_value) = median(|| {
            if task.name == "bertscore" {
                (task.compute)(&rows[..1]);
            }
            let start = Instant::now();
            let value = (task.compute)(&rows);
            (start.elapsed().as_secs_f64(), value)
        });
        if let Some(tolerance) = task.tolerance {
            let numbers = |value: &Value| -> Vec<f64> {
                value.as_array().map_or_else(
                    || vec![value.as_f64().expect("a number")],
                    |items| items.iter().filter_map(Value::as_f64).collect(),
                )
            };
            for (a, b) in numbers(&their_value).into_iter().zip(numbers(&our_value)) {
                assert!((a - b).abs() <= tolerance * a.abs().max(1.0), "{}: {a} there, {b} here", task.name);
            }
        }
        println!("| {} | {theirs:.2} s | {ours:.3} s | **{:.1}** | {} |", task.what, theirs / ours, task.goal);
    }
}

/// Returns the median time of several rounds, and the last value.
fn median(mut round: impl FnMut() -> (f64, Value)) -> (f64, Value) {
    let mut rounds: Vec<(f64, Value)> = (0..ROUNDS).map(|_| round()).collect();
    let value = rounds[ROUNDS - 1].1.clone();
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    (rounds[ROUNDS / 2].0, value)
}

fn reference(task: &str, file: &Path) -> (f64, Value) {
    let mut command = Command::new(root().join("target/reference/bin/python"));
    command.arg(root().join("benches/reference.py")).arg(task).arg(file);
    if task == "bertscore" {
        set_up("weights");
        command.arg(root().join("target/models/all-MiniLM-L6-v2")).arg("64");
    }
    // A current numpy chooses its kernels itself.
    command.env_remove("OPENBLAS_CORETYPE").env_remove("OPENBLAS_L2_SIZE");
    let output = command.output().expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let said: Value = serde_json::from_str(text.lines().last().unwrap_or_default()).expect("JSON");
    (said["seconds"].as_f64().expect("seconds"), said["value"].clone())
}

/// Scores rows and sums them up, as a stage does.
fn metric(name: &str, rows: &[Value]) -> Value {
    scored(name, &Map::new(), rows)
}

fn scored(name: &str, settings: &Map<String, Value>, rows: &[Value]) -> Value {
    sum_up(&*find(name).expect("it is there").make(settings, &root()).expect("it is built"), rows)
}

fn sum_up(metric: &dyn Metric, rows: &[Value]) -> Value {
    let scored: Vec<Scored<'_>> = rows
        .iter()
        .map(|row| Scored { prediction: row.get("prediction"), reference: row.get("reference"), ..Scored::default() })
        .collect();
    let mut tally = metric.tally(1);
    for batch in scored.chunks(metric.batch()) {
        for score in metric.score_all(batch).expect("it works") {
            let score = score.expect("it has a score");
            tally.add(&RowScores { scores: &[score.as_ref()], cluster: None });
        }
    }
    let mut summary = TallySummary::default();
    tally.finish(&mut summary);
    json!(summary.parts[0].1.value)
}

#[cfg(feature = "local")]
fn bertscore(rows: &[Value]) -> Value {
    // The weights are loaded before the clock starts, on both sides.
    static METRIC: std::sync::OnceLock<Box<dyn Metric>> = std::sync::OnceLock::new();
    let metric = METRIC.get_or_init(|| {
        let settings = json!({ "model": "target/models/all-MiniLM-L6-v2", "layer": 6 });
        let made = find("bertscore").expect("it is there").make(settings.as_object().expect("a map"), &root());
        let metric = made.expect("it is built");
        sum_up(&*metric, &rows[..1]);
        metric
    });
    sum_up(&**metric, rows)
}

fn classification(rows: &[Value]) -> Value {
    let mut confusion = Confusion::default();
    for row in rows {
        let (gold, predicted) = (row["reference"].as_str().expect("a label"), row["prediction"].as_str());
        confusion.add(gold, predicted, 1.0);
    }
    let report = confusion.report(&confusion.labels(), 0.0).expect("there are rows");
    json!(report.macro_avg.f1)
}

fn bootstrap(rows: &[Value]) -> Value {
    let values: Vec<f64> = rows.iter().map(|row| row["value"].as_f64().expect("a number")).collect();
    let zeros = vec![0.0; values.len()];
    let interval = stats::paired_bootstrap(&zeros, &values, 10_000, 1).expect("there are values");
    json!([interval.low, interval.high])
}

fn dedupe(rows: &[Value]) -> Value {
    let mut distinct = Distinct::new(0.7);
    let mut kept = 0;
    for batch in rows.chunks(4_096) {
        let prints: Vec<Fingerprinted> =
            batch.par_iter().map(|row| Fingerprinted::new(row["prediction"].as_str().expect("text"))).collect();
        kept += prints.into_iter().filter_map(|print| distinct.add(print).is_none().then_some(())).count();
    }
    json!(kept)
}

const WORDS: &str = "the customer asked for a refund because package arrived damaged on Tuesday and we will send another one \
    to your address within three days please check order number in mail that you got from us last week thank you for \
    waiting so patiently our team is sorry about this delay which was caused by weather model evaluation shows how well";

fn random() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(7)
}

fn below(random: &mut ChaCha8Rng, n: usize) -> usize {
    (random.next_u64() % n as u64) as usize
}

fn text(random: &mut ChaCha8Rng, words: usize) -> Vec<&'static str> {
    let all: Vec<&str> = WORDS.split_whitespace().collect();
    (0..words).map(|_| all[below(random, all.len())]).collect()
}

/// Returns completions of 20 to 60 words, with references that differ in one word out of five.
fn pairs(rows: usize) -> Vec<Value> {
    let mut random = random();
    let row = |_| {
        let length = 20 + below(&mut random, 40);
        let reference = text(&mut random, length);
        let mut prediction = reference.clone();
        for word in &mut prediction {
            if below(&mut random, 5) == 0 {
                *word = text(&mut random, 1)[0];
            }
        }
        let lines = |words: &[&str]| words.chunks(12).map(|line| line.join(" ")).collect::<Vec<_>>().join(".\n");
        json!({ "prediction": lines(&prediction), "reference": lines(&reference) })
    };
    (0..rows).map(row).collect()
}

fn labels(rows: usize) -> Vec<Value> {
    let mut random = random();
    let names =
        ["billing", "shipping", "refund", "login", "warranty", "other", "returns", "complaint", "praise", "spam"];
    let row = |_| {
        let gold = names[below(&mut random, 10)];
        let predicted = if below(&mut random, 4) == 0 { names[below(&mut random, 10)] } else { gold };
        json!({ "prediction": predicted, "reference": gold })
    };
    (0..rows).map(row).collect()
}

fn values(rows: usize) -> Vec<Value> {
    let mut random = random();
    (0..rows).map(|_| json!({ "value": below(&mut random, 1_000) as f64 / 1_000.0 })).collect()
}

/// Returns texts of 30 to 60 words; one in ten equals another except for two words.
fn documents(rows: usize) -> Vec<Value> {
    let mut random = random();
    let mut made: Vec<Vec<&str>> = Vec::with_capacity(rows);
    for index in 0..rows {
        let mut words = if index > 0 && below(&mut random, 10) == 0 {
            made[below(&mut random, index)].clone()
        } else {
            let length = 30 + below(&mut random, 30);
            text(&mut random, length)
        };
        let end = words.len();
        words[end - 1] = text(&mut random, 1)[0];
        made.push(words);
    }
    made.into_iter().map(|words| json!({ "prediction": words.join(" ") })).collect()
}
