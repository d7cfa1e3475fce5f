//! What is wrong with a fine-tune, where it is weakest, and what to do about it.
//!
//! ```text
//! Run + cache → Evidence → every symptom of the table → findings, in order of precedence; what could not be looked at
//!                        → the weakest dimension
//! ```
//!
//! A symptom is a rule with numbers: it looks for evidence that chance does not explain, names rows that show it, and says
//! what usually helps. What it lacks to look at all is said, so that silence means that nothing was found. Over projects
//! without a fault at most one in twenty gets a finding.
//!
//! | file | holds |
//! |---|---|
//! | `evidence` | what is looked at: answers, scores, logs of training |
//! | `symptom` | the table of symptoms, one per file |
//! | `tests` | projects without a fault |
//! | `weakest` | the dimension with the largest deficit, and how sure that is |

mod evidence;
mod symptom;
#[cfg(test)]
mod tests;
mod weakest;

use serde::Serialize;

pub use evidence::{Answers, Evidence, Figure, Said};
pub use symptom::CODES;
pub use weakest::{Dimension, weakest};

/// At most so many rows are named with a finding.
const ROWS: usize = 10;

/// What was found about a model.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnosis {
    pub run: String,
    pub model: String,
    /// How many dimensions of quality there are to go by.
    pub dimensions: usize,
    /// The dimensions that fall short, the largest deficit first.
    pub weakest: Vec<Dimension>,
    pub findings: Vec<Finding>,
    /// What training brought, for what works needs no remedy.
    pub works: Vec<String>,
    /// What could not be looked at.
    pub needs: Vec<Need>,
}

/// How sure a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    High,
    Medium,
    /// The judges or the calls are not to be trusted, or a rule of thumb decides.
    Low,
}

/// A symptom that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    pub code: &'static str,
    pub title: String,
    /// The numbers that show it, in words.
    pub evidence: String,
    /// Ids of rows that show it.
    pub rows: Vec<String>,
    pub confidence: Confidence,
    /// What usually helps, the first thing first.
    pub remedy: Vec<String>,
}

/// A symptom that could not be looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Need {
    pub code: &'static str,
    pub missing: String,
}

/// Looks for every symptom.
pub fn diagnose(evidence: &Evidence) -> Diagnosis {
    let mut diagnosis = Diagnosis {
        run: evidence.run.as_ref().map(|run| run.run.clone()).unwrap_or_default(),
        model: evidence.candidate.clone(),
        dimensions: weakest::count(evidence),
        weakest: weakest(evidence),
        findings: Vec::new(),
        works: symptom::works(evidence),
        needs: Vec::new(),
    };
    for symptom in symptom::SYMPTOMS {
        match (symptom.look)(evidence) {
            Ok(found) => diagnosis.findings.extend(found),
            Err(missing) => diagnosis.needs.push(Need { code: symptom.code, missing }),
        }
    }
    // Behind a broken instrument nothing is sure.
    if diagnosis.findings.iter().any(|finding| finding.code == symptom::INSTRUMENT) {
        let others = diagnosis.findings.iter_mut().filter(|finding| finding.code != symptom::INSTRUMENT);
        others.for_each(|finding| finding.confidence = Confidence::Low);
    }
    diagnosis
}
