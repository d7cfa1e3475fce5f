//! Statistics: pure functions on numbers. No I/O, no clock, no randomness without a seed.
//!
//! Each function names its source. An undefined result is `None`, never NaN and never an invented number. Values equal
//! those of SciPy, statsmodels, scikit-learn, krippendorff and choix; the test vectors in `tests/it/vectors/` hold
//! this.
//!
//! | file | holds |
//! |---|---|
//! | `interval` | Wilson, percentile bootstrap, order statistics |
//! | `proportion` | more intervals of a share; binomial, two-sample and McNemar tests |
//! | `paired` | t, Wilcoxon, sign, sign-flip, bootstrap and clustered errors of paired differences |
//! | `mean` | the interval of means, shares and mean differences that holds for few rows, too |
//! | `agreement` | kappa (plain, weighted), AC1, Fleiss, Krippendorff |
//! | `correlation` | Spearman, Pearson, Kendall, bias and limits of agreement |
//! | `ranking` | Bradley–Terry and Elo |
//! | `length` | win rates at equal length |
//! | `correction` | estimates corrected for a judge's errors: Rogan–Gladen, prediction-powered means |
//! | `multiplicity` | Bonferroni, Holm, Benjamini–Hochberg, Benjamini–Yekutieli |
//! | `power` | rows needed, detectable effects |
//! | `classification` | confusion table, precision, recall, F1, their averages and intervals |
//! | `curve` | what the losses of a training run show |
//! | `farthest` | points that cover a cloud |
//! | `distribution` `linear` | tails and quantiles; small linear systems |

mod agreement;
mod classification;
mod correction;
mod correlation;
mod curve;
mod distribution;
mod farthest;
mod interval;
mod length;
mod linear;
mod mean;
mod multiplicity;
mod paired;
mod power;
mod proportion;
mod ranking;

pub use agreement::{
    Agreement, Level, Weighting, agreement, cross_table, fleiss, kappa_interval, krippendorff, weighted_kappa,
};
pub use classification::{Confusion, Intervals, LabelScores, Report, sorted_labels};
pub use correction::{Corrected, HumanScore, JudgedPasses, PredictionPowered, corrected_mean, rogan_gladen};
pub use correlation::{Correlation, correlation, pearson, ranks};
pub use curve::{Curve, CurveEvaluation, CurveStatus, Logged, curve, logged};
pub use distribution::z_of;
pub use farthest::{Covering, Distance, farthest_first, least_distance};
pub(crate) use interval::below;
pub use interval::{
    Interval, estimate, quantile, quantile_interval, resampled_means, resampled_sums, sums_interval, wilson,
};
pub use length::{Comparison, LengthControl, LengthModel, length_control, length_interval, length_ridge};
pub use mean::{Known, MeanSums, mean_interval, mean_sums, share_interval};
pub use multiplicity::{Adjustment, adjust};
pub use paired::{
    Clustered, ExactBootstrap, MOST_FLIPPED, Paired, clustered, exact_bootstrap, exact_sign_flip, paired,
    paired_bootstrap,
};
pub use power::{detectable_effect, rows_needed, rows_needed_sampled, win_rate_power};
pub use proportion::{
    McNemar, TwoProportions, agresti_coull, binomial_greater, clopper_pearson, jeffreys, mcnemar, sign_test,
    two_proportions, wald,
};
pub use ranking::{RIDGE, Ranking, bradley_terry, is_strongly_connected, ridge};

/// The 0.975 quantile of the standard normal; all intervals are 95 % intervals.
pub const Z95: f64 = 1.959_963_984_540_054;
