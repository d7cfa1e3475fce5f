//! Outcomes: how a comparison of two completions came out for the first of them, and how strongly.
//!
//! | outcome | points | side |
//! |---|---|---|
//! | `win+` `win` | 1 | win |
//! | `half_win` | 0.75 | win |
//! | `tie` | 0.5 | tie |
//! | `half_loss` | 0.25 | loss |
//! | `loss` `loss+` | 0 | loss |
//!
//! A half lies between a tie and a side. It is the mean of several answers: of two orders where one says tie, or of one
//! judge who was asked several times. `+` means "by far" and counts no more than the side itself.
//!
//! **Invariant:** the words are stored in artifacts and stand in people's labels; they never change.

use serde::{Deserialize, Serialize};

/// How a comparison of two came out for the first of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Outcome {
    #[serde(rename = "win+")]
    StrongWin,
    #[serde(rename = "win")]
    Win,
    #[serde(rename = "half_win")]
    HalfWin,
    #[serde(rename = "tie")]
    Tie,
    #[serde(rename = "half_loss")]
    HalfLoss,
    #[serde(rename = "loss")]
    Loss,
    #[serde(rename = "loss+")]
    StrongLoss,
}

impl Outcome {
    /// The outcomes that people say and tables count: win, tie, loss.
    pub const SIDES: [Outcome; 3] = [Outcome::Win, Outcome::Tie, Outcome::Loss];

    const ALL: [Outcome; 7] = [
        Outcome::StrongWin,
        Outcome::Win,
        Outcome::HalfWin,
        Outcome::Tie,
        Outcome::HalfLoss,
        Outcome::Loss,
        Outcome::StrongLoss,
    ];

    /// Returns the word that stands for it in artifacts and labels.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::StrongWin => "win+",
            Outcome::Win => "win",
            Outcome::HalfWin => "half_win",
            Outcome::Tie => "tie",
            Outcome::HalfLoss => "half_loss",
            Outcome::Loss => "loss",
            Outcome::StrongLoss => "loss+",
        }
    }

    /// Returns the outcome that a word stands for; none if it stands for no outcome.
    pub fn of_word(word: &str) -> Option<Outcome> {
        Outcome::ALL.into_iter().find(|outcome| outcome.word() == word)
    }

    /// Returns the points that the first of the two gets, 0 to 1.
    pub fn points(self) -> f64 {
        match self {
            Outcome::StrongWin | Outcome::Win => 1.0,
            Outcome::HalfWin => 0.75,
            Outcome::Tie => 0.5,
            Outcome::HalfLoss => 0.25,
            Outcome::Loss | Outcome::StrongLoss => 0.0,
        }
    }

    /// Returns the outcome nearest to a mean of points, 0 to 1. Only a mean of exactly 0.5 is a tie; any other leans to
    /// a side.
    ///
    /// ```
    /// use etalon::outcome::Outcome;
    ///
    /// // One order says win, the other one tie.
    /// let points = (Outcome::Win.points() + Outcome::Tie.points()) / 2.0;
    /// assert_eq!(Outcome::nearest(points), Outcome::HalfWin);
    /// assert_eq!(Outcome::nearest(points).side().word(), "win");
    /// ```
    pub fn nearest(points: f64) -> Outcome {
        match points {
            points if points >= 0.875 => Outcome::Win,
            points if points > 0.5 => Outcome::HalfWin,
            points if points <= 0.125 => Outcome::Loss,
            points if points < 0.5 => Outcome::HalfLoss,
            _ => Outcome::Tie,
        }
    }

    /// Returns the plain win, tie or loss, without how strong it is.
    pub fn side(self) -> Outcome {
        match self {
            Outcome::StrongWin | Outcome::Win | Outcome::HalfWin => Outcome::Win,
            Outcome::Tie => Outcome::Tie,
            Outcome::HalfLoss | Outcome::Loss | Outcome::StrongLoss => Outcome::Loss,
        }
    }

    /// Returns the outcome of the same comparison for the second of the two.
    pub fn turned(self) -> Outcome {
        match self {
            Outcome::StrongWin => Outcome::StrongLoss,
            Outcome::Win => Outcome::Loss,
            Outcome::HalfWin => Outcome::HalfLoss,
            Outcome::Tie => Outcome::Tie,
            Outcome::HalfLoss => Outcome::HalfWin,
            Outcome::Loss => Outcome::Win,
            Outcome::StrongLoss => Outcome::StrongWin,
        }
    }

    /// Returns true for a side taken by far.
    pub fn is_strong(self) -> bool {
        matches!(self, Outcome::StrongWin | Outcome::StrongLoss)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_is_stored() {
        let words: Vec<&str> = Outcome::ALL.iter().map(|outcome| outcome.word()).collect();
        assert_eq!(words, ["win+", "win", "half_win", "tie", "half_loss", "loss", "loss+"]);
        for outcome in Outcome::ALL {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.word());
            assert_eq!(Outcome::of_word(outcome.word()), Some(outcome));
        }
        assert_eq!(Outcome::of_word("Win"), None);
    }

    #[test]
    fn turning_gives_the_rest_of_the_points() {
        for outcome in Outcome::ALL {
            assert_eq!(outcome.points() + outcome.turned().points(), 1.0);
            assert_eq!(outcome.turned().turned(), outcome);
            assert_eq!(outcome.side().turned(), outcome.turned().side());
        }
    }

    #[test]
    fn a_mean_that_is_no_half_leans_to_a_side() {
        let nearest: Vec<&str> =
            [0.0, 0.125, 0.2, 0.49, 0.5, 0.51, 0.8, 0.875, 1.0].map(|points| Outcome::nearest(points).word()).to_vec();
        assert_eq!(nearest, ["loss", "loss", "half_loss", "half_loss", "tie", "half_win", "half_win", "win", "win"]);
    }
}
