//! The gates of a run as JUnit XML, which CI systems show as tests.

use super::printable;
use crate::record::{GateResult, GateVerdict, NodeOutcome, Run};

/// Renders the gates of a run, each as a test; failed nodes are tests that failed, too.
///
/// An UNPROVEN gate passes, and with `is_strict` fails, as the exit code of `run` has it.
pub fn junit(run: &Run, is_strict: bool) -> String {
    let failed = |gate: &&GateResult| match gate.verdict {
        GateVerdict::Fail | GateVerdict::NoData => true,
        GateVerdict::Unproven => is_strict,
        GateVerdict::Pass | GateVerdict::NotRun => false,
    };
    let nodes: Vec<_> = run.nodes.iter().filter(|node| node.outcome == NodeOutcome::Failed).collect();
    let skipped = run.gates.iter().filter(|gate| gate.verdict == GateVerdict::NotRun).count();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    out.push_str(&format!(
        "<testsuites><testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{skipped}\" time=\"{:.3}\" timestamp=\"{}\">\n",
        escaped(&run.pipeline),
        run.gates.len() + nodes.len(),
        run.gates.iter().filter(failed).count(),
        nodes.len(),
        run.seconds,
        escaped(run.started.trim_end_matches('Z')),
    ));
    for gate in &run.gates {
        out.push_str(&format!(
            "  <testcase classname=\"{}\" name=\"{}\">",
            escaped(&run.pipeline),
            escaped(&gate.gate)
        ));
        let sides = gate.left.zip(gate.right).map_or_else(String::new, |(a, b)| format!(": {a:.3} against {b:.3}"));
        let because = gate.because.as_deref().unwrap_or_default();
        let word = word(gate.verdict);
        if failed(&gate) {
            out.push_str(&format!(
                "<failure type=\"{word}\" message=\"{word}{}\">{}</failure>",
                escaped(&sides),
                escaped(because)
            ));
        } else if gate.verdict == GateVerdict::NotRun {
            out.push_str("<skipped message=\"its nodes were no part of this run\"/>");
        } else if gate.verdict == GateVerdict::Unproven {
            out.push_str(&format!("<system-out>{word}{} {}</system-out>", escaped(&sides), escaped(because)));
        }
        out.push_str("</testcase>\n");
    }
    for node in nodes {
        out.push_str(&format!(
            "  <testcase classname=\"{}\" name=\"{}\"><error message=\"the node failed\">{}</error></testcase>\n",
            escaped(&run.pipeline),
            escaped(&node.node),
            escaped(node.error.as_deref().unwrap_or_default())
        ));
    }
    out.push_str("</testsuite></testsuites>\n");
    out
}

fn word(verdict: GateVerdict) -> &'static str {
    match verdict {
        GateVerdict::Pass => "PASS",
        GateVerdict::Unproven => "UNPROVEN",
        GateVerdict::Fail => "FAIL",
        GateVerdict::NoData => "NO_DATA",
        GateVerdict::NotRun => "NOT_RUN",
    }
}

/// Returns a text for XML and HTML: marked-up characters escaped, control characters replaced.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in printable(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML 1.0 allows neither of these two.
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_are_tests() {
        let gate = |text: &str, verdict| GateResult {
            gate: text.to_owned(),
            verdict,
            left: Some(0.5),
            right: Some(0.8),
            difference: None,
            because: Some("2 rows <missing>\u{1b}[31m".to_owned()),
        };
        let mut run = Run::new("20260101T000000Z-p-0000", "p");
        run.gates = vec![
            gate("a.b >= \"0.8\"", GateVerdict::Fail),
            gate("c", GateVerdict::Unproven),
            gate("d", GateVerdict::Pass),
            gate("e", GateVerdict::NotRun),
        ];
        let text = junit(&run, false);
        assert!(text.contains("tests=\"4\" failures=\"1\" errors=\"0\" skipped=\"1\""), "{text}");
        assert!(text.contains("name=\"a.b &gt;= &quot;0.8&quot;\"><failure type=\"FAIL\""), "{text}");
        assert!(text.contains("2 rows &lt;missing&gt;\u{fffd}[31m</failure>"), "{text}");
        assert!(junit(&run, true).contains("failures=\"2\""));
    }
}
