//! The cache as text: what it holds, what that cost, what can go.

use std::path::Path;

use super::counted;
use crate::store::{Garbage, Holding, Ledger};

/// Renders a size: `1.2 GB`.
pub fn bytes(size: u64) -> String {
    match size {
        0..1_000 => format!("{size} bytes"),
        1_000..1_000_000 => format!("{:.1} kB", size as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", size as f64 / 1e6),
        _ => format!("{:.1} GB", size as f64 / 1e9),
    }
}

/// Renders what a ledger cost: `$1.2000`, `$1.2000 and 3 of unknown price`.
fn cost(ledger: &Ledger) -> String {
    match (ledger.cost_usd > 0.0, ledger.unpriced) {
        (false, 0) => "free".to_owned(),
        (true, 0) => format!("${:.4}", ledger.cost_usd),
        (true, unpriced) => format!("${:.4} and {unpriced} of unknown price", ledger.cost_usd),
        (false, _) => "unknown price".to_owned(),
    }
}

/// Renders a line per ledger; `names` returns how pipelines name the model.
fn ledgers<'a>(ledgers: &[Ledger], names: &dyn Fn(&Ledger) -> &'a [String]) -> String {
    let title = |ledger: &Ledger| {
        let model = ledger.model.clone().unwrap_or_else(|| "(a model without a name)".to_owned());
        match names(ledger) {
            [] => format!("{model} ({}…), which no pipeline names", &ledger.identity[..ledger.identity.len().min(8)]),
            named => format!("{model} ({})", named.join(", ")),
        }
    };
    let titles: Vec<String> = ledgers.iter().map(title).collect();
    let width = titles.iter().map(|title| title.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for (ledger, title) in ledgers.iter().zip(titles) {
        let mut facts = vec![counted(ledger.completions, "completion"), cost(ledger), bytes(ledger.bytes)];
        if ledger.useless > 0 {
            facts.push(format!("{} billed without use", ledger.useless));
        }
        if ledger.damaged > 0 {
            facts.push(format!("{} cannot be read", counted(ledger.damaged, "line")));
        }
        facts.extend(ledger.last.as_ref().map(|last| format!("last {}", last.split('T').next().unwrap_or(last))));
        out.push_str(&format!("  {title:<width$}  {}\n", facts.join(", ")));
    }
    out
}

/// Renders what a cache holds.
pub fn store<'a>(
    root: &Path,
    holdings: &[Holding],
    models: &[Ledger],
    names: &dyn Fn(&Ledger) -> &'a [String],
) -> String {
    let all: u64 = holdings.iter().map(|holding| holding.bytes).sum();
    let mut out = format!("{}: {}\n\n", root.display(), bytes(all));
    for Holding { name, about, files, bytes: size } in holdings {
        out.push_str(&format!("  {name:<12}{:>9}  {:>8}  {about}\n", bytes(*size), counted(*files, "file")));
    }
    if !models.is_empty() {
        let dollars: f64 = models.iter().map(|ledger| ledger.cost_usd).sum();
        let unpriced: u64 = models.iter().map(|ledger| ledger.unpriced).sum();
        let total = Ledger { cost_usd: dollars, unpriced, ..Ledger::default() };
        out.push_str(&format!(
            "\nbought, at the prices of today's pipelines: {}\n{}",
            cost(&total),
            ledgers(models, names)
        ));
    }
    out
}

/// Renders what can go, or has gone.
pub fn garbage(garbage: &Garbage, unnamed: &[Ledger], is_dry: bool, with_completions: bool) -> String {
    let verb = if is_dry { "would go" } else { "gone" };
    let mut out = format!(
        "{verb}: {} in {}, {} and {}; nothing of it is bought again\n",
        bytes(garbage.bytes),
        counted(garbage.artifacts, "artifact"),
        counted(garbage.manifests, "manifest"),
        counted(garbage.contrasts, "comparison"),
    );
    if garbage.young > 0 {
        out.push_str(&format!("kept: {} younger than the grace time\n", counted(garbage.young, "result")));
    }
    if !unnamed.is_empty() {
        let verb = match (is_dry, with_completions) {
            (false, true) => "gone, and bought again if asked for again",
            _ => "would go with --completions --yes, and be bought again if asked for again",
        };
        out.push_str(&format!("completions {verb}:\n{}", ledgers(unnamed, &|_| &[])));
    }
    out
}
