//! Judges with known faults: each report must find the fault that was planted, and no other.
//!
//! One pipeline holds a hundred trials: each draws rows of its own, and each judge has a seed of its own.

use serde_json::{Value, json};

use super::support::Workspace;

const TRIALS: usize = 100;
const POOL: usize = 3_000;
const ROWS: usize = 150;

/// The judges: what each says about `A` and `B`, where `truth` is the better one.
const JUDGES: &[(&str, &str)] = &[
    ("perfect", "truth"),
    ("always", "'A'"),
    ("position", "'A' if random() < 0.2 else truth"),
    ("length", "('A' if t[0] | length > t[1] | length else 'B') if random() < 0.3 else truth"),
    ("noisy", "('A' if random() < 0.5 else 'B') if random() < 0.3 else truth"),
    ("kin", "('A' if 'tuned' in t[0] else 'B') if random() < 0.3 else truth"),
];

/// A small random generator, so that rows are the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Writes rows with two completions of different worth; the tuned model's is longer in 7 of 10, whatever its worth.
fn pool(workspace: &Workspace) {
    let mut random = Random(7);
    let (mut rows, mut labels) = (String::new(), String::new());
    for id in 0..POOL {
        let tuned = random.below(10);
        let base = (tuned + 1 + random.below(9)) % 10;
        let (longer, shorter) = (30 + random.below(30) as usize, 5 + random.below(20) as usize);
        let (of_tuned, of_base) = if random.below(10) < 7 { (longer, shorter) } else { (shorter, longer) };
        let text = |worth: u64, length: usize, name: &str| format!("q{worth} {name}{}", ".".repeat(length));
        rows += &json!({
            "id": id.to_string(), "tuned": text(tuned, of_tuned, "tuned"), "base": text(base, of_base, "other"),
        })
        .to_string();
        rows += "\n";
        let label = if tuned > base { "win" } else { "loss" };
        labels += &json!({ "row": id.to_string(), "model": "tuned", "label": label }).to_string();
        labels += "\n";
    }
    workspace.write("data/pool.jsonl", rows);
    workspace.write("labels/truth.jsonl", labels);
}

fn spec() -> String {
    let mut models = "  base: {}\n  tuned: { family: x }\n".to_owned();
    let mut stages = String::new();
    for trial in 0..TRIALS {
        stages += &format!(
            "  rows{trial}: {{ kind: dataset, path: data/pool.jsonl, id: id, sample: {{ size: {ROWS}, strategy: random, seed: {trial} }} }}\n  answers{trial}: {{ kind: inference, input: rows{trial}, models: [base, tuned], completions: \"{{{{ row[model] }}}}\" }}\n"
        );
        for (judge, says) in JUDGES {
            let reply = format!(
                "{{% set t = prompt.split('|') %}}{{% set truth = 'A' if t[0][1] | int > t[1][1] | int else 'B' %}}[[{{{{ {says} }}}}]]"
            );
            let family = if *judge == "kin" { "x" } else { "y" };
            models += &format!(
                "  {judge}{trial}: {{ provider: scripted, family: {family}, seed: {trial}, reply: \"{reply}\" }}\n"
            );
            let (judges, rest) = match *judge {
                "length" => {
                    ("model: length".to_owned() + &trial.to_string(), ", compare: { baseline: base, order: random }")
                }
                "noisy" => (
                    "model: noisy".to_owned() + &trial.to_string(),
                    ", human: labels/truth.jsonl, compare: { baseline: base, order: random }",
                ),
                "perfect" => (
                    "model: perfect".to_owned() + &trial.to_string(),
                    ", human: labels/truth.jsonl, compare: { baseline: base }",
                ),
                "kin" => (
                    format!("panel: [kin{trial}, noisy{trial}, perfect{trial}]"),
                    ", compare: { baseline: base, order: random }",
                ),
                other => (format!("model: {other}{trial}"), ", compare: { baseline: base }"),
            };
            stages += &format!(
                "  {judge}_{trial}: {{ kind: judge, input: answers{trial}, {judges}, prompt: \"{{{{ a }}}}|{{{{ b }}}}\"{rest} }}\n"
            );
        }
    }
    format!("etalon: 1\nname: p\nmodels:\n{models}stages:\n{stages}")
}

/// The trials of one judge: its values, and the notes about it.
struct Trials<'a> {
    document: &'a Value,
    judge: &'static str,
}

impl Trials<'_> {
    fn each(&self) -> impl Iterator<Item = (&Value, String)> {
        (0..TRIALS).map(|trial| {
            let stage = format!("{}_{trial}", self.judge);
            let node = format!("{stage}.tuned");
            let nodes = self.document["nodes"].as_array().unwrap();
            let notes = nodes.iter().find(|known| known["node"] == node).unwrap()["notes"].to_string();
            (&self.document["summary"][&stage]["tuned"], notes)
        })
    }

    fn count(&self, holds: impl Fn(&Value, &str) -> bool) -> usize {
        self.each().filter(|(values, notes)| holds(values, notes)).count()
    }

    /// Returns in how many trials the interval of a value holds the truth.
    fn covers(&self, name: &str, truth: f64) -> usize {
        self.count(|values, _| {
            let end = |end: &str| values[name][end].as_f64().unwrap_or(f64::NAN);
            end("low") <= truth && truth <= end("high")
        })
    }
}

#[test]
fn reports_find_what_was_planted_and_nothing_else() {
    let workspace = Workspace::new();
    pool(&workspace);
    workspace.write("pipelines/p.yaml", spec());
    let document = workspace.run(&["-q"]).code(0).json();
    let of = |judge: &'static str| Trials { document: &document, judge };
    let enough = 90;

    // When it does not look, it says A: one pair in five comes out differently in the two orders, always for the first
    // place.
    let position = of("position");
    assert!(position.covers("position_consistency", 0.8) >= enough, "{}", position.covers("position_consistency", 0.8));
    let said =
        position.count(|values, notes| values["primacy"]["value"] == 1.0 && notes.contains("the first place wins"));
    assert!(said >= enough, "primacy is said in {said} trials");

    let always = of("always");
    let said = always.count(|values, notes| {
        values["position_consistency"]["value"] == 0.0
            && values["win_rate"]["value"] == 0.5
            && notes.contains("the judge says more about places than about responses")
    });
    assert_eq!(said, TRIALS);

    // The longer completion wins with probability 0.3 + 0.7 / 2.
    let length = of("length");
    assert!(length.covers("longer_wins", 0.65) >= enough, "{}", length.covers("longer_wins", 0.65));
    let found = length.count(|values, _| values["longer_wins"]["low"].as_f64().unwrap() > 0.5);
    assert!(found >= enough, "length is found in {found} trials");

    // It is right with probability 0.7 + 0.3 / 2.
    let noisy = of("noisy");
    assert!(noisy.covers("agreement", 0.85) >= enough, "{}", noisy.covers("agreement", 0.85));

    // The kin judge gives the tuned model 0.3 · 1 + 0.7 · truth; the others give on average 0.5 · (0.15 + 0.7 · truth)
    // + 0.5 · truth. With a truth of one half, that is a difference of 0.15.
    let kin = of("kin");
    assert!(kin.covers("self_preference", 0.15) >= enough, "{}", kin.covers("self_preference", 0.15));
    let said = kin.count(|_, notes| notes.contains("self-preference: judges give models of their own family"));
    assert!(said >= enough, "self-preference is said in {said} trials");

    // No fault is planted, and none is found.
    let perfect = of("perfect");
    for (name, truth) in [("longer_wins", 0.5), ("win_rate", 0.5)] {
        assert!(perfect.covers(name, truth) >= enough, "{name}: {}", perfect.covers(name, truth));
    }
    let silent = perfect.count(|values, notes| {
        values["position_consistency"]["value"] == 1.0
            && values["agreement"]["value"] == 1.0
            && ["position:", "length:", "self-preference", "canary"].iter().all(|word| !notes.contains(word))
            && notes.contains("\"CALIBRATED")
    });
    assert!(silent >= enough, "{silent}");
    for judge in ["noisy", "position", "always"] {
        let wrong = of(judge).count(|_, notes| notes.contains("length:"));
        assert!(wrong <= 100 - enough, "{judge}: length is said in {wrong} trials");
    }
}
