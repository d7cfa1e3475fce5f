//! The pace of a pool: how many calls may be in flight, and when the next one may begin.
//!
//! A server refuses calls (429) because too many are in flight, because a quota is used up, or by chance, such as a limit
//! that others share. Where the limit is, the calls themselves say: those with few others beside them are answered, those
//! with more are refused. The pace keeps what became of the last calls by how many were in flight with each, and looks for
//! the number that parts them best.
//!
//! | what happens | the pace |
//! |---|---|
//! | beyond some number most calls are refused, and fewer below | keeps to that number, and tries one more from time to time |
//! | calls are refused whatever the number | sends as many a second as are answered, if that helps (`tempo`); else goes on, for fewer calls in flight would not help |
//! | twice the calls bring hardly more answers | goes back to half, and stays there (only where no number is said) |
//! | more are refused in a row than are in flight | sends nothing for as long as the server asks, else longer each time, and then one call alone |
//!
//! A refused call is never lost to that: it waits and is sent again, until the server has answered nothing at all for as
//! long as the model's patience. The pace knows no clock and no task: times come in as parameters, so that it can be
//! tried with a clock of its own.

use std::time::Duration;

use super::tempo::Tempo;

/// After how many rounds of answers one more call is tried: at first, and at most.
const ROUNDS: (f64, f64) = (1.0, 16.0);
/// A round has so many calls at least: a limit of one or two is not tried all the time.
const FEWEST: usize = 8;
/// What an outcome counts after another one.
const MEMORY: f64 = 1.0 - 1.0 / 128.0;
/// So many answers per call in flight say how fast a server is at a level.
const CLIMB_ROUNDS: usize = 2;
/// A level is worth its calls if it brings so many times the answers of half of it.
const CLIMB_GAIN: f64 = 1.25;
/// How many refusals it takes to see a limit.
const EVIDENCE: f64 = 2.5;
/// The first wait of a pool to which nothing is answered, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// The state of a pool's calls. All times are since the pool began.
#[derive(Debug)]
pub(super) struct Pace {
    /// Calls in flight at most, whatever happens.
    ceiling: usize,
    /// Calls that may be in flight now, 1 or more.
    level: usize,
    /// The search for the level beyond which more calls bring no more answers; none where it has ended.
    climb: Option<Climb>,
    tempo: Tempo,
    in_flight: usize,
    /// Rounds of answers until one more call is tried.
    rounds: f64,
    /// By the number of calls in flight with it, from 1: calls that were answered, and calls that were refused, of late.
    outcomes: Vec<[f64; 2]>,
    /// By the same number: calls that are in flight. Refusals come soon, so that these will most likely be answered.
    open: Vec<u32>,
    /// The level was raised, and no call that filled it has ended yet.
    is_trying: bool,
    /// A quota was used up, and since it is back no call has been refused.
    is_starting: bool,
    /// Answers since the level was last raised.
    successes: u32,
    /// Refusals since the last answer.
    refusals: usize,
    /// Pauses since the last answer.
    pauses: u32,
    paused_until: Duration,
    /// When something was last answered, or when the first call began.
    answered: Option<Duration>,
}

/// How many answers come at the present level, and came at half of it.
#[derive(Clone, Copy, Debug, Default)]
struct Climb {
    /// Answers per second at half the level; none at the first level.
    before: Option<f64>,
    /// Answers at this level.
    answers: usize,
    /// As many calls were in flight as the level allows.
    is_filled: bool,
    /// When those that count began: the first ones still show the level before.
    since: Duration,
}

impl Climb {
    /// Adds an answer; returns the answers per second, once enough of them have come.
    fn add(&mut self, level: usize, now: Duration) -> Option<f64> {
        self.answers += 1;
        if self.answers <= level {
            self.since = now;
            return None;
        }
        let counted = self.answers - level;
        let seconds = (now.saturating_sub(self.since)).as_secs_f64();
        (counted >= CLIMB_ROUNDS * level && seconds > 0.0).then(|| counted as f64 / seconds)
    }
}

/// A call in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    /// How many calls were in flight with it.
    with: usize,
}

/// Whether a call may begin.
#[derive(Clone, Copy, Debug)]
pub(super) enum Turn {
    Now(Begun),
    /// Not before this time.
    Later(Duration),
    /// When another call has ended.
    Full,
}

impl Pace {
    /// Returns the pace of a pool in which `start` calls may be in flight at first, and `most` at most. Where `most` is
    /// more, the level is doubled as long as that brings more answers.
    pub fn new(start: usize, most: usize) -> Pace {
        let (start, most) = (start.max(1), most.max(start).max(1));
        Pace {
            ceiling: most,
            level: start,
            climb: (most > start).then(Climb::default),
            tempo: Tempo::default(),
            in_flight: 0,
            rounds: ROUNDS.0,
            outcomes: vec![[0.0; 2]; most],
            open: vec![0; most],
            is_trying: false,
            is_starting: false,
            successes: 0,
            refusals: 0,
            pauses: 0,
            paused_until: Duration::ZERO,
            answered: None,
        }
    }

    /// Returns how many more calls could begin now.
    pub fn idle(&self, now: Duration) -> usize {
        if now < self.paused_until { 0 } else { self.level.saturating_sub(self.in_flight) }
    }

    /// Begins a call, if its turn has come.
    pub fn begin(&mut self, now: Duration) -> Turn {
        if now < self.paused_until {
            return Turn::Later(self.paused_until);
        }
        if self.in_flight >= self.level {
            return Turn::Full;
        }
        if let Some(at) = self.tempo.wait(now) {
            return Turn::Later(at);
        }
        self.tempo.begin(now);
        self.in_flight += 1;
        self.open[self.in_flight - 1] += 1;
        self.answered.get_or_insert(now);
        Turn::Now(Begun { with: self.in_flight })
    }

    /// Ends a call that was neither answered nor refused: it failed for a reason of its own, or was given up.
    pub fn ended(&mut self, begun: Begun) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let open = &mut self.open[begun.with - 1];
        *open = open.saturating_sub(1);
    }

    /// Notes that the server said something, though it was no answer.
    pub fn heard(&mut self, now: Duration) {
        self.answered = Some(now);
        (self.refusals, self.pauses) = (0, 0);
    }

    /// Ends a call that was answered.
    pub fn succeeded(&mut self, begun: Begun, now: Duration) {
        self.ended(begun);
        self.heard(now);
        self.note(begun, 0);
        self.tempo.note(false, now);
        if self.is_trying && begun.with >= self.level {
            self.is_trying = false;
            self.rounds = (self.rounds / 2.0).max(ROUNDS.0);
        }
        if self.climb.is_some() {
            self.climb(begun, now);
            return;
        }
        self.successes += 1;
        if self.is_starting {
            self.level = (self.level + 1).min(self.ceiling);
            self.successes = 0;
        }
        if self.level < self.ceiling && f64::from(self.successes) >= self.rounds * self.level.max(FEWEST) as f64 {
            self.successes = 0;
            self.level += 1;
            self.is_trying = true;
        }
    }

    /// Looks whether the present level is worth its calls: doubles it, or goes back and ends the search.
    fn climb(&mut self, begun: Begun, now: Duration) {
        let Some(climb) = &mut self.climb else { return };
        climb.is_filled |= begun.with >= self.level;
        let Some(rate) = climb.add(self.level, now) else { return };
        if !climb.is_filled {
            // Fewer calls are wanted than may be in flight: nothing is learnt.
            self.climb = Some(Climb { before: climb.before, ..Climb::default() });
            return;
        }
        let is_worth_it = climb.before.is_none_or(|before| rate >= CLIMB_GAIN * before);
        if is_worth_it && self.level < self.ceiling {
            self.level = (self.level * 2).min(self.ceiling);
            self.climb = Some(Climb { before: Some(rate), ..Climb::default() });
            return;
        }
        if !is_worth_it {
            self.level = self.level.div_ceil(2);
        }
        self.ceiling = self.level;
        self.climb = None;
    }

    /// Notes what became of a call.
    fn note(&mut self, begun: Begun, outcome: usize) {
        self.outcomes.iter_mut().flatten().for_each(|weight| *weight *= MEMORY);
        self.outcomes[begun.with - 1][outcome] += 1.0;
    }

    /// Returns how many calls in flight the server takes, if the last calls show it: the number that parts answered from
    /// refused calls best (by likelihood), where beyond it most are refused, and below it far fewer.
    fn limit(&self) -> Option<usize> {
        let likelihood = |[answered, refused]: [f64; 2]| {
            let part = |count: f64| if count > 0.0 { count * (count / (answered + refused)).ln() } else { 0.0 };
            part(answered) + part(refused)
        };
        let share = |[answered, refused]: [f64; 2]| refused / (answered + refused).max(1e-9);
        let sum = |of: &[[f64; 2]]| of.iter().fold([0.0; 2], |all, one| [all[0] + one[0], all[1] + one[1]]);
        let outcomes: Vec<[f64; 2]> =
            self.outcomes.iter().zip(&self.open).map(|([ok, no], open)| [ok + f64::from(*open), *no]).collect();
        let all = sum(&outcomes);
        let mut low = [0.0; 2];
        let mut best: Option<(f64, usize)> = None;
        for (below, outcome) in outcomes.iter().enumerate() {
            let high = [all[0] - low[0], all[1] - low[1]];
            let is_limit = high[1] >= EVIDENCE && share(high) > 0.5 && share(low) < share(high) / 2.0;
            let fits = likelihood(low) + likelihood(high);
            if is_limit && best.is_none_or(|(known, _)| fits > known) {
                best = Some((fits, below));
            }
            low = [low[0] + outcome[0], low[1] + outcome[1]];
        }
        best.map(|(_, below)| below)
    }

    /// Ends a call that was refused. `asked` is how long the server asks to wait, if it does; `chance`, from 0 to 1,
    /// spreads waits, so that pools that were refused together do not come back together.
    pub fn refused(&mut self, begun: Begun, now: Duration, asked: Option<Duration>, chance: f64) {
        self.ended(begun);
        self.note(begun, 1);
        self.tempo.note(true, now);
        // From here on refusals say where the limit is.
        self.climb = None;
        self.is_starting &= self.in_flight == 0;
        if self.is_trying && begun.with >= self.level {
            self.is_trying = false;
            self.rounds = (self.rounds * 2.0).min(ROUNDS.1);
            self.level -= 1;
            self.successes = 0;
        }
        // As many as are still in flight have not been refused.
        let limit = self.limit().map(|limit| limit.max(self.in_flight));
        if let Some(limit) = limit.filter(|limit| *limit < self.level) {
            self.level = limit;
            self.is_starting = false;
            self.rounds = (self.rounds * 2.0).min(ROUNDS.1);
            self.successes = 0;
            self.is_trying = false;
        }
        self.level = self.level.max(1);
        self.refusals += 1;
        // While more calls are in flight than were refused in a row, one of them may still be answered.
        if self.refusals <= self.in_flight {
            return;
        }
        if let Some(asked) = asked.filter(|asked| !asked.is_zero()) {
            self.pause(now + asked);
        }
        if self.in_flight > 0 {
            return;
        }
        // Nothing is known of the limits of another quota: each answer then lets one more call begin.
        self.level = 1;
        self.is_starting = true;
        self.rounds = ROUNDS.0;
        self.outcomes.iter_mut().for_each(|outcome| *outcome = [0.0; 2]);
        if now >= self.paused_until {
            let factor = 2_u32.saturating_pow(self.pauses.min(16));
            let pause = FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE);
            self.pauses += 1;
            self.pause(now + pause.mul_f64(0.5 + 0.5 * chance));
        }
    }

    /// Returns how many calls in a row were refused, since something was last answered.
    pub fn refusals(&self) -> usize {
        self.refusals
    }

    /// Lets no call begin before a time.
    pub fn pause(&mut self, until: Duration) {
        self.paused_until = self.paused_until.max(until);
    }

    /// Returns true if the server will have answered nothing for longer than the patience when a wait is over.
    pub fn is_out_of_patience(&self, now: Duration, wait: Duration, patience: Duration) -> bool {
        self.answered.is_some_and(|answered| now + wait > answered + patience)
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::{BinaryHeap, VecDeque};

    use proptest::prelude::*;

    use super::*;

    /// What a simulated server does with a call.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Answer {
        Success,
        Refusal(Option<u64>),
    }

    /// A server by rules: how many calls it takes at once, which share of the others it refuses by chance, and until
    /// when it refuses everything.
    #[derive(Clone, Copy, Debug)]
    struct Rules {
        at_once: usize,
        /// How many calls it works on at once; others wait in its queue.
        slots: usize,
        /// How many calls a second its quota allows: a bucket that holds a second's worth. 0: no quota.
        per_second: u64,
        chance: f64,
        closed_until: u64,
        asks: Option<u64>,
        /// Milliseconds of a call.
        takes: u64,
    }

    #[derive(Debug, PartialEq)]
    struct Outcome {
        millis: u64,
        refused: usize,
        answered: usize,
        most: usize,
    }

    /// Sends rows through a pace to a server, with a clock of its own, in milliseconds.
    fn simulate(rows: usize, ceiling: usize, rules: Rules, seed: u64) -> Outcome {
        simulate_with(Pace::new(ceiling, ceiling), rows, rules, seed).0
    }

    /// Does the same with a given pace; returns also the level at the end.
    fn simulate_with(mut pace: Pace, rows: usize, rules: Rules, seed: u64) -> (Outcome, usize) {
        let mut random = seed;
        let mut chance = || {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (random >> 11) as f64 / (1_u64 << 53) as f64
        };
        // Rows that wait for their turn, and those that wait for a time first.
        let mut waiting: VecDeque<usize> = (0..rows).collect();
        let mut later: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
        let mut ends: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
        // When the server is done with a call; the answer needs a moment to arrive.
        let mut frees: BinaryHeap<Reverse<u64>> = BinaryHeap::new();
        let mut calls: Vec<(usize, Begun, Answer)> = Vec::new();
        // When each call ends that the server has taken, in the order in which they came.
        let mut busy: Vec<u64> = Vec::new();
        let mut outcome = Outcome { millis: 0, refused: 0, answered: 0, most: 0 };
        let (mut now, mut at_server) = (0, 0);
        let (mut bucket, mut filled) = (rules.per_second * 1_000, 0);
        let time = Duration::from_millis;
        while outcome.answered < rows {
            while let Some(Reverse((at, row))) = later.peek().copied().filter(|Reverse((at, _))| *at <= now) {
                let _ = at;
                later.pop();
                waiting.push_front(row);
            }
            while frees.peek().is_some_and(|Reverse(at)| *at <= now) {
                frees.pop();
                at_server -= 1;
            }
            let mut wake = u64::MAX;
            while let Some(row) = waiting.front().copied() {
                match pace.begin(time(now)) {
                    Turn::Now(begun) => {
                        waiting.pop_front();
                        // In thousandths of a call.
                        bucket = (bucket + (now - filled) * rules.per_second).min(rules.per_second * 1_000);
                        filled = now;
                        let is_over = rules.per_second > 0 && bucket < 1_000;
                        let is_refused = is_over
                            || at_server >= rules.at_once
                            || now < rules.closed_until
                            || chance() < rules.chance;
                        if !is_refused && rules.per_second > 0 {
                            bucket -= 1_000;
                        }
                        let answer = if is_refused { Answer::Refusal(rules.asks) } else { Answer::Success };
                        let takes = match is_refused {
                            true => 2,
                            false if busy.len() < rules.slots => rules.takes,
                            false => busy[busy.len() - rules.slots].saturating_sub(now) + rules.takes,
                        };
                        if !is_refused {
                            busy.push(now + takes);
                        }
                        at_server += usize::from(!is_refused);
                        ends.push(Reverse((now + takes, calls.len())));
                        if !is_refused {
                            frees.push(Reverse(now + takes - rules.takes.min(2)));
                        }
                        calls.push((row, begun, answer));
                    }
                    Turn::Later(at) => {
                        wake = at.as_millis() as u64 + 1;
                        break;
                    }
                    Turn::Full => break,
                }
            }
            outcome.most = outcome.most.max(pace.in_flight);
            assert!(pace.in_flight > 0 || wake < u64::MAX || !later.is_empty(), "there is work, and nothing happens");
            let next = ends.peek().map_or(u64::MAX, |Reverse((at, _))| *at);
            let woken = later.peek().map_or(u64::MAX, |Reverse((at, _))| *at);
            now = next.min(wake).min(woken).max(now);
            while let Some(Reverse((at, call))) = ends.peek().copied().filter(|Reverse((at, _))| *at <= now) {
                let _ = at;
                ends.pop();
                let (row, begun, answer) = calls[call];
                match answer {
                    Answer::Success => {
                        pace.succeeded(begun, time(now));
                        outcome.answered += 1;
                    }
                    Answer::Refusal(asks) => {
                        outcome.refused += 1;
                        pace.refused(begun, time(now), asks.map(time), chance());
                        later.push(Reverse((now + asks.unwrap_or(20).max(20), row)));
                    }
                }
            }
            assert!(now < 3_600_000, "an hour has passed: {outcome:?}");
        }
        outcome.millis = now;
        (outcome, pace.level)
    }

    const OPEN: Rules = Rules {
        at_once: usize::MAX,
        slots: usize::MAX,
        per_second: 0,
        chance: 0.0,
        closed_until: 0,
        asks: None,
        takes: 50,
    };

    #[test]
    fn a_limit_is_found_and_used_to_the_full() {
        for at_once in [1, 4, 8, 32, 50] {
            let outcome = simulate(2_000, 64, Rules { at_once, ..OPEN }, 1);
            let ideal = 2_000.0 / at_once as f64 * 50.0;
            let ratio = outcome.millis as f64 / ideal;
            assert!(ratio <= 1.3, "{at_once} at once: {ratio:.2} times the ideal, {outcome:?}");
            // A limit of one or two is found by calls that are refused; what counts then is that they are few.
            assert!(outcome.refused <= 100, "{at_once} at once: {outcome:?}");
        }
    }

    #[test]
    fn where_no_number_is_said_it_is_found() {
        let auto = || Pace::new(16, 128);
        let ideal = |calls: f64| 4_000.0 / calls * 50.0;
        // A server that takes all: as many as may be.
        let (outcome, level) = simulate_with(auto(), 4_000, OPEN, 1);
        assert_eq!((outcome.most, level), (128, 128));
        assert!(outcome.millis as f64 <= 1.5 * ideal(128.0), "{outcome:?}");
        // Servers that work on so many at once: not many more wait in their queues.
        for slots in [1, 4, 16, 40] {
            let (outcome, level) = simulate_with(auto(), 4_000, Rules { slots, ..OPEN }, 1);
            assert!(outcome.millis as f64 <= 1.1 * ideal(slots as f64), "{slots}: {outcome:?}");
            assert!(level <= (2 * slots).max(16), "{slots}: level {level}, {outcome:?}");
        }
        // Servers that refuse more than so many.
        for at_once in [8, 24, 100] {
            let (outcome, _) = simulate_with(auto(), 4_000, Rules { at_once, ..OPEN }, 1);
            assert!(outcome.millis as f64 <= 1.4 * ideal(at_once as f64), "{at_once}: {outcome:?}");
            assert!(outcome.refused <= 200, "{at_once}: {outcome:?}");
        }
        // Few rows: nothing is wanted of a higher level.
        let (outcome, _) = simulate_with(auto(), 10, OPEN, 1);
        assert_eq!(outcome.millis, 50);
    }

    #[test]
    fn refusals_by_chance_cost_little() {
        let without = simulate(2_000, 64, OPEN, 1);
        for asks in [None, Some(0), Some(500)] {
            let outcome = simulate(2_000, 64, Rules { chance: 0.1, asks, ..OPEN }, 2);
            let ratio = outcome.millis as f64 / without.millis as f64;
            assert!(ratio <= 3.0, "{asks:?}: {ratio:.2} times, {outcome:?}");
        }
    }

    #[test]
    fn a_quota_that_is_used_up_is_waited_for() {
        for (asks, most_calls) in [(Some(60_000), 70), (None, 90)] {
            let outcome = simulate(500, 64, Rules { closed_until: 60_000, asks, ..OPEN }, 3);
            assert!(outcome.millis >= 60_000 && outcome.millis < 85_000, "{asks:?}: {outcome:?}");
            assert!(outcome.refused <= most_calls, "{asks:?}: {outcome:?}");
        }
    }

    #[test]
    fn a_quota_per_time_is_paced() {
        for (per_second, asks) in [(100, None), (100, Some(1_000)), (20, None), (300, None)] {
            let outcome = simulate(2_000, 64, Rules { per_second, asks, ..OPEN }, 4);
            let ideal = (2_000 - per_second) * 1_000 / per_second;
            let ratio = outcome.millis as f64 / ideal as f64;
            assert!(ratio <= 1.3, "{per_second} {asks:?}: {ratio:.2} times the ideal, {outcome:?}");
            assert!(outcome.refused <= 200, "{per_second} {asks:?}: {outcome:?}");
        }
    }

    #[test]
    fn patience_ends_when_nothing_is_answered() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let mut pace = Pace::new(2, 2);
        assert!(!pace.is_out_of_patience(minute * 100, second, minute), "nothing was asked yet");
        let Turn::Now(begun) = pace.begin(second) else { panic!() };
        pace.refused(begun, second * 2, None, 0.5);
        assert!(!pace.is_out_of_patience(second * 2, minute - second * 2, minute));
        assert!(pace.is_out_of_patience(second * 2, minute, minute), "a wait beyond it is not begun");
        pace.heard(minute);
        assert!(!pace.is_out_of_patience(minute, minute, minute));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn every_row_ends_and_the_ceiling_holds(
            rows in 1_usize..300,
            ceiling in 1_usize..80,
            start in 1_usize..20,
            slots in 1_usize..100,
            per_second in prop_oneof![Just(0_u64), 5_u64..200],
            at_once in 1_usize..100,
            chance in 0.0..0.5_f64,
            closed_until in 0_u64..5_000,
            asks in prop::option::of(0_u64..3_000),
            takes in 1_u64..200,
            seed in any::<u64>(),
        ) {
            let rules = Rules { at_once, slots, per_second, chance, closed_until, asks, takes };
            let (outcome, _) = simulate_with(Pace::new(start, ceiling), rows, rules, seed);
            prop_assert_eq!(outcome.answered, rows);
            prop_assert!(outcome.most <= ceiling.max(start));
        }
    }
}
