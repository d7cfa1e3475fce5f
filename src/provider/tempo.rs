//! The tempo of a pool: how many calls a second, where a server refuses what comes faster.
//!
//! A quota per minute refuses calls whatever the number in flight, and so does chance. They are told apart by trying: if
//! calls begin as fast as they were answered, a quota has little left to refuse, and chance refuses as many as before.
//!
//! ```text
//! free ── more than 5 % are refused ──► trial: as fast as calls were answered ─┬─ fewer refused ──► paced
//!  ▲                                                                            └─ as many ──► free, for longer
//!  └──────────────── nothing waits for its turn any more ◄── paced: faster while nothing is refused, else slower
//! ```

use std::time::Duration;

/// A look at what became of calls takes so long at least, and so many calls.
const LOOK: (Duration, u32) = (Duration::from_millis(700), 48);
/// A share of refused calls that is worth a trial, and one that is worth a slower tempo.
const SHARES: (f64, f64) = (0.05, 0.02);
/// A trial has helped if it leaves less than this of the share that was refused before.
const HELP: f64 = 0.6;
/// The first calls of a tempo were sent before it, so this long they do not count.
const SETTLE: Duration = Duration::from_millis(150);
/// What becomes of the time between two calls after a look in which hardly one was refused; more so after several.
const FASTER: f64 = 0.98;
/// A server that has answered nothing for so long was closed.
const CLOSED: Duration = Duration::from_secs(2);
/// So many looks at most pass without another trial.
const LONGEST_REST: u32 = 64;

/// How fast calls begin.
#[derive(Debug)]
pub(super) struct Tempo {
    /// The time between two calls; none where they begin freely.
    gap: Option<Duration>,
    /// The share that was refused before the trial that goes on.
    trial: Option<f64>,
    /// When the next call may begin.
    next: Duration,
    /// When the look began.
    since: Option<Duration>,
    answered: u32,
    refused: u32,
    last_answer: Duration,
    /// A call had to wait for its turn since the look began.
    has_waited: bool,
    /// Looks in a row in which hardly a call was refused, 4 at most.
    clean: i32,
    /// Looks until another trial, and how many there are after the next one that does not help.
    rest: u32,
    next_rest: u32,
}

impl Default for Tempo {
    fn default() -> Tempo {
        Tempo {
            gap: None,
            trial: None,
            next: Duration::ZERO,
            since: None,
            answered: 0,
            refused: 0,
            last_answer: Duration::ZERO,
            has_waited: false,
            clean: 0,
            // The first calls show how many may be in flight at once; that is found by other means.
            rest: 1,
            next_rest: 0,
        }
    }
}

impl Tempo {
    /// Returns when the next call may begin, if that is later than now.
    pub fn wait(&mut self, now: Duration) -> Option<Duration> {
        self.gap?;
        let is_early = now < self.next;
        self.has_waited |= is_early;
        is_early.then_some(self.next)
    }

    /// Begins a call.
    pub fn begin(&mut self, now: Duration) {
        if let Some(gap) = self.gap {
            self.next = self.next.max(now.saturating_sub(gap)) + gap;
        }
    }

    /// Begins a new look.
    fn forget(&mut self) {
        (self.since, self.answered, self.refused) = (None, 0, 0);
    }

    /// Notes what became of a call.
    pub fn note(&mut self, is_refused: bool, now: Duration) {
        if !is_refused {
            // A server that was closed meanwhile says nothing about how many a second it answers.
            if now.saturating_sub(self.last_answer) > CLOSED {
                self.forget();
            }
            self.last_answer = now;
        }
        let since = *self.since.get_or_insert(now);
        if now < since {
            return;
        }
        *(if is_refused { &mut self.refused } else { &mut self.answered }) += 1;
        let (time, calls) = (now - since, self.answered + self.refused);
        let is_open = now.saturating_sub(self.last_answer) <= CLOSED;
        if is_open && time >= LOOK.0 && calls >= LOOK.1 {
            self.look(time, now);
        }
    }

    fn look(&mut self, time: Duration, now: Duration) {
        let share = f64::from(self.refused) / f64::from(self.answered + self.refused);
        let answered = self.answered;
        let has_waited = std::mem::take(&mut self.has_waited);
        self.forget();
        match (self.gap, self.trial.take()) {
            (None, _) if self.rest > 0 => self.rest -= 1,
            (None, _) if share > SHARES.0 && answered > 0 => {
                self.gap = Some(time / answered);
                self.trial = Some(share);
                self.next = now;
                self.since = Some(now + SETTLE);
            }
            (None, _) => {}
            (Some(_), Some(before)) if share > HELP * before => {
                self.gap = None;
                self.next_rest = (self.next_rest * 2).clamp(4, LONGEST_REST);
                self.rest = self.next_rest;
            }
            (Some(gap), _) if share > SHARES.1 => {
                self.clean = 0;
                // So many fewer a second would all have been answered.
                self.gap = Some(gap.mul_f64(1.0 / (1.0 - share.min(0.5))));
            }
            (Some(gap), _) if has_waited => {
                self.clean = (self.clean + 1).min(4);
                self.gap = Some(gap.mul_f64(FASTER.powi(self.clean)));
            }
            // Calls come slower than they may.
            (Some(_), _) => self.gap = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends calls as fast as the tempo allows, 200 a second at most, to a server that answers by `accepts`; returns
    /// the share that was refused in the last half, and how many were answered a second.
    fn send(seconds: u64, mut accepts: impl FnMut(Duration) -> bool) -> (f64, f64) {
        let mut tempo = Tempo::default();
        let (mut answered, mut refused) = (0, 0);
        for tick in 0..seconds * 1_000 {
            let now = Duration::from_millis(tick);
            if tick % 5 > 0 || tempo.wait(now).is_some() {
                continue;
            }
            tempo.begin(now);
            let is_refused = !accepts(now);
            tempo.note(is_refused, now);
            if tick > seconds * 500 {
                *(if is_refused { &mut refused } else { &mut answered }) += 1;
            }
        }
        (f64::from(refused) / f64::from(refused + answered), f64::from(answered) / (seconds as f64 / 2.0))
    }

    /// A bucket that fills with so many calls a second, and holds a tenth of a second's.
    fn bucket(per_second: f64) -> impl FnMut(Duration) -> bool {
        let (mut level, mut at) = (0.0_f64, Duration::ZERO);
        move |now| {
            level = (level + (now - at).as_secs_f64() * per_second).min((per_second / 10.0).max(1.0));
            at = now;
            let is_there = level >= 1.0;
            level -= if is_there { 1.0 } else { 0.0 };
            is_there
        }
    }

    #[test]
    fn a_quota_is_kept_to_and_used_up() {
        for per_second in [30.0, 100.0, 150.0] {
            let (share, rate) = send(60, bucket(per_second));
            assert!(share <= 0.05, "{per_second}: {share:.3} refused");
            assert!(rate >= 0.9 * per_second, "{per_second}: {rate:.1} answered a second");
        }
    }

    #[test]
    fn chance_costs_no_time() {
        let mut number = 0_u64;
        let (share, rate) = send(60, |_| {
            number += 1;
            !(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40).is_multiple_of(10)
        });
        assert!((share - 0.1).abs() < 0.02 && rate > 0.9 * 170.0, "{share:.3} refused, {rate:.1} answered a second");
    }

    #[test]
    fn without_refusals_nothing_waits() {
        let (share, rate) = send(10, |_| true);
        assert_eq!((share, rate.round()), (0.0, 200.0));
    }
}
