//! Vectors for `etalon::text`, and for the metrics of formats.

use serde_json::{Map, Value, json};

use etalon::metric::Schema;
use etalon::text::{
    self, Bleu, BleuCounts, Chrf, ChrfCounts, MinHash, Rouge, RougeKind, Shingles, Smoothing, Squad, Ter, TerCounts,
    Tokenizer,
};

use super::{Case, texts};

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap()
}

pub fn rouge(case: &Case) -> Value {
    let references = texts(&case.input["references"]);
    let references: Vec<&str> = references.iter().map(String::as_str).collect();
    let kinds =
        [RougeKind::Ngrams(1), RougeKind::Ngrams(2), RougeKind::Ngrams(3), RougeKind::Longest, RougeKind::Lines];
    let of = |stems: bool| {
        let found = Rouge { stems, is_unicode: false }.best(text(case.input, "prediction"), &references, &kinds);
        let named = ["rouge1", "rouge2", "rouge3", "rougeL", "rougeLsum"].iter().zip(found);
        named
            .map(|(name, o)| ((*name).to_owned(), json!([o.precision, o.recall, o.f])))
            .collect::<serde_json::Map<_, _>>()
    };
    json!({ "plain": of(false), "stemmed": of(true) })
}

pub fn porter_stem(case: &Case) -> Value {
    json!({ "stems": texts(&case.input["words"]).iter().map(|word| text::stem(word)).collect::<Vec<_>>() })
}

pub fn bleu_chrf(case: &Case) -> Value {
    let hypotheses = texts(&case.input["hypotheses"]);
    let references: Vec<Vec<String>> = case.input["references"].as_array().unwrap().iter().map(texts).collect();
    let of = |i: usize| -> Vec<&str> { references.iter().map(|texts| texts[i].as_str()).collect() };
    let plain = Bleu {
        tokenizer: Tokenizer::V13a,
        smoothing: Smoothing::Exponential,
        lowercase: false,
        effective_order: false,
        order: 4,
    };
    let bleu = |bleu: Bleu| {
        let mut counts = BleuCounts::default();
        hypotheses.iter().enumerate().for_each(|(i, text)| counts.add(&bleu.counts(text, &of(i))));
        let score = bleu.score(&counts);
        json!({
            "score": score.score, "counts": score.counts.correct[..bleu.order], "totals": score.counts.total[..bleu.order],
            "precisions": score.precisions[..bleu.order], "bp": score.brevity_penalty,
            "sys_len": counts.length, "ref_len": counts.reference_length,
        })
    };
    let chrf = |word_order, lowercase, epsilon| {
        let chrf = Chrf { word_order, beta: 2.0, lowercase, epsilon };
        let mut counts = ChrfCounts::default();
        hypotheses.iter().enumerate().for_each(|(i, text)| counts.add(&chrf.counts(text, &of(i))));
        chrf.score(&counts)
    };
    let mut ter = TerCounts::default();
    hypotheses.iter().enumerate().for_each(|(i, text)| ter.add(&Ter::default().counts(text, &of(i))));
    let sentence = |tokenizer| bleu(Bleu { tokenizer, effective_order: true, ..plain });
    let smoothed = |smoothing| bleu(Bleu { smoothing, ..plain });
    json!({
        "sentence_13a": sentence(Tokenizer::V13a), "sentence_intl": sentence(Tokenizer::International),
        "sentence_zh": sentence(Tokenizer::Chinese), "sentence_char": sentence(Tokenizer::Characters),
        "sentence_none": sentence(Tokenizer::Words),
        "corpus_exp": bleu(plain), "corpus_floor": smoothed(Smoothing::Floor(0.1)),
        "corpus_add-k": smoothed(Smoothing::AddK(1.0)), "corpus_none": smoothed(Smoothing::Nothing),
        "corpus_lc": bleu(Bleu { lowercase: true, ..plain }), "corpus_eff": bleu(Bleu { effective_order: true, ..plain }),
        "corpus_zh": bleu(Bleu { tokenizer: Tokenizer::Chinese, ..plain }), "corpus_o2": bleu(Bleu { order: 2, ..plain }),
        "chrF2": chrf(0, false, false), "chrF2++": chrf(2, false, false),
        "chrF2_lc": chrf(0, true, false), "chrF2_eps": chrf(0, false, true),
        "ter": ter.score(),
    })
}

pub fn squad_em_f1(case: &Case) -> Value {
    let (prediction, references) = (text(case.input, "prediction"), texts(&case.input["references"]));
    let normal = text::squad_normal(prediction);
    let normals: Vec<String> = references.iter().map(|reference| text::squad_normal(reference)).collect();
    let f1 = |version| normals.iter().map(|other| text::squad_f1(&normal, other, version)).fold(0.0, f64::max);
    let exact = |mode: &str| {
        let metric = etalon::metric::find("exact_match").unwrap();
        let settings = json!({ "mode": mode });
        let metric = metric.make(settings.as_object().unwrap(), std::path::Path::new(".")).unwrap();
        let (prediction, reference) = (json!(prediction), json!(references));
        let scored =
            etalon::metric::Scored { prediction: Some(&prediction), reference: Some(&reference), ..Default::default() };
        metric.score(&scored).unwrap().unwrap().as_f64()
    };
    json!({
        "normalized_prediction": normal, "normalized_references": normals, "em": exact("squad"),
        "f1_v1": f1(Squad::V1), "f1_v2": f1(Squad::V2), "raw_em": exact("strict"), "strip_em": exact("trim"),
    })
}

pub fn json_compliance(case: &Case) -> Value {
    let form = text::json_form(text(case.input, "text"));
    let schema = Schema::new(&case.input["schema"]).unwrap();
    let body = text::unfenced(text(case.input, "text")).unwrap_or(text(case.input, "text"));
    let failures = text::read_json(body).map(|value| schema.failures(&value, usize::MAX).unwrap());
    let lines = failures.iter().flatten().map(|failure| {
        let pointer = if failure.pointer.is_empty() { "/" } else { &failure.pointer };
        format!("{pointer} {}", failure.keyword)
    });
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    json!({
        "strict_valid": form.is_strict, "fenced": form.is_fenced, "valid_after_fence_strip": form.is_valid,
        "duplicate_keys": form.has_duplicate_keys, "schema_valid": failures.is_some_and(|failures| failures.is_empty()),
        "schema_errors": lines,
    })
}

pub fn csv_compliance(case: &Case) -> Value {
    let delimiter = text(case.input, "delimiter").chars().next().unwrap();
    let shape = text::csv_shape(text(case.input, "text"), delimiter);
    json!({
        "parses": shape.is_some(), "rectangular": shape.as_ref().is_some_and(text::CsvShape::is_rectangular),
        "header": shape.as_ref().and_then(|shape| shape.header.clone()),
        "n_rows": shape.as_ref().map(|shape| shape.rows), "column_counts": shape.map(|shape| shape.widths),
    })
}

pub fn near_duplicate(case: &Case) -> Value {
    let [a, b] = ["a", "b"].map(|side| text::tokens(text(case.input, side)));
    let [words, runs, long] = [1, 3, 5].map(|n| [&a, &b].map(|tokens| Shingles::of_tokens(tokens, n)));
    for [a, b] in [&words, &runs, &long] {
        if !(a.is_empty() || b.is_empty()) {
            let (exact, estimate) = (a.jaccard(b), MinHash::new(a).similarity(&MinHash::new(b)));
            let allowed = 4.0 * (exact * (1.0 - exact) / text::PERMUTATIONS as f64).sqrt() + 1e-9;
            assert!((exact - estimate).abs() <= allowed, "MinHash says {estimate} of {exact}");
        }
    }
    let characters = [&a, &b].map(|tokens| Shingles::of_characters(tokens, 5));
    let run = text::longest_common_run(&a, &b);
    json!({
        "tokens_a": a.len(), "tokens_b": b.len(), "longest_common_run": run,
        "jaccard_word1": words[0].jaccard(&words[1]), "containment_word1_a_in_b": words[0].containment(&words[1]),
        "jaccard_word3": runs[0].jaccard(&runs[1]), "containment_word3_a_in_b": runs[0].containment(&runs[1]),
        "jaccard_word5": long[0].jaccard(&long[1]), "containment_word5_a_in_b": long[0].containment(&long[1]),
        "jaccard_char5": characters[0].jaccard(&characters[1]),
        "shares_8gram": run >= 8, "shares_13gram": run >= 13, "exact_after_normalisation": a == b,
    })
}

pub fn refusal(case: &Case) -> bool {
    text::is_refusal(text(case.input, "text"))
}

pub fn truncation(case: &Case) -> bool {
    text::is_truncated(text(case.input, "text"), case.input["finish_reason"].as_str())
}

pub fn json_fields(case: &Case) -> Value {
    let entry = etalon::metric::find("json_fields").unwrap();
    let metric = entry.make(case.input["settings"].as_object().unwrap(), std::path::Path::new(".")).unwrap();
    let mut tally = metric.tally(1);
    for row in case.input["rows"].as_array().unwrap() {
        let scored = etalon::metric::Scored {
            prediction: Some(&row["prediction"]),
            reference: Some(&row["reference"]),
            ..Default::default()
        };
        let score = metric.score(&scored).unwrap();
        tally.add(&etalon::metric::RowScores { scores: &[score.as_ref()], cluster: None });
    }
    let mut summary = etalon::metric::TallySummary::default();
    tally.finish(&mut summary);
    summary.parts.into_iter().map(|(part, estimate)| (part, json!(estimate.value))).collect::<Map<_, _>>().into()
}
