//! The tab: what one account bought, counted while it goes on.
//!
//! Tokens are counted as whole numbers and priced when the bill is made, so that nothing is rounded per call and the sum
//! does not depend on the order of the calls.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::record::Bill;
use crate::row::Usage;
use crate::spec::Price;

/// A counter that many threads add to.
#[derive(Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// The tokens of several calls.
#[derive(Default)]
struct Tokens {
    prompt: Counter,
    completion: Counter,
    cached: Counter,
    cache_written: Counter,
    reasoning: Counter,
    /// Calls whose tokens are known.
    priced: Counter,
    /// Calls whose tokens are not known.
    unpriced: Counter,
}

impl Tokens {
    fn add(&self, usage: &Usage) {
        let (Some(prompt), Some(completion)) = (usage.prompt, usage.completion) else {
            self.unpriced.add(1);
            return;
        };
        self.prompt.add(prompt);
        self.completion.add(completion);
        // Each part is cut to its whole here, as `Price::cost` does for one call.
        let cached = usage.cached.unwrap_or(0).min(prompt);
        self.cached.add(cached);
        self.cache_written.add(usage.cache_written.unwrap_or(0).min(prompt - cached));
        self.reasoning.add(usage.reasoning.unwrap_or(0).min(completion));
        self.priced.add(1);
    }

    /// Returns what the calls cost; none if there are some, and the price of none is known.
    fn cost(&self, price: Option<Price>) -> Option<f64> {
        if self.priced.get() == 0 && self.unpriced.get() > 0 {
            return None;
        }
        let cost = price?.cost(&Usage {
            prompt: Some(self.prompt.get()),
            completion: Some(self.completion.get()),
            cached: Some(self.cached.get()),
            cache_written: Some(self.cache_written.get()),
            reasoning: Some(self.reasoning.get()),
        })?;
        // The sum is told to a millionth of a millionth, so that it reads as what it is.
        Some((cost * 1e12).round() / 1e12)
    }
}

/// What one account bought.
#[derive(Default)]
pub(super) struct Tab {
    pub sent: Counter,
    pub refused: Counter,
    /// Answers that can be used.
    pub answered: Counter,
    pub kept: Counter,
    /// Billed replies that hold no answer.
    pub empty: Counter,
    /// Answers that could be kept, and that nobody can read.
    pub unread: Counter,
    /// Completions that came from the log.
    pub reused: Counter,
    bought: Tokens,
    wasted: Tokens,
    saved: Tokens,
    /// The names that the server gave to the models that answered, each with how often.
    served: Mutex<BTreeMap<String, u64>>,
}

impl Tab {
    /// Adds an answer.
    pub fn answer(&self, usage: &Usage) {
        self.answered.add(1);
        self.bought.add(usage);
    }

    /// Adds a billed reply without an answer.
    pub fn useless(&self, usage: &Usage) {
        self.empty.add(1);
        self.bought.add(usage);
        self.wasted.add(usage);
    }

    /// Says of an answer that is added already that it is of no use.
    pub fn unreadable(&self, usage: &Usage) {
        self.unread.add(1);
        self.wasted.add(usage);
    }

    /// Adds a completion from the log.
    pub fn reuse(&self, usage: &Usage) {
        self.reused.add(1);
        self.saved.add(usage);
    }

    /// Adds the model that answered, in its server's words.
    pub fn served(&self, model: Option<&str>) {
        let Some(model) = model else { return };
        let mut served = self.served.lock().expect("no panic while locked");
        match served.get_mut(model) {
            Some(count) => *count += 1,
            None => _ = served.insert(model.to_owned(), 1),
        }
    }

    /// Returns the models that answered, if they are several.
    pub fn mixed(&self) -> Option<Vec<(String, u64)>> {
        let served = self.served.lock().expect("no panic while locked");
        (served.len() > 1).then(|| served.iter().map(|(model, count)| (model.clone(), *count)).collect())
    }

    /// Returns the paid calls.
    pub fn calls(&self) -> u64 {
        self.answered.get() + self.empty.get()
    }

    /// Returns the bill, by a model's price.
    pub fn bill(&self, price: Option<Price>) -> Bill {
        let calls = self.calls();
        Bill {
            sent: self.sent.get(),
            refused: self.refused.get(),
            answered: calls,
            kept: self.kept.get(),
            useless: self.empty.get() + self.unread.get(),
            unpriced: price.map_or(0, |_| self.bought.unpriced.get()),
            bought_usd: self.bought.cost(price).filter(|_| calls > 0),
            wasted_usd: self.wasted.cost(price).filter(|_| self.empty.get() + self.unread.get() > 0),
            reused_usd: self.saved.cost(price).filter(|_| self.reused.get() > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICE: Price =
        Price { input: 0.07, output: 0.0, cached_input: None, cache_write: None, reasoning: None, batch: None };

    #[test]
    fn nothing_is_rounded_per_call() {
        let tab = Tab::default();
        (0..1_000).for_each(|_| tab.answer(&Usage::new(Some(7), Some(1))));
        assert_eq!(tab.bill(Some(PRICE)).bought_usd, Some(0.00049), "a thousand calls of 0.49 millionths");
    }

    #[test]
    fn a_call_without_usage_is_missing_and_not_free() {
        let tab = Tab::default();
        tab.answer(&Usage::default());
        let bill = tab.bill(Some(PRICE));
        assert_eq!((bill.answered, bill.unpriced, bill.bought_usd), (1, 1, None));
        tab.answer(&Usage::new(Some(1_000_000), Some(0)));
        let bill = tab.bill(Some(PRICE));
        assert_eq!((bill.answered, bill.unpriced, bill.bought_usd), (2, 1, Some(0.07)));
        assert_eq!(tab.bill(None).unpriced, 0, "without a price there is nothing to know");
    }

    #[test]
    fn what_is_useless_is_bought_all_the_same() {
        let tab = Tab::default();
        let million = Usage::new(Some(1_000_000), Some(0));
        tab.useless(&million);
        tab.answer(&million);
        tab.unreadable(&million);
        let bill = tab.bill(Some(PRICE));
        assert_eq!((bill.answered, bill.useless), (2, 2));
        assert_eq!((bill.bought_usd, bill.wasted_usd), (Some(0.14), Some(0.14)));
    }

    #[test]
    fn the_sum_of_calls_is_the_cost_of_each() {
        let price = Price { cached_input: Some(0.5), cache_write: Some(2.0), reasoning: Some(8.0), ..PRICE };
        let tab = Tab::default();
        let mut sum = 0.0;
        for prompt in 0..50 {
            let usage = Usage {
                prompt: Some(prompt),
                completion: Some(prompt / 2),
                cached: Some(prompt / 3 * 4),
                cache_written: Some(prompt % 7),
                reasoning: Some(prompt % 5 * 9),
            };
            tab.answer(&usage);
            sum += price.cost(&usage).unwrap();
        }
        assert!((tab.bill(Some(price)).bought_usd.unwrap() - sum).abs() < 1e-12);
    }
}
