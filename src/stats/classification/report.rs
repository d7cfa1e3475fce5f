//! The report of a classification: scores by label, averages, and the text that scikit-learn prints.

use std::borrow::Cow;
use std::fmt::Write;

/// Precision, recall and F1 of one label, or averaged over labels. NaN where `zero_division` is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LabelScores {
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
    /// Weight of the rows whose gold label this is; over all labels for an average.
    pub support: f64,
}

/// What a confusion table says.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub labels: Vec<(String, LabelScores)>,
    /// Weight of the rows whose predicted labels are the gold ones, over all rows.
    pub accuracy: f64,
    /// Unweighted mean over labels.
    pub macro_avg: LabelScores,
    /// Mean over labels weighted by support.
    pub weighted_avg: LabelScores,
    /// From the sums of true positives, false positives and false negatives.
    pub micro_avg: LabelScores,
    /// Mean over rows; of rows with sets of labels alone.
    pub samples_avg: Option<LabelScores>,
    /// Mean recall of the labels that are gold anywhere; over all labels, not only those asked for.
    pub balanced_accuracy: f64,
    /// Matthews' correlation coefficient (Gorodkin 2004 for several classes), over all labels.
    pub mcc: f64,
    /// Whether the labels are all there are, so that the micro average is the accuracy.
    pub(super) is_complete: bool,
    /// Whether scikit-learn prints supports as whole numbers.
    pub(super) is_whole: bool,
}

impl Report {
    /// Returns the named averages in scikit-learn's order; the accuracy stands for the micro average
    /// where the labels are all there are.
    pub fn averages(&self) -> Vec<(&'static str, LabelScores)> {
        let mut averages = Vec::new();
        if !self.is_complete {
            averages.push(("micro avg", self.micro_avg));
        }
        averages.extend([("macro avg", self.macro_avg), ("weighted avg", self.weighted_avg)]);
        averages.extend(self.samples_avg.map(|scores| ("samples avg", scores)));
        averages
    }

    /// Returns the accuracy where scikit-learn's report shows it.
    pub fn shown_accuracy(&self) -> Option<f64> {
        self.is_complete.then_some(self.accuracy)
    }

    /// Returns the text that scikit-learn prints; `names` stand for the labels. A label of more than 200 characters is
    /// shortened there.
    pub fn text(&self, names: Option<&[String]>, digits: usize) -> String {
        let names: Vec<Cow<'_, str>> = match names {
            Some(names) => names.iter().map(|name| shortened(name)).collect(),
            None => self.labels.iter().map(|(label, _)| shortened(label)).collect(),
        };
        let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let width = longest.max("weighted avg".len()).max(digits);
        let support = |value: f64| if self.is_whole { format!("{value:.0}") } else { format!("{value:?}") };
        let number = |value: f64| if value.is_nan() { "nan".to_owned() } else { format!("{value:.digits$}") };
        let mut text = format!("{:>width$} ", "");
        for head in ["precision", "recall", "f1-score", "support"] {
            _ = write!(text, " {head:>9}");
        }
        text.push_str("\n\n");
        let mut line = |name: &str, scores: &LabelScores| {
            _ = write!(text, "{name:>width$} ");
            for value in [scores.precision, scores.recall, scores.f1] {
                _ = write!(text, " {:>9}", number(value));
            }
            _ = writeln!(text, " {:>9}", support(scores.support));
        };
        for (name, (_, scores)) in names.iter().zip(&self.labels) {
            line(name, scores);
        }
        text.push('\n');
        if let Some(accuracy) = self.shown_accuracy() {
            let (accuracy, support) = (number(accuracy), support(self.macro_avg.support));
            _ = writeln!(text, "{:>width$}  {:>9} {:>9} {accuracy:>9} {support:>9}", "accuracy", "", "");
        }
        for (name, scores) in self.averages() {
            _ = write!(text, "{name:>width$} ");
            for value in [scores.precision, scores.recall, scores.f1] {
                _ = write!(text, " {:>9}", number(value));
            }
            _ = writeln!(text, " {:>9}", support(scores.support));
        }
        text
    }
}

/// Returns a name as the text shows it.
fn shortened(name: &str) -> Cow<'_, str> {
    match name.char_indices().nth(200) {
        Some((end, _)) => Cow::Owned(format!("{}…", &name[..end])),
        None => Cow::Borrowed(name),
    }
}
