//! What is wrong with models, as text.

use super::text::{cell, cut, wrapped};
use super::{Tone, printable, toned};
use crate::diagnose::{Confidence, Diagnosis, Dimension, Finding};
use crate::record::Run;

/// How many rows are named with a finding.
const ROWS: usize = 5;
/// How many characters of an id, or of a value of the data, are shown.
const ID: usize = 80;

/// Renders diagnoses: the answer first, then each finding with its evidence and what helps.
pub fn diagnoses(found: &[Diagnosis], run: &Run, width: Option<usize>) -> String {
    found.iter().map(|diagnosis| one(diagnosis, run, width)).collect::<Vec<_>>().join("\n\n")
}

fn one(found: &Diagnosis, run: &Run, width: Option<usize>) -> String {
    let mut blocks = vec![answer(found, run)];
    if !found.weakest.is_empty() {
        blocks.push(found.weakest.iter().map(|dimension| weak(dimension, run)).collect::<Vec<_>>().join("\n"));
    }
    blocks.extend(found.findings.iter().map(|found| finding(found, width)));
    if !found.works.is_empty() {
        blocks.push(
            found
                .works
                .iter()
                .map(|text| format!("{} {}", toned(Tone::Good, "works"), printable(text)))
                .collect::<Vec<_>>()
                .join("\n"),
        );
    }
    if !found.needs.is_empty() {
        let needs = found
            .needs
            .iter()
            .map(|need| wrapped(&format!("{} needs {}", need.code, printable(&need.missing)), "  ", width));
        blocks.push(format!("not looked for:\n{}", needs.collect::<Vec<_>>().join("\n")));
    }
    blocks.join("\n\n")
}

/// Returns the answer in a line or two.
fn answer(found: &Diagnosis, run: &Run) -> String {
    let label = run.label.as_ref().map_or_else(String::new, |label| format!(" ({})", printable(label)));
    let head = format!("{} in {}{label}", printable(&found.model), printable(&found.run));
    let weakest = match found.weakest.first() {
        Some(dimension) => format!("weakest in {}", printable(&dimension.name)),
        None if found.dimensions == 0 => "no value over held-out rows says how good it is".to_owned(),
        None => "every target is met".to_owned(),
    };
    let findings = match found.findings.as_slice() {
        [] => "no symptom found".to_owned(),
        several => {
            let titles: Vec<String> = several.iter().map(|finding| finding.title.clone()).collect();
            toned(Tone::Bad, &printable(&titles.join(" · ")))
        }
    };
    format!("{head}: {weakest}\n{findings}")
}

fn weak(dimension: &Dimension, run: &Run) -> String {
    let (stage, value) = dimension.name.split_once('.').unwrap_or((&dimension.name, ""));
    let unit = run.values.get(stage).and_then(|values| values.get(value)).map(|reading| reading.unit);
    let shown = unit.map_or_else(|| format!("{:.2}", dimension.attained), |unit| cell(&dimension.value, unit));
    let of = match dimension.target_of {
        "scale" => "of the scale".to_owned(),
        of => format!("of what the {of} asks for"),
    };
    let mut text = format!(
        "{}  {shown}: {:.0} % {of} are missing; the weakest in {:.0} % of draws",
        printable(&dimension.name),
        100.0 * dimension.deficit,
        100.0 * dimension.probability
    );
    if let (Some((column, value, estimate)), Some(unit)) = (&dimension.slice, unit) {
        text.push_str(&format!("\n  least where {} is {}: {}", cut(column, ID), cut(value, ID), cell(estimate, unit)));
    }
    if !dimension.rows.is_empty() {
        text.push_str(&format!("\n  rows: {}", rows(&dimension.rows)));
    }
    text
}

fn finding(found: &Finding, width: Option<usize>) -> String {
    let confidence = match found.confidence {
        Confidence::High => "",
        Confidence::Medium => " (likely)",
        Confidence::Low => " (doubtful)",
    };
    let mut text = format!("{} {}{confidence}", toned(Tone::Bad, found.code), printable(&found.title));
    text.push_str(&format!("\n{}", wrapped(&printable(&found.evidence), "  ", width)));
    if !found.rows.is_empty() {
        text.push_str(&format!("\n  rows: {}", rows(&found.rows)));
    }
    for remedy in &found.remedy {
        text.push_str(&format!("\n{}", wrapped(&format!("→ {}", printable(remedy)), "  ", width)));
    }
    text
}

/// Returns some ids; the command that shows more takes them one by one.
fn rows(ids: &[String]) -> String {
    let some: Vec<String> = ids.iter().take(ROWS).map(|id| cut(id, ID)).collect();
    let more = if ids.len() > ROWS { format!(" and {} more", ids.len() - ROWS) } else { String::new() };
    format!("{}{more}", some.join(", "))
}
