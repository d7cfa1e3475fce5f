//! Vectors for `etalon::stats`.

use serde_json::{Value, json};

use etalon::stats::{self, Adjustment, Comparison, HumanScore, JudgedPasses, Level, Weighting};

use super::{Case, bounds, matrix, numbers};

pub fn proportion_ci(case: &Case) -> Value {
    let (input, alpha) = (case.input, case.input["alpha"].as_f64().unwrap());
    let whole = |name: &str| input[name].as_u64().unwrap();
    if case.category == "two_proportions" {
        let two = stats::two_proportions(whole("k1"), whole("n1"), whole("k2"), whole("n2"), alpha).unwrap();
        return json!({
            "z": two.z, "p_two_sided": two.p, "newcombe_diff_ci": bounds(Some(two.difference)), "fisher_p": two.fisher,
        });
    }
    let (k, n) = (whole("successes"), whole("n"));
    let (successes, size) = (k as f64, n as f64);
    json!({
        "wilson": bounds(stats::wilson(successes, size, stats::z_of(alpha))),
        "clopper_pearson": bounds(stats::clopper_pearson(k, n, alpha)),
        "agresti_coull": bounds(stats::agresti_coull(successes, size, alpha)),
        "jeffreys": bounds(stats::jeffreys(successes, size, alpha)),
        "wald": bounds(stats::wald(successes, size, alpha)),
        "sign_test_p_two_sided": stats::sign_test(k, n),
        "sign_test_p_greater": stats::binomial_greater(k, n, 0.5),
        "p_greater_than_0.7": stats::binomial_greater(k, n, 0.7),
    })
}

pub fn mcnemar(case: &Case) -> Value {
    let count = |name: &str| case.input[name].as_u64().unwrap();
    let (only_a, only_b) = (count("only_a_right"), count("only_b_right"));
    let test = stats::mcnemar(only_a, only_b, count("both_right") + only_a + only_b + count("both_wrong")).unwrap();
    let corrected = test.corrected.0;
    json!({
        "exact_p": test.exact, "mid_p": test.mid_p,
        "chi2": test.chi_squared.map(|chi| chi.0), "chi2_p": test.chi_squared.map(|chi| chi.1),
        "chi2_cc": if corrected.is_infinite() { json!("Infinity") } else { json!(corrected) },
        "chi2_cc_p": test.corrected.1,
        "diff": test.difference, "diff_se_paired": test.difference_se, "diff_wald_ci": bounds(Some(test.interval)),
    })
}

pub fn kappa(case: &Case) -> Value {
    let input = case.input;
    let categories = input["categories"].as_array().unwrap();
    if case.category == "fleiss" {
        let counts: Vec<Vec<f64>> = input["ratings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| {
                let row = row.as_array().unwrap();
                categories.iter().map(|category| row.iter().filter(|label| *label == category).count() as f64).collect()
            })
            .collect();
        let (fleiss, randolph) = stats::fleiss(&counts).unwrap();
        return json!({ "fleiss_kappa": fleiss, "randolph_kappa": randolph });
    }
    let rater = |name: &str| input[name].as_array().unwrap().clone();
    let counts = stats::cross_table(categories, rater("rater1").into_iter().zip(rater("rater2")));
    let found = stats::agreement(&counts).unwrap();
    assert_eq!(found.kappa_linear, stats::weighted_kappa(&counts, Weighting::Linear));
    // If the variance is 0, statsmodels takes the root of a rounding error: a tiny number, or NaN if the error is
    // negative. etalon returns 0.
    let wanted = &case.expected["kappa_ase"];
    let is_rounding =
        case.expected["kappa"].is_f64() && (wanted == "NaN" || wanted.as_f64().is_some_and(|se| se < 1e-8));
    let (mut se, mut interval) = (json!(found.kappa_se), json!(bounds(found.kappa_interval)));
    if is_rounding {
        assert_eq!((found.kappa_se, found.kappa_interval.map(|i| i.high - i.low)), (Some(0.0), Some(0.0)));
        (se, interval) = (wanted.clone(), case.expected["kappa_ci95"].clone());
    }
    json!({
        "agreement": found.agreement, "confusion": counts, "kappa": found.kappa,
        "kappa_linear": found.kappa_linear, "kappa_quadratic": found.kappa_quadratic,
        "kappa_ase": se, "kappa_ci95": interval,
        "kappa_se_null": found.kappa_se_null, "gwet_ac1": found.gwet_ac1, "max_kappa": found.max_kappa,
    })
}

pub fn krippendorff(case: &Case) -> Value {
    let level = match case.input["level"].as_str().unwrap() {
        "nominal" => Level::Nominal,
        "ordinal" => Level::Ordinal,
        "interval" => Level::Interval,
        _ => Level::Ratio,
    };
    let ratings: Vec<Vec<Option<f64>>> = case.input["ratings_by_rater"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rater| rater.as_array().unwrap().iter().map(Value::as_f64).collect())
        .collect();
    json!({ "alpha": stats::krippendorff(&ratings, level) })
}

pub fn correlation(case: &Case) -> Value {
    let found = stats::correlation(&numbers(&case.input["human"]), &numbers(&case.input["judge"])).unwrap();
    json!({
        "spearman": found.spearman, "spearman_p": found.spearman_p, "pearson": found.pearson,
        "pearson_p": found.pearson_p, "kendall_tau_b": found.kendall, "mae": found.mae, "rmse": found.rmse,
        "bias": found.bias, "bias_sd": found.bias_sd, "exact_agreement": found.exact,
        "within_one": found.within_one, "loa": bounds(Some(found.limits)),
        "pearson_ci95_fisher": bounds(found.pearson_interval),
    })
}

pub fn paired_tests(case: &Case) -> Value {
    let (a, b) = (numbers(&case.input["a"]), numbers(&case.input["b"]));
    let found = stats::paired(&a, &b).unwrap();
    match case.category {
        "clustered" => {
            let clusters = super::texts(&case.input["cluster"]);
            let differences: Vec<f64> = a.iter().zip(&b).map(|(a, b)| b - a).collect();
            let clustered = stats::clustered(&differences, &clusters).unwrap();
            json!({
                "diff": clustered.mean, "se_naive": clustered.naive, "se_clustered": clustered.se,
                "se_clustered_small_sample": clustered.se_small_sample, "n_clusters": clustered.clusters,
            })
        }
        "bootstrap_mc" => {
            let resamples = case.input["n_resamples"].as_u64().unwrap() as usize;
            let interval = bounds(stats::paired_bootstrap(&a, &b, resamples, 7)).unwrap();
            let [wanted, within] = ["percentile_ci95", "percentile_tol"].map(|key| numbers(&case.expected[key]));
            for end in 0..2 {
                let gap = (interval[end] - wanted[end]).abs();
                assert!(gap <= within[end], "bound {end} of the bootstrap is off by {gap} > {}", within[end]);
            }
            json!({ "diff": found.difference, "bootstrap_se_exact": found.bootstrap_se })
        }
        _ => json!({
            "mean_a": found.mean_a, "mean_b": found.mean_b, "diff": found.difference, "se_paired": found.se,
            "se_unpaired": found.se_unpaired, "t": found.t.map(|t| t.0), "t_p": found.t.map(|t| t.1),
            "t_ci95": bounds(Some(found.t_interval)), "z_ci95": bounds(Some(found.normal_interval)),
            "bootstrap_se_exact": found.bootstrap_se, "cohens_dz": found.cohens_dz,
            "wilcoxon_approx": found.wilcoxon.map(|(statistic, p)| json!({ "statistic": statistic, "p": p })),
            "sign_test": { "wins": found.wins, "losses": found.losses, "ties": found.ties, "p": found.sign_p },
            "exact_sign_flip_p": stats::exact_sign_flip(&a, &b),
            "exact_bootstrap": stats::exact_bootstrap(&a, &b).map(|exact| json!({
                "ci95_inverted_cdf": bounds(Some(exact.interval)), "prob_mean_le_0": exact.at_most_zero,
            })),
        }),
    }
}

pub fn bradley_terry(case: &Case) -> Value {
    let wins = matrix(&case.input["wins"]);
    let ranking = stats::bradley_terry(&wins).unwrap();
    let first: Vec<f64> = (0..wins.len()).map(|i| ranking.win_probability(i, 0)).collect();
    json!({
        "strongly_connected": stats::is_strongly_connected(&wins),
        "mle": (!ranking.is_separated).then_some(&ranking.strengths), "elo": ranking.elo(), "se": ranking.errors,
        "win_prob_vs_first": first,
        "ridge_0.01": stats::ridge(&wins, 0.01), "ridge_0.5": stats::ridge(&wins, 0.5),
    })
}

pub fn multiplicity(case: &Case) -> Value {
    let alpha = case.input["alpha"].as_f64().unwrap();
    let p_values = numbers(&case.input["p_values"]);
    let adjusted = |adjustment| {
        let adjusted = stats::adjust(&p_values, adjustment);
        let reject: Vec<bool> = adjusted.iter().map(|p| *p <= alpha).collect();
        json!({ "adjusted": adjusted, "reject": reject })
    };
    json!({
        "bonferroni": adjusted(Adjustment::Bonferroni), "holm": adjusted(Adjustment::Holm),
        "benjamini_hochberg": adjusted(Adjustment::BenjaminiHochberg),
        "benjamini_yekutieli": adjusted(Adjustment::BenjaminiYekutieli),
    })
}

pub fn judge_correction(case: &Case) -> Value {
    let input = case.input;
    if case.category == "ppi_mean" {
        // No labelled row is among the rows of the judge's mean.
        let labelled: Vec<HumanScore> = numbers(&input["judge_labelled"])
            .into_iter()
            .zip(numbers(&input["human_labelled"]))
            .map(|(judge, human)| HumanScore { judge, human, is_counted: false })
            .collect();
        let alpha = input["alpha"].as_f64().unwrap_or(0.05);
        let found = stats::corrected_mean(&numbers(&input["judge_unlabelled"]), &labelled, alpha).unwrap();
        return json!({
            "naive": found.naive, "human_only": found.human, "ppi": found.corrected, "se": found.se,
            "ci95": bounds(Some(found.interval)),
        });
    }
    let count = |name: &str| input[name].as_f64().unwrap();
    let judged = JudgedPasses {
        passes: count("judged_pass"),
        n: count("n"),
        true_fails: count("true_fail"),
        true_fails_failed: count("true_fail_judged_fail"),
        true_passes: count("true_pass"),
        true_passes_passed: count("true_pass_judged_pass"),
    };
    let found = stats::rogan_gladen(&judged, count("alpha")).unwrap();
    json!({
        "raw": found.raw, "specificity": found.specificity, "sensitivity": found.sensitivity,
        "corrected": found.corrected, "ci95": bounds(found.interval),
    })
}

pub fn length_control(case: &Case) -> Value {
    let [y, length, baseline] = ["y", "len_model", "len_base"].map(|name| numbers(&case.input[name]));
    let comparisons: Vec<Comparison> =
        (0..y.len()).map(|i| Comparison { outcome: y[i], length: length[i], baseline_length: baseline[i] }).collect();
    let found = stats::length_control(&comparisons).unwrap();
    let model = |model: stats::LengthModel| {
        json!({
            "theta": model.theta, "phi": model.phi, "lc_win_rate": model.win_rate,
            "phi_se": model.phi_se, "phi_p": model.phi_p,
        })
    };
    let (longer, decisive) = found.longer_wins;
    json!({
        "win_rate": found.win_rate, "standard_error": found.standard_error, "mean_len_model": found.mean_length,
        "mean_len_base": found.mean_baseline_length, "sd_delta": found.sd_delta,
        "p_longer_wins": (decisive > 0).then(|| longer as f64 / decisive as f64),
        "mle": found.fit.map(model),
        "ridge_0.001": stats::length_ridge(&comparisons, 0.001).map(model),
        "ridge_1.0": stats::length_ridge(&comparisons, 1.0).map(model),
    })
}

pub fn power(case: &Case) -> Value {
    let input = case.input;
    let of = |name: &str| input[name].as_f64().unwrap();
    let needed = |exact: f64| json!({ "n": exact.ceil(), "n_exact": exact });
    match case.category {
        "paired_mean_n" => needed(stats::rows_needed(of("sd_diff"), of("mde"), of("alpha"), of("power"))),
        "paired_mean_mde" => {
            json!({ "mde": stats::detectable_effect(of("sd_diff"), of("n"), of("alpha"), of("power")) })
        }
        "miller_n" => needed(stats::rows_needed_sampled(
            of("omega2"),
            (of("sigma2_a"), of("sigma2_b")),
            of("resamples"),
            of("mde"),
            of("alpha"),
            of("power"),
        )),
        _ => {
            let found = stats::win_rate_power(input["n"].as_u64().unwrap(), of("true_win_rate"), of("alpha"));
            json!({ "critical_wins": found.map(|found| found.0), "power": found.map(|found| found.1) })
        }
    }
}

/// Returns a label as scikit-learn writes it.
fn label(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

pub fn classification_report(case: &Case) -> Value {
    let input = case.input;
    let rows = |name: &str| input[name].as_array().unwrap();
    let weight = |i: usize| input["sample_weight"].get(i).map_or(1.0, |weight| weight.as_f64().unwrap());
    let mut confusion = stats::Confusion::default();
    let is_multilabel = case.category == "multilabel";
    let mut count = 0;
    for (i, (gold, predicted)) in rows("y_true").iter().zip(rows("y_pred")).enumerate() {
        if is_multilabel {
            // The rows are indicators, and labels are the positions in them.
            let set = |row: &Value| -> Vec<String> {
                count = row.as_array().unwrap().len();
                let row = row.as_array().unwrap().iter().enumerate();
                row.filter(|(_, value)| **value == 1).map(|(label, _)| label.to_string()).collect()
            };
            let [gold, predicted] = [gold, predicted].map(set);
            confusion.add_sets(gold.iter().map(String::as_str), Some(predicted.iter().map(String::as_str)), weight(i));
        } else {
            confusion.add(&label(gold), Some(&label(predicted)), weight(i));
        }
    }
    let labels: Vec<String> = match input["labels"].as_array() {
        Some(labels) => labels.iter().map(label).collect(),
        None if is_multilabel => (0..count).map(|label| label.to_string()).collect(),
        None => confusion.labels(),
    };
    let zero_division = input["zero_division"].as_f64().unwrap_or(f64::NAN);
    let Some(report) = confusion.report(&labels, zero_division) else {
        assert_eq!(case.expected["error"], "ValueError");
        return Value::Null;
    };
    let names = input["target_names"].is_array().then(|| super::texts(&input["target_names"]));
    let scores = |scores: &stats::LabelScores| {
        json!({
            "precision": scores.precision, "recall": scores.recall, "f1-score": scores.f1, "support": scores.support,
        })
    };
    let mut dict = serde_json::Map::new();
    for (i, (label, of_label)) in report.labels.iter().enumerate() {
        dict.insert(names.as_ref().map_or_else(|| label.clone(), |names| names[i].clone()), scores(of_label));
    }
    for (name, average) in report.averages() {
        dict.insert(name.to_owned(), scores(&average));
    }
    if let Some(accuracy) = report.shown_accuracy() {
        dict.insert("accuracy".to_owned(), json!(accuracy));
    }
    let micro = report.micro_avg;
    let digits = input["digits"].as_u64().unwrap() as usize;
    let mut matrix = confusion.matrix(&labels);
    matrix.iter_mut().for_each(|row| _ = row.pop());
    json!({
        "report": dict, "text": report.text(names.as_deref(), digits),
        "micro": { "precision": micro.precision, "recall": micro.recall, "f1": micro.f1 },
        "accuracy": report.accuracy,
        // The reference has no matrix for weighted rows.
        "confusion_matrix": input["sample_weight"].is_null().then_some(matrix),
        "label_order": labels.iter().map(|label| label.parse::<i64>().map_or_else(|_| json!(label), |n| json!(n))).collect::<Vec<_>>(),
        "balanced_accuracy": report.balanced_accuracy, "mcc": report.mcc,
    })
}

pub fn k_center(case: &Case) -> Value {
    let vectors = matrix(&case.input["vectors"]);
    let distance = if case.input["metric"] == "cosine" { stats::Distance::Cosine } else { stats::Distance::Euclidean };
    let found = stats::farthest_first(&vectors, case.input["k"].as_u64().unwrap() as usize, distance);
    let chosen: Vec<Vec<f64>> = found.order.iter().map(|i| vectors[*i].clone()).collect();
    let nearest = stats::least_distance(&chosen, distance);
    json!({ "order": found.order, "covering_radius": found.radius, "min_pairwise": nearest })
}

pub fn trainer_state(case: &Case) -> Value {
    let history = case.input["trainer_state"]["log_history"].as_array().unwrap();
    let found = stats::curve(&stats::logged(history));
    let mut out = json!({
        "n_train_logs": found.training_logs, "n_evals": found.evaluations,
        "diverged": found.status == stats::CurveStatus::Diverged, "status": found.status.name(),
    });
    if let Some(of) = found.evaluation {
        let more = json!({
            "best_step": of.best_step, "best_eval_loss": of.best, "last_eval_loss": of.last,
            "evals_after_best": of.evaluations_after_best, "eval_rise_rel": of.rise,
            "train_at_best": of.training_at_best, "train_last": of.training_at_last, "gap_last": of.gap,
        });
        out.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    }
    out
}
