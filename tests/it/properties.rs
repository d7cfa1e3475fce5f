//! Properties that hold for every text: ranges, symmetry, order; and no text makes a metric panic.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use etalon::metric::{METRICS, Metric, RowScores, Scored, TallySummary};
use etalon::stats;
use etalon::text::{self, Bleu, Chrf, Rouge, RougeKind, Shingles, Smoothing, Squad, Ter, Tokenizer};

/// Returns texts of many scripts, with marks, fences and broken JSON.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,60}",
        "[ab c.,!\n'\"-]{0,40}",
        "(```json\n)?[{\\[\"a:1,}\\]\n]{0,20}(\n```)?",
        Just(String::new()),
        Just("机器学习 और नमस्ते Здравствуй \u{1f469}\u{200d}\u{1f467} İ ß ﬁ \u{301}e\u{0}".to_owned()),
    ]
}

/// Returns the metrics that work on texts alone, with the settings that they require.
fn metrics() -> Vec<(&'static str, Box<dyn Metric>)> {
    let settings = |name: &str| match name {
        "regex" => json!({"pattern": "a+(?=b)"}),
        "json_fields" => json!({"fields": ["a", "b.c"]}),
        "json_schema" => json!({"schema": {"type": "object"}}),
        _ => json!({}),
    };
    METRICS
        .iter()
        .filter(|entry| !["command", "bertscore", "embedding_similarity"].contains(&entry.name))
        .map(|entry| {
            let made = entry.make(settings(entry.name).as_object().unwrap(), std::path::Path::new("."));
            (entry.name, made.unwrap_or_else(|error| panic!("{}: {error:?}", entry.name)))
        })
        .collect()
}

/// Scores pairs and sums them up; every estimate must lie within its interval, and none may be NaN.
fn sum_up(name: &str, metric: &dyn Metric, pairs: &[(Option<Value>, Value)]) -> Map<String, Value> {
    let mut tally = metric.tally(7);
    for (prediction, reference) in pairs {
        let scored =
            Scored { prediction: prediction.as_ref(), reference: Some(reference), id: "a", ..Scored::default() };
        let score = metric.score(&scored).ok().flatten();
        tally.add(&RowScores { scores: &[score.as_ref()], cluster: None });
    }
    let mut summary = TallySummary::default();
    tally.finish(&mut summary);
    let mut values = Map::new();
    for (part, estimate) in summary.parts {
        assert!(estimate.n + estimate.missing <= pairs.len() as u64, "{name}.{part}");
        if let Some(value) = estimate.value {
            assert!(value.is_finite(), "{name}.{part} is {value}");
            if let (Some(low), Some(high)) = (estimate.low, estimate.high) {
                let slack = 1e-9 * value.abs().max(1.0);
                assert!(low <= high && low.is_finite() && high.is_finite(), "{name}.{part}: {low} to {high}");
                // The interval of a quantile, or of a corpus of few rows, may lie to one side of the estimate.
                let is_mean =
                    !part.contains('p') && part.is_empty() && !["bleu", "chrf", "chrf++", "ter"].contains(&name);
                assert!(
                    !is_mean || low <= value + slack && value <= high + slack,
                    "{name}.{part}: {value} [{low}, {high}]"
                );
            }
        }
        values.insert(part, json!(estimate.value));
    }
    values
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_a_metric_panic(pairs in prop::collection::vec((any_text(), any_text()), 0..6)) {
        for (name, metric) in metrics() {
            let mut rows: Vec<(Option<Value>, Value)> =
                pairs.iter().map(|(a, b)| (Some(json!(a)), json!(b))).collect();
            sum_up(name, &*metric, &rows);
            rows.push((None, json!("x")));
            rows.push((Some(json!(["a", 1, null])), json!(["a"])));
            rows.push((Some(json!(1e300)), Value::Null));
            rows.push((Some(json!({"a": {}})), json!({})));
            sum_up(name, &*metric, &rows);
        }
    }

    #[test]
    fn the_order_of_rows_changes_no_value(pairs in prop::collection::vec((any_text(), any_text()), 2..8)) {
        for (name, metric) in metrics() {
            let rows: Vec<(Option<Value>, Value)> = pairs.iter().map(|(a, b)| (Some(json!(a)), json!(b))).collect();
            let turned: Vec<_> = rows.iter().rev().cloned().collect();
            let (one, other) = (sum_up(name, &*metric, &rows), sum_up(name, &*metric, &turned));
            for (part, value) in &one {
                let (a, b) = (value.as_f64(), other[part].as_f64());
                let same = match (a, b) {
                    (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * a.abs().max(1.0),
                    _ => a == b,
                };
                prop_assert!(same, "{}.{}: {:?} and {:?}", name, part, a, b);
            }
        }
    }

    #[test]
    fn overlaps_have_their_ranges(a in any_text(), b in any_text()) {
        let kinds = [RougeKind::Ngrams(1), RougeKind::Ngrams(2), RougeKind::Longest, RougeKind::Lines];
        for rouge in [Rouge { stems: true, is_unicode: false }, Rouge { stems: false, is_unicode: true }] {
            let (forth, back) = (rouge.overlaps(&a, &b, &kinds), rouge.overlaps(&b, &a, &kinds));
            for (kind, (forth, back)) in kinds.iter().zip(forth.iter().zip(&back)) {
                prop_assert!((0.0..=1.0).contains(&forth.f) && (0.0..=1.0).contains(&forth.precision));
                // Swapping the texts swaps precision and recall, except for unions of lines, which are not symmetric.
                if *kind != RougeKind::Lines {
                    prop_assert!((forth.precision - back.recall).abs() < 1e-12 && (forth.f - back.f).abs() < 1e-12);
                }
            }
        }
        for tokenizer in [Tokenizer::V13a, Tokenizer::International, Tokenizer::Chinese, Tokenizer::Characters] {
            let smoothing = Smoothing::Exponential;
            let bleu = Bleu { tokenizer, smoothing, lowercase: true, effective_order: true, order: 4 };
            let score = bleu.score(&bleu.counts(&a, &[&b])).score;
            prop_assert!((0.0..=100.0 + 1e-9).contains(&score), "{}", score);
        }
        let chrf = Chrf { word_order: 2, beta: 2.0, lowercase: false, epsilon: false };
        prop_assert!((0.0..=100.0 + 1e-9).contains(&chrf.score(&chrf.counts(&a, &[&b]))));
        prop_assert_eq!(Ter::default().counts(&a, &[&a]).edits, 0.0);
        let (normal_a, normal_b) = (text::squad_normal(&a), text::squad_normal(&b));
        let f1 = text::squad_f1(&normal_a, &normal_b, Squad::V2);
        prop_assert!((0.0..=1.0).contains(&f1) && (f1 - text::squad_f1(&normal_b, &normal_a, Squad::V2)).abs() < 1e-12);
        prop_assert_eq!(text::squad_normal(&normal_a), normal_a);
    }

    #[test]
    fn sets_of_shingles_are_symmetric(a in any_text(), b in any_text()) {
        let [one, other] = [&a, &b].map(|text| Shingles::of_tokens(&text::tokens(text), 3));
        prop_assert_eq!(one.jaccard(&other), other.jaccard(&one));
        prop_assert!(one.containment(&other) + 1e-12 >= one.jaccard(&other) || one.is_empty());
        let [a, b] = [&a, &b].map(|text| text::tokens(text));
        prop_assert_eq!(text::longest_common_run(&a, &b), text::longest_common_run(&b, &a));
    }

    #[test]
    fn intervals_hold_their_estimates(
        successes in 0u64..50, more in 1u64..50, values in prop::collection::vec(-5.0f64..5.0, 2..40),
    ) {
        let n = successes + more;
        let share = successes as f64 / n as f64;
        for interval in [
            stats::wilson(successes as f64, n as f64, stats::Z95),
            stats::clopper_pearson(successes, n, 0.05),
            stats::agresti_coull(successes as f64, n as f64, 0.05),
        ] {
            let interval = interval.unwrap();
            prop_assert!(interval.low <= share + 1e-12 && share <= interval.high + 1e-12 && interval.high > interval.low);
        }
        let turned: Vec<f64> = values.iter().map(|value| -value).collect();
        let (forth, back) = (stats::paired(&values, &turned).unwrap(), stats::paired(&turned, &values).unwrap());
        prop_assert!((forth.difference + back.difference).abs() < 1e-12 && (forth.se - back.se).abs() < 1e-12);
        let (spearman, back) = (stats::correlation(&values, &turned), stats::correlation(&turned, &values));
        prop_assert_eq!(spearman.map(|c| c.spearman), back.map(|c| c.spearman));
    }
}

#[test]
fn a_text_of_a_megabyte_has_a_number_or_a_reason() {
    let long = "word \u{4e2d} sentence, and so on. ".repeat(36_000);
    assert!(long.len() > 1_000_000);
    let other = long.replace("so on", "so forth");
    for (name, metric) in metrics() {
        let (prediction, reference) = (json!(long), json!(other));
        let scored = Scored { prediction: Some(&prediction), reference: Some(&reference), ..Scored::default() };
        let score = metric.score(&scored);
        let is_meta = ["latency", "tokens", "cost"].contains(&name);
        assert!(is_meta || score.as_ref().is_ok_and(Option::is_some) || score.is_err(), "{name}: {score:?}");
    }
}
