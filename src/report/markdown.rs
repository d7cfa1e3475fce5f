//! A run as Markdown, for a pull request.
//!
//! What models, files and people said is data: it stands escaped, in cells or in `<pre>`, and nothing of it is a link or a tag.

use super::compare::{RowTexts, score, turns};
use super::junit::escaped;
use super::text::{cell, difference, number};
use super::view::{View, role_word};
use crate::compare::{Comparison, Line, Verdict};
use crate::record::GateVerdict;
use crate::score::{Rank, Unit};

/// The largest report, in bytes: comments of GitHub's checks end at about 1 MB.
const MOST_BYTES: usize = 900_000;
/// How many characters of a text are shown.
const SHOWN: usize = 1_500;

/// Rows of a value that changed, with their texts.
pub type Flipped<'a> = (&'a Line, Vec<RowTexts>);

/// Renders a run: its gates, its values, and what changed against another run or against its own baseline. The first line
/// is a hidden mark by which a bot finds the comment that it wrote before.
pub fn markdown(view: &View, comparisons: &[Comparison], flips: &[Flipped<'_>]) -> String {
    let mut out =
        format!("<!-- etalon:{} -->\n## {} {}\n\n", escaped(&view.pipeline), verdict_of(view), inline(&view.pipeline));
    let label = view.label.as_ref().map_or_else(String::new, |label| format!(" ({})", inline(label)));
    out.push_str(&format!("Run `{}`{label}, {}\n\n", escaped(&view.run), escaped(&view.started)));
    gates(view, &mut out);
    if comparisons.is_empty() {
        values(view, &mut out);
    }
    for comparison in comparisons {
        changes(comparison, &mut out);
    }
    for (line, texts) in flips {
        let mut block = format!("<details><summary>{}: {}</summary>\n\n", escaped(&line.name()), turns(line));
        for flip in &line.flips {
            let unit = line.reading.unit;
            block.push_str(&format!(
                "**{}** {} → {}\n\n",
                inline(&flip.id),
                score(flip.before, unit),
                score(flip.after, unit)
            ));
            if let Some(found) = texts.iter().find(|texts| texts.id == flip.id) {
                block.push_str(&row(found));
            }
        }
        block.push_str("</details>\n\n");
        if out.len() + block.len() > MOST_BYTES {
            out.push_str("… more rows than fit here: `etalon compare --rows both`\n");
            break;
        }
        out.push_str(&block);
    }
    out
}

/// Returns the run's verdict in a word.
fn verdict_of(view: &View) -> &'static str {
    let has = |verdict: GateVerdict| view.gates.iter().any(|gate| gate.verdict == verdict);
    match () {
        () if !view.broken.is_empty() => "❌ failed nodes in",
        () if has(GateVerdict::Fail) || has(GateVerdict::NoData) => "❌ gates fail in",
        () if has(GateVerdict::Unproven) => "⚠️ not all gates are proven in",
        () if view.gates.is_empty() => "",
        () => "✅ all gates pass in",
    }
}

fn gates(view: &View, out: &mut String) {
    if view.gates.is_empty() {
        return;
    }
    out.push_str("| gate | verdict | | |\n|---|---|---|---|\n");
    for gate in &view.gates {
        let word = match gate.verdict {
            GateVerdict::Pass => "✅ PASS",
            GateVerdict::Unproven => "⚠️ UNPROVEN",
            GateVerdict::Fail => "❌ FAIL",
            GateVerdict::NoData => "❌ NO DATA",
            GateVerdict::NotRun => "NOT RUN",
        };
        let sides = gate.left.zip(gate.right).map_or_else(String::new, |(a, b)| format!("{a:.3} against {b:.3}"));
        let because = gate.because.as_deref().unwrap_or_default();
        out.push_str(&format!("| {} | {word} | {sides} | {} |\n", inline(&gate.gate), inline(because)));
    }
    out.push('\n');
}

fn values(view: &View, out: &mut String) {
    let columns = &view.columns;
    out.push_str("| |");
    for column in columns {
        let role = column.role.map_or_else(String::new, |role| format!(" ({})", role_word(role)));
        out.push_str(&format!(" {}{role} |", inline(column.name())));
    }
    out.push_str(&format!("\n|---|{}\n", "---|".repeat(columns.len())));
    for line in view.lines.iter().filter(|line| line.reading.rank == Rank::Headline) {
        out.push_str(&format!("| {} |", inline(&line.name)));
        for estimate in &line.estimates {
            let text = estimate.as_ref().map_or_else(|| "–".to_owned(), |found| cell(found, line.reading.unit));
            out.push_str(&format!(" {} |", inline(&text)));
        }
        out.push('\n');
    }
    out.push('\n');
}

fn changes(found: &Comparison, out: &mut String) {
    let side = |side: &crate::compare::Compared| {
        let model = side.model.as_ref().map_or_else(String::new, |model| format!(":{}", inline(model)));
        format!("{}{model}", inline(side.of.name()))
    };
    out.push_str(&format!("{} → {}\n\n", side(&found.before), side(&found.after)));
    out.push_str("| | before | after | Δ | p | n | fixed | broken | |\n|---|---|---|---|---|---|---|---|---|\n");
    let headlines = found.values.iter().filter(|line| line.is_headline() && !line.identical);
    for line in headlines {
        let change = &line.change;
        let unit = line.reading.unit;
        let word = match change.verdict {
            Verdict::Improved => "✅ IMPROVED",
            Verdict::Regressed => "❌ REGRESSED",
            Verdict::Changed => "CHANGED",
            Verdict::Same => "SAME",
            Verdict::Unclear => "❔ UNCLEAR",
        };
        let rows = |count: Option<u64>| count.map_or_else(|| "–".to_owned(), |count| count.to_string());
        let (fixed, broken) = match change.unpaired {
            None => (rows(line.fixed), rows(line.broken)),
            Some(_) => ("–".to_owned(), "unpaired".to_owned()),
        };
        let lost = match change.lost {
            0 => String::new(),
            lost => format!(" ({lost} lost)"),
        };
        out.push_str(&format!(
            "| {} | {} | {} | {} | {} | {}{lost} | {fixed} | {broken} | {word} |\n",
            inline(&line.name()),
            inline(&cell(&line.before, unit)),
            inline(&cell(&line.after, unit)),
            inline(&difference(&change.difference, unit)),
            change.p.map_or_else(|| "–".to_owned(), |p| inline(&number(p, Unit::PValue))),
            change.difference.n,
        ));
    }
    let identical = found.values.iter().filter(|line| line.identical && line.is_headline()).count();
    if identical > 0 {
        out.push_str(&format!("\n{identical} headlines are of results that did not change.\n"));
    }
    for one in &found.refused {
        let mark = if one.is_loss { "❌ " } else { "" };
        out.push_str(&format!("\n{mark}Not compared: {}: {}\n", inline(&one.of), inline(&one.because)));
    }
    out.push('\n');
}

fn row(texts: &RowTexts) -> String {
    let mut out = String::new();
    let either = texts.after.as_ref().or(texts.before.as_ref());
    let mut add = |name: &str, value: Option<&serde_json::Value>| {
        let Some(value) = value.filter(|value| !value.is_null()) else { return };
        let text = super::compare::plain(value);
        let short: String = text.chars().take(SHOWN).collect();
        let more = if short.len() < text.len() { " …" } else { "" };
        out.push_str(&format!("{name}\n<pre>{}{more}</pre>\n\n", escaped(&short).replace('\n', "&#10;")));
    };
    add("prompt", either.and_then(|row| row.get("prompt")));
    for (name, row) in [("before", &texts.before), ("after", &texts.after)] {
        let of = |field: &str| row.as_ref().and_then(|row| row.get(field));
        add(name, of("completion"));
        add(&format!("{name}, reason"), of("reason"));
    }
    out
}

/// Returns a text for a cell or a line: characters that mean something in Markdown are escaped.
fn inline(text: &str) -> String {
    let flat: String = text.chars().map(|c| if c == '\n' || c == '\t' { ' ' } else { c }).collect();
    let mut out = String::new();
    for c in escaped(&flat).chars() {
        // `&` and `;` stay: they are those of the escapes. An @ would call people.
        if "\\`*_{}[]()#+!|~$".contains(c) {
            out.push('\\');
        }
        out.push(c);
        if c == '@' {
            out.push('\u{200b}');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Run;

    #[test]
    fn what_models_say_is_data() {
        assert_eq!(
            inline("a|b <img src=x> [l](u) @team\n# x"),
            "a\\|b &lt;img src=x&gt; \\[l\\]\\(u\\) @\u{200b}team \\# x"
        );
        let texts = RowTexts {
            id: "1".to_owned(),
            before: serde_json::json!({ "completion": "</pre><script>\n\n**x**" }).as_object().cloned(),
            after: None,
        };
        assert_eq!(row(&texts), "before\n<pre>&lt;/pre&gt;&lt;script&gt;&#10;&#10;**x**</pre>\n\n");
        let text = markdown(&View::of(&Run::new("r", "p")), &[], &[]);
        assert!(text.starts_with("<!-- etalon:p -->\n"), "{text}");
    }
}
