//! Adding a bias, and the activation of BERT (Hendrycks and Gimpel 2016), x · Φ(x), over whole rows.
//!
//! The error function is a quotient of polynomials, as in Eigen and XLA for single precision; it differs from the exact
//! one by less than 10⁻⁶. It has no branch, so the compiler computes many values at a time; candle's own version would
//! take half of an encoder's time.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape};

/// Adds a bias to every row, and applies the activation to the sum if `activates` is set.
pub(super) struct AddBias {
    pub activates: bool,
}

/// Coefficients of the numerator, from the highest power of x² down.
const ALPHA: [f32; 7] = [
    -2.726_142_3e-10,
    2.770_681_3e-8,
    -2.101_024e-6,
    -5.692_506_5e-5,
    -7.349_906_4e-4,
    -2.954_599_7e-3,
    -1.609_603_3e-2,
];
/// Coefficients of the denominator, in the same order.
const BETA: [f32; 5] = [-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2];

fn erf(x: f32) -> f32 {
    // Beyond ±4 the function is ±1 to the last digit.
    let x = x.clamp(-4.0, 4.0);
    let square = x * x;
    let (mut top, mut bottom) = (ALPHA[0], BETA[0]);
    for alpha in &ALPHA[1..] {
        top = top * square + alpha;
    }
    for beta in &BETA[1..] {
        bottom = bottom * square + beta;
    }
    x * top / bottom
}

fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

impl CustomOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add-bias"
    }

    fn cpu_fwd(
        &self,
        rows: &CpuStorage,
        of_rows: &Layout,
        bias: &CpuStorage,
        of_bias: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (Some((start, end)), Some((first, last))) = (of_rows.contiguous_offsets(), of_bias.contiguous_offsets())
        else {
            return Err(candle_core::Error::Msg("rows and bias must be in one piece".to_owned()));
        };
        let (rows, bias) = (&rows.as_slice::<f32>()?[start..end], &bias.as_slice::<f32>()?[first..last]);
        let mut made = rows.to_vec();
        for row in made.chunks_exact_mut(bias.len().max(1)) {
            row.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
            if self.activates {
                row.iter_mut().for_each(|value| *value = gelu(*value));
            }
        }
        Ok((CpuStorage::F32(made), of_rows.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_error_function_is_right_to_six_digits() {
        for i in -6_000..=6_000 {
            let x = i as f32 / 1_000.0;
            let exact = statrs::function::erf::erf(f64::from(x));
            assert!((f64::from(super::erf(x)) - exact).abs() < 1e-6, "{x}");
        }
    }
}
