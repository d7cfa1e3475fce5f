//! What calls that are not bought yet will cost, judged by those that are.

use crate::row::Usage;
use crate::spec::Price;

/// Tokens of a completion of which nothing is known: what is expected, and what a model may say at most.
const COMPLETION: (u64, u64) = (256, 4096);
/// Tokens per byte of a request of which nothing is known: low, expected, high.
const RATE: (f64, f64, f64) = (0.15, 0.25, 0.5);
/// With fewer earlier calls than this, their spread says little.
const FEW: u64 = 5;

/// Sums of a quantity, for its mean and its spread.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Moments {
    n: u64,
    sum: f64,
    squares: f64,
    most: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.n += 1;
        self.sum += value;
        self.squares += value * value;
        self.most = self.most.max(value);
    }

    fn mean(&self) -> f64 {
        self.sum / self.n as f64
    }

    fn variance(&self) -> f64 {
        let n = self.n as f64;
        ((self.squares - self.sum * self.sum / n) / (n - 1.0)).max(0.0)
    }
}

/// What earlier calls of a model took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Experience {
    /// Tokens of the prompt per byte of the request.
    rate: Moments,
    /// Tokens of the completion.
    completion: Moments,
}

impl Experience {
    /// Adds a call whose request had so many bytes.
    pub fn add(&mut self, bytes: usize, usage: &Usage) {
        if let (Some(prompt), Some(completion)) = (usage.prompt, usage.completion)
            && bytes > 0
        {
            self.rate.add(prompt as f64 / bytes as f64);
            self.completion.add(completion as f64);
        }
    }

    /// Returns the most that a call can cost, in dollars. Without a limit of tokens that is twice the longest completion
    /// so far.
    pub fn most(&self, bytes: usize, max_tokens: Option<u64>, price: &Price) -> f64 {
        let rate = if self.rate.n >= FEW { 1.2 * self.rate.most } else { RATE.2.max(1.2 * self.rate.most) };
        let longest = if self.completion.n >= FEW { 2.0 * self.completion.most } else { COMPLETION.1 as f64 };
        let completion = max_tokens.map_or(longest, |tokens| tokens as f64);
        let input = price.input.max(price.cache_write.unwrap_or(0.0));
        let output = price.output.max(price.reasoning.unwrap_or(0.0));
        (bytes as f64 * rate * input + completion * output) / 1e6
    }
}

/// Calls that are planned.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Planned {
    calls: u64,
    bytes: u64,
    /// Limits of tokens, of the calls that have one, and the number of these calls.
    limits: (u64, u64),
}

/// What something may cost, in dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quote {
    pub expected: f64,
    pub low: f64,
    pub high: f64,
}

impl Planned {
    /// Adds a call.
    pub fn add(&mut self, bytes: usize, max_tokens: Option<u64>) {
        self.calls += 1;
        self.bytes += bytes as u64;
        if let Some(tokens) = max_tokens {
            self.limits = (self.limits.0 + tokens, self.limits.1 + 1);
        }
    }

    /// Returns the tokens of the prompts that are to be expected.
    pub fn prompt_tokens(&self, earlier: &Experience) -> u64 {
        let rate = if earlier.rate.n > 0 { earlier.rate.mean() } else { RATE.1 };
        (self.bytes as f64 * rate).round() as u64
    }

    /// Returns what the calls may cost. By earlier calls the range holds with 95 %: it has the spread of single calls,
    /// and that of the mean of the earlier ones. Without any, it reaches from one token per completion to the limit.
    pub fn quote(&self, earlier: &Experience, price: &Price) -> Quote {
        let (calls, bytes) = (self.calls as f64, self.bytes as f64);
        let limit = self.limits.0 as f64 + (self.calls - self.limits.1) as f64 * COMPLETION.1 as f64;
        let expected = self.limits.0 as f64 + (self.calls - self.limits.1) as f64 * COMPLETION.0 as f64;
        let ((rate_low, rate, rate_high), (low, mean, high)) = if earlier.rate.n >= FEW {
            let (rates, lengths) = (&earlier.rate, &earlier.completion);
            let around = |mean: f64, spread: f64| ((mean - 1.96 * spread).max(0.0), mean, mean + 1.96 * spread);
            let of_mean = |moments: &Moments| moments.variance() / moments.n as f64;
            let total = (lengths.variance() * calls + of_mean(lengths) * calls * calls).sqrt();
            let (low, mean, high) = around(lengths.mean() * calls, total);
            // No completion is longer than its limit.
            let bound = if self.limits.1 == self.calls { limit } else { f64::INFINITY };
            let rate = around(rates.mean(), (of_mean(rates) + rates.variance() / calls.max(1.0)).sqrt());
            (rate, (low.min(bound), mean.min(bound), high.min(bound)))
        } else {
            (RATE, (calls, expected, limit))
        };
        let dollars = |rate: f64, completion: f64| (bytes * rate * price.input + completion * price.output) / 1e6;
        Quote { expected: dollars(rate, mean), low: dollars(rate_low, low), high: dollars(rate_high, high) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICE: Price =
        Price { input: 1.0, output: 10.0, cached_input: None, cache_write: None, reasoning: None, batch: None };

    fn experience(calls: u64) -> Experience {
        let mut earlier = Experience::default();
        (0..calls).for_each(|call| earlier.add(1_000, &Usage::new(Some(200), Some(90 + call % 21))));
        earlier
    }

    #[test]
    fn a_quote_is_what_earlier_calls_took() {
        let mut planned = Planned::default();
        (0..1_000).for_each(|_| planned.add(2_000, None));
        let quote = planned.quote(&experience(210), &PRICE);
        // 1,000 prompts of 400 tokens, 1,000 completions of 100.
        assert!((quote.expected - 1.4).abs() < 1e-9, "{quote:?}");
        assert!(quote.low > 1.38 && quote.low < quote.expected && quote.high < 1.42, "{quote:?}");
        assert_eq!(planned.prompt_tokens(&experience(210)), 400_000);
    }

    #[test]
    fn without_earlier_calls_the_limit_is_the_bound() {
        let mut planned = Planned::default();
        (0..10).for_each(|_| planned.add(4_000, Some(100)));
        let quote = planned.quote(&Experience::default(), &PRICE);
        assert_eq!(quote, Quote { expected: 0.02, low: 0.0061, high: 0.03 });
    }

    #[test]
    fn no_call_costs_more_than_its_most() {
        let earlier = experience(50);
        assert!(earlier.most(1_000, Some(110), &PRICE) >= PRICE.cost(&Usage::new(Some(240), Some(110))).unwrap());
        assert!(Experience::default().most(1_000, None, &PRICE) > 0.04);
    }
}
