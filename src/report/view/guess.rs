//! How the values of a run are to be read that does not say it: one of an older version. Their names tell, as far as
//! names can.

use crate::score::{Direction, Rank, Reading, Unit};

const HEADLINES: &[&str] = &["coverage", "mean", "overall", "score", "win_rate", "elo"];

const DIAGNOSTICS: &[&str] = &[
    "position_consistency",
    "primacy",
    "longer_wins",
    "length_correlation",
    "length_controlled_win_rate",
    "halo",
    "stability",
    "self_preference",
    "canaries",
    "identity_ties",
];

/// Values that are neither better high nor better low.
const NEITHER: &[&str] = &["primacy", "longer_wins", "length_correlation", "halo", "self_preference", "strong"];

/// Values with a dot in their name that are no parts of another value, by what follows the dot.
const WHOLE: &[&str] = &["pass_rate", "worst", "best"];

/// Returns how a value is to be read, judging by its name. The unit is not known: that of rates changes nothing.
pub(super) fn guessed(value: &str) -> Reading {
    let raw = value.strip_suffix(".corrected").unwrap_or(value);
    let of = |rank| Reading::of(Unit::Rate, rank);
    match raw.rsplit_once('.') {
        Some((_, "f1_macro")) => of(Rank::Headline),
        Some(("share", _)) => of(Rank::Detail).toward(Direction::Neither),
        Some((_, last)) => of(if WHOLE.contains(&last) { Rank::Detail } else { Rank::Part }),
        None => {
            let reading = of(match () {
                () if HEADLINES.contains(&raw) => Rank::Headline,
                () if DIAGNOSTICS.contains(&raw) => Rank::Diagnostic,
                () => Rank::Detail,
            });
            if NEITHER.contains(&raw) { reading.toward(Direction::Neither) } else { reading }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_names_tell_and_those_of_users_do_not() {
        let of = |name| (guessed(name).rank, guessed(name).direction);
        assert_eq!(of("win_rate"), (Rank::Headline, Direction::Higher));
        assert_eq!(of("win_rate.corrected"), (Rank::Headline, Direction::Higher));
        assert_eq!(of("win_rate.worst"), (Rank::Detail, Direction::Higher));
        assert_eq!(of("intent.f1_macro"), (Rank::Headline, Direction::Higher));
        assert_eq!(of("classification.f1.billing"), (Rank::Part, Direction::Higher));
        assert_eq!(of("share.right"), (Rank::Detail, Direction::Neither));
        assert_eq!(of("halo"), (Rank::Diagnostic, Direction::Neither));
        // Criteria of a rubric.
        for name in ["halo_x", "length_ok", "stability_of_tone", "strong_argument"] {
            assert_eq!(of(name), (Rank::Detail, Direction::Higher), "{name}");
        }
    }
}
