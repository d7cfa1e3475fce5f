//! Many tests at once: p values are adjusted, so that chance alone does not make some of them significant.

/// How p values are adjusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adjustment {
    /// Family-wise: p × m (Bonferroni 1936).
    Bonferroni,
    /// Family-wise, stepwise, never less powerful than Bonferroni (Holm 1979). For claims.
    Holm,
    /// False discovery rate (Benjamini & Hochberg 1995). For exploring.
    BenjaminiHochberg,
    /// False discovery rate under any dependence (Benjamini & Yekutieli 2001).
    BenjaminiYekutieli,
}

/// Returns the adjusted p values, in the order given (statsmodels `multipletests`): a test is
/// significant at a level if its adjusted p is at most that level.
pub fn adjust(p_values: &[f64], adjustment: Adjustment) -> Vec<f64> {
    let m = p_values.len();
    let size = m as f64;
    let mut order: Vec<usize> = (0..m).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut adjusted = vec![0.0; m];
    match adjustment {
        Adjustment::Bonferroni => adjusted = p_values.iter().map(|p| (p * size).min(1.0)).collect(),
        Adjustment::Holm => {
            let mut most: f64 = 0.0;
            for (rank, index) in order.iter().enumerate() {
                most = most.max(p_values[*index] * (m - rank) as f64);
                adjusted[*index] = most.min(1.0);
            }
        }
        Adjustment::BenjaminiHochberg | Adjustment::BenjaminiYekutieli => {
            let penalty = match adjustment {
                Adjustment::BenjaminiYekutieli => (1..=m).map(|i| 1.0 / i as f64).sum(),
                _ => 1.0,
            };
            let mut least: f64 = f64::INFINITY;
            for (rank, index) in order.iter().enumerate().rev() {
                least = least.min(p_values[*index] / ((rank + 1) as f64 / size / penalty));
                adjusted[*index] = least.min(1.0);
            }
        }
    }
    adjusted
}
