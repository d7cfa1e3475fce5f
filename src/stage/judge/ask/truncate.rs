//! `truncate_candidates`: candidates that are too long are cut, both sides alike, with a mark where text is left out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Cuts candidates that are too long for the judge.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "truncate_candidates")]
#[serde(deny_unknown_fields)]
pub(crate) struct Truncate {
    /// Characters that are kept.
    pub max_chars: usize,
    /// Where it is cut.
    #[serde(default)]
    side: Cut,
}

/// Where a long candidate is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "cut")]
#[serde(rename_all = "lowercase")]
enum Cut {
    Start,
    #[default]
    Middle,
    End,
}

impl Truncate {
    /// Cuts a text in place; returns true if anything was left out.
    pub fn cut(&self, text: &mut String) -> bool {
        let length = text.chars().count();
        let Some(left_out) = length.checked_sub(self.max_chars).filter(|left_out| *left_out > 0) else {
            return false;
        };
        let kept_before = match self.side {
            Cut::Start => 0,
            Cut::Middle => self.max_chars.div_ceil(2),
            Cut::End => self.max_chars,
        };
        let before: String = text.chars().take(kept_before).collect();
        let after: String = text.chars().skip(kept_before + left_out).collect();
        *text = format!("{before}\n[… {left_out} characters left out …]\n{after}").trim().to_owned();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_marked() {
        let cut = |side, text: &str| {
            let mut text = text.to_owned();
            let is_cut = Truncate { max_chars: 4, side }.cut(&mut text);
            (is_cut, text)
        };
        assert_eq!(cut(Cut::Middle, "äbcd"), (false, "äbcd".to_owned()));
        assert_eq!(cut(Cut::Middle, "äbcdefg").1, "äb\n[… 3 characters left out …]\nfg");
        assert_eq!(cut(Cut::Start, "äbcdefg").1, "[… 3 characters left out …]\ndefg");
        assert_eq!(cut(Cut::End, "äbcdefg"), (true, "äbcd\n[… 3 characters left out …]".to_owned()));
    }
}
