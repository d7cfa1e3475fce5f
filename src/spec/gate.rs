//! Gates: `stage.model.metric >= 0.8 * other.path`, parsed at load and judged after a run.
//!
//! The grammar is small on purpose: paths, numbers, `+ - * /` (with spaces around, since `-` may be part of a name),
//! parentheses, and one comparison.

use serde::{Deserialize, Serialize};

use crate::problem::{Place, Problem};

/// One gate as written, with its parsed form.
#[derive(Clone, Debug)]
pub struct Gate {
    pub text: String,
    pub left: Expression,
    pub comparison: Comparison,
    pub right: Expression,
    pub place: Place,
}

/// How the two sides of a gate are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

/// One side of a gate.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    Number(f64),
    Term(Term),
    Binary(char, Box<Expression>, Box<Expression>),
}

/// A path to a value: `duel.tuned.win_rate.low`.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    pub path: Vec<String>,
    pub place: Place,
}

/// An estimate with the two ends of its interval; without an interval, all three are the same.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

impl Bounds {
    /// Both ends are open.
    const UNKNOWN: Bounds = Bounds { value: f64::NAN, low: f64::NEG_INFINITY, high: f64::INFINITY };

    /// Returns the bounds of an exact number: both ends are the number itself.
    pub fn exact(value: f64) -> Bounds {
        Bounds { value, low: value, high: value }
    }

    fn combine(self, other: Bounds, operation: impl Fn(f64, f64) -> f64) -> Bounds {
        let ends = [
            operation(self.low, other.low),
            operation(self.low, other.high),
            operation(self.high, other.low),
            operation(self.high, other.high),
        ];
        let value = operation(self.value, other.value);
        // Infinity less infinity, or times zero, can be anything.
        if ends.iter().any(|end| end.is_nan()) {
            return Bounds { value, ..Bounds::UNKNOWN };
        }
        Bounds {
            value,
            low: ends.iter().copied().fold(f64::INFINITY, f64::min),
            high: ends.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    }

    /// Divides. By an interval through zero, the result can be anything.
    fn divide(self, other: Bounds) -> Bounds {
        if other.low < other.high && other.low <= 0.0 && 0.0 <= other.high {
            return Bounds { value: self.value / other.value, ..Bounds::UNKNOWN };
        }
        self.combine(other, |a, b| a / b)
    }
}

/// Numbers that differ by less than this share of the larger one are equal: sums of many rows are rounded differently in
/// different orders, and that must not decide a gate.
const SAME: f64 = 1e-9;

/// Returns true if two numbers are equal but for rounding.
fn is_same(left: f64, right: f64) -> bool {
    let difference = (left - right).abs();
    left == right || difference.is_finite() && difference <= SAME * left.abs().max(right.abs()).max(SAME)
}

impl Comparison {
    /// Returns whether the comparison holds. Numbers that differ by a billionth of the larger one, or by 10⁻¹⁸, are equal.
    pub fn holds(self, left: f64, right: f64) -> bool {
        let is_same = is_same(left, right);
        match self {
            Comparison::Less => left < right && !is_same,
            Comparison::LessOrEqual => left < right || is_same,
            Comparison::Greater => left > right && !is_same,
            Comparison::GreaterOrEqual => left > right || is_same,
            Comparison::Equal => is_same,
            Comparison::NotEqual => !is_same,
        }
    }

    /// Returns whether the comparison holds even with both sides at their unfavourable ends.
    pub fn is_proven(self, left: Bounds, right: Bounds) -> bool {
        match self {
            Comparison::Less | Comparison::LessOrEqual => self.holds(left.high, right.low),
            Comparison::Greater | Comparison::GreaterOrEqual => self.holds(left.low, right.high),
            Comparison::Equal => {
                [left.low, left.high].iter().all(|end| is_same(*end, right.low) && is_same(*end, right.high))
            }
            Comparison::NotEqual => {
                Comparison::Less.is_proven(left, right) || Comparison::Greater.is_proven(left, right)
            }
        }
    }
}

impl Expression {
    /// Returns all paths in the expression.
    pub fn terms(&self) -> Vec<&Term> {
        match self {
            Expression::Number(_) => Vec::new(),
            Expression::Term(term) => vec![term],
            Expression::Binary(_, left, right) => left.terms().into_iter().chain(right.terms()).collect(),
        }
    }

    /// Evaluates the expression by interval arithmetic; none if a path has no value.
    pub fn evaluate(&self, lookup: &dyn Fn(&Term) -> Option<Bounds>) -> Option<Bounds> {
        let bounds = match self {
            Expression::Number(number) => Bounds::exact(*number),
            Expression::Term(term) => lookup(term)?,
            Expression::Binary(operator, left, right) => {
                let (left, right) = (left.evaluate(lookup)?, right.evaluate(lookup)?);
                match operator {
                    '+' => left.combine(right, |a, b| a + b),
                    '-' => left.combine(right, |a, b| a - b),
                    '*' => left.combine(right, |a, b| a * b),
                    _ => left.divide(right),
                }
            }
        };
        bounds.value.is_finite().then_some(bounds)
    }
}

/// A sum of values, each with a factor: Σ factor · value + constant.
#[derive(Clone, Debug, PartialEq)]
pub struct Weighted<'a> {
    pub terms: Vec<(&'a Term, f64)>,
    pub constant: f64,
}

impl<'a> Weighted<'a> {
    fn number(constant: f64) -> Weighted<'a> {
        Weighted { terms: Vec::new(), constant }
    }

    fn times(mut self, factor: f64) -> Weighted<'a> {
        self.terms.iter_mut().for_each(|(_, own)| *own *= factor);
        Weighted { constant: self.constant * factor, ..self }
    }

    fn plus(mut self, other: Weighted<'a>) -> Weighted<'a> {
        for (term, factor) in other.terms {
            match self.terms.iter_mut().find(|(known, _)| known.path == term.path) {
                Some((_, known)) => *known += factor,
                None => self.terms.push((term, factor)),
            }
        }
        Weighted { constant: self.constant + other.constant, ..self }
    }

    fn of(expression: &'a Expression) -> Option<Weighted<'a>> {
        let Expression::Binary(operator, left, right) = expression else {
            return Some(match expression {
                Expression::Term(term) => Weighted { terms: vec![(term, 1.0)], constant: 0.0 },
                Expression::Number(number) => Weighted::number(*number),
                Expression::Binary(..) => return None,
            });
        };
        let (left, right) = (Weighted::of(left)?, Weighted::of(right)?);
        match (operator, left.terms.is_empty(), right.terms.is_empty()) {
            ('+', ..) => Some(left.plus(right)),
            ('-', ..) => Some(left.plus(right.times(-1.0))),
            ('*', true, _) => Some(right.times(left.constant)),
            ('*', _, true) => Some(left.times(right.constant)),
            ('/', _, true) if right.constant != 0.0 => Some(left.times(1.0 / right.constant)),
            _ => None,
        }
    }
}

impl Gate {
    /// Returns the gate by which one value is greater than another; none if the names are none that a gate can have.
    pub fn between(left: &str, right: &str, place: &Place) -> Option<Gate> {
        let gate = parse(&format!("{left} > {right}"), place).ok()?;
        matches!((&gate.left, &gate.right), (Expression::Term(_), Expression::Term(_))).then_some(gate)
    }

    /// Returns the left side less the right side as a sum of values; none if it is no such sum. With a quotient on one side
    /// and a number on the other, both sides are first multiplied by the divisor, which is returned, too: the comparison
    /// stays the same only if that is greater than 0.
    pub fn weighted(&self) -> Option<(Weighted<'_>, Option<&Expression>)> {
        if let (Some(left), Some(right)) = (Weighted::of(&self.left), Weighted::of(&self.right)) {
            return Some((left.plus(right.times(-1.0)), None));
        }
        let quotient = |side: &Expression| matches!(side, Expression::Binary('/', ..));
        let sides = [(&self.left, &self.right, 1.0), (&self.right, &self.left, -1.0)];
        let (side, other, sign) = sides.into_iter().find(|(side, ..)| quotient(side))?;
        let (Expression::Binary(_, top, divisor), Expression::Number(number)) = (side, other) else { return None };
        let less = Weighted::of(top)?.plus(Weighted::of(divisor)?.times(-number));
        Some((less.times(sign), Some(divisor)))
    }
}

/// Parses a gate.
pub(super) fn parse(text: &str, place: &Place) -> Result<Gate, Problem> {
    let mut parser = Parser { text, at: 0, place };
    let left = parser.sum()?;
    let comparison = parser.comparison()?;
    let right = parser.sum()?;
    parser.spaces();
    if parser.at < text.len() {
        let problem = parser.problem("one comparison is allowed, and something follows it");
        let rest = parser.rest();
        let more = rest.strip_prefix("and ").or_else(|| rest.strip_prefix("&& "));
        return Err(match more {
            Some(more) => {
                problem.instead(format!("- {}` and a second gate `- {}", text[..parser.at].trim(), more.trim()))
            }
            None => problem,
        });
    }
    if left.terms().is_empty() && right.terms().is_empty() {
        return Err(parser.problem("the gate compares two numbers; name a value such as `stage.model.metric`"));
    }
    Ok(Gate { text: text.trim().to_owned(), left, comparison, right, place: place.clone() })
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    place: &'a Place,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn spaces(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn place_at(&self, start: usize, end: usize) -> Place {
        // The scalar may be quoted, so the words are looked up in its source to find their place.
        let source = &self.place.source;
        let found = source.text.get(self.place.range.start..).and_then(|rest| rest.find(self.text));
        match found {
            Some(offset) => {
                let base = self.place.range.start + offset;
                Place { source: source.clone(), range: base + start..base + end.max(start) }
            }
            None => self.place.clone(),
        }
    }

    fn problem(&self, message: &str) -> Problem {
        let at = self.at.min(self.text.len());
        let end = self.text[at..].chars().next().map_or(at, |c| at + c.len_utf8());
        Problem::error("bad-gate", format!("gate `{}`: {message}", self.text.trim()))
            .at(&self.place_at(at, end))
            .help("a gate looks like `stage.model.metric >= 0.8` or `a.tuned.mean >= 0.8 * a.ceiling.mean`, with spaces around + - * /")
    }

    fn sum(&mut self) -> Result<Expression, Problem> {
        let mut left = self.product()?;
        while let Some(operator) = self.operator(&['+', '-']) {
            left = Expression::Binary(operator, Box::new(left), Box::new(self.product()?));
        }
        Ok(left)
    }

    fn product(&mut self) -> Result<Expression, Problem> {
        let mut left = self.operand()?;
        while let Some(operator) = self.operator(&['*', '/']) {
            left = Expression::Binary(operator, Box::new(left), Box::new(self.operand()?));
        }
        Ok(left)
    }

    fn operator(&mut self, operators: &[char]) -> Option<char> {
        self.spaces();
        let next = self.rest().chars().next().filter(|c| operators.contains(c))?;
        self.at += 1;
        Some(next)
    }

    fn operand(&mut self) -> Result<Expression, Problem> {
        self.spaces();
        let start = self.at;
        let Some(first) = self.rest().chars().next() else {
            return Err(self.problem("a value is missing at the end"));
        };
        if first == '(' {
            self.at += 1;
            let inner = self.sum()?;
            self.spaces();
            if !self.rest().starts_with(')') {
                return Err(self.problem("`)` is missing"));
            }
            self.at += 1;
            return Ok(inner);
        }
        if first.is_ascii_digit() || first == '.' || first == '-' {
            return self.number();
        }
        if first.is_alphabetic() || first == '_' {
            // A plus directly behind a name belongs to the name (`chrf++`); one that stands alone does not (`a +b`).
            self.at +=
                self.rest().find(|c: char| !(c.is_alphanumeric() || "_-.+".contains(c))).unwrap_or(self.rest().len());
            let path: Vec<String> = self.text[start..self.at].split('.').map(str::to_owned).collect();
            if path.iter().any(String::is_empty) {
                self.at = start;
                return Err(self.problem("a path has names between its dots"));
            }
            return Ok(Expression::Term(Term { path, place: self.place_at(start, self.at) }));
        }
        Err(self.problem("a path or a number was expected here"))
    }

    fn number(&mut self) -> Result<Expression, Problem> {
        let rest = self.rest();
        let bytes = rest.as_bytes();
        let mut length = 1;
        while length < bytes.len() {
            let after_exponent = matches!(bytes[length - 1], b'e' | b'E') && matches!(bytes[length], b'-' | b'+');
            if !(bytes[length].is_ascii_alphanumeric() || bytes[length] == b'.' || after_exponent) {
                break;
            }
            length += 1;
        }
        if rest[length..].starts_with('%') {
            let share = rest[..length]
                .parse::<f64>()
                .map_or_else(|_| "0.8".to_owned(), |percent| (percent / 100.0).to_string());
            let mended = format!("{}{share}{}", &self.text[..self.at], &rest[length + 1..]);
            return Err(self.problem("shares are numbers from 0 to 1").instead(mended));
        }
        match rest[..length].parse::<f64>() {
            Ok(number) if number.is_finite() => {
                self.at += length;
                Ok(Expression::Number(number))
            }
            _ => Err(self.problem("this is not a number")),
        }
    }

    fn comparison(&mut self) -> Result<Comparison, Problem> {
        self.spaces();
        let table = [
            (">=", Comparison::GreaterOrEqual),
            ("<=", Comparison::LessOrEqual),
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            (">", Comparison::Greater),
            ("<", Comparison::Less),
        ];
        for (sign, comparison) in table {
            if self.rest().starts_with(sign) {
                self.at += sign.len();
                return Ok(comparison);
            }
        }
        for (wrong, right) in [("=>", ">="), ("=<", "<="), ("=", "=="), ("≥", ">="), ("≤", "<="), ("<>", "!=")] {
            if self.rest().starts_with(wrong) {
                let mended = format!("{}{right}{}", &self.text[..self.at], &self.rest()[wrong.len()..]);
                return Err(self.problem(&format!("`{wrong}` is no comparison")).instead(mended));
            }
        }
        Err(self.problem("a comparison (>= <= > < == !=) was expected here"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::problem::Source;

    fn gate(text: &str) -> Result<Gate, String> {
        let source = Arc::new(Source { path: "a".into(), text: text.into() });
        parse(text, &Place { range: 0..text.len(), source }).map_err(|problem| problem.message)
    }

    #[test]
    fn names_may_hold_dashes_and_signs_need_spaces() {
        let gate = gate("a.iter-3.rouge-L - 0.1 >= (0.8 * b.x.m) / 2").unwrap();
        assert_eq!(gate.left.terms()[0].path, ["a", "iter-3", "rouge-L"]);
        let value = gate.right.evaluate(&|_| Some(Bounds { value: 1.0, low: 0.5, high: 2.0 })).unwrap();
        assert_eq!(value, Bounds { value: 0.4, low: 0.2, high: 0.8 });
    }

    #[test]
    fn proof_takes_the_unfavourable_ends() {
        let left = Bounds { value: 0.8, low: 0.7, high: 0.9 };
        assert!(Comparison::GreaterOrEqual.is_proven(left, Bounds::exact(0.7)));
        assert!(!Comparison::Greater.is_proven(left, Bounds::exact(0.7)));
        assert!(!Comparison::Less.is_proven(left, Bounds::exact(0.85)));
    }

    #[test]
    fn rounding_decides_nothing() {
        let tenths = [0.1; 8].iter().sum::<f64>();
        assert!(
            tenths != 0.8
                && Comparison::GreaterOrEqual.holds(tenths, 0.8)
                && Comparison::LessOrEqual.holds(tenths, 0.8)
        );
        assert!(Comparison::Equal.holds(tenths, 0.8) && !Comparison::NotEqual.holds(tenths, 0.8));
        assert!(!Comparison::Less.holds(tenths, 0.8) && !Comparison::Greater.holds(0.8, tenths));
        assert!(Comparison::Less.holds(1e-9, 2e-9) && Comparison::Greater.holds(1.0 + 1e-8, 1.0));
        let spread = Bounds { value: 0.8, low: 0.7, high: 0.9 };
        assert!(!Comparison::Equal.is_proven(spread, Bounds::exact(0.8)));
        assert!(Comparison::NotEqual.is_proven(spread, Bounds::exact(0.95)));
    }

    #[test]
    fn a_quotient_through_zero_can_be_anything() {
        let gate = gate("1 / a.net >= -20").unwrap();
        let value = gate.left.evaluate(&|_| Some(Bounds { value: 0.1, low: -0.1, high: 0.3 })).unwrap();
        assert_eq!((value.value, value.low, value.high), (10.0, f64::NEG_INFINITY, f64::INFINITY));
        assert!(!gate.comparison.is_proven(value, Bounds::exact(-20.0)));
    }

    #[test]
    fn gates_become_sums() {
        let of = |text: &str| {
            let gate = gate(text).unwrap();
            gate.weighted().map(|(sum, divisor)| {
                let terms: Vec<_> = sum.terms.iter().map(|(term, factor)| (term.path.join("."), *factor)).collect();
                (terms, sum.constant, divisor.is_some())
            })
        };
        let two = |a: f64, b: f64| vec![("a.x".to_owned(), a), ("a.y".to_owned(), b)];
        assert_eq!(of("a.x > a.y"), Some((two(1.0, -1.0), 0.0, false)));
        assert_eq!(of("a.x - 0.02 >= 0.5 * (a.y + 1)"), Some((two(1.0, -0.5), -0.52, false)));
        assert_eq!(of("a.x / a.y >= 0.5"), Some((two(1.0, -0.5), 0.0, true)));
        assert_eq!(of("0.5 <= a.x / a.y"), Some((two(-1.0, 0.5), 0.0, true)));
        assert_eq!(of("a.x * a.y >= 0.5"), None);
    }

    #[test]
    fn bad_gates_say_why() {
        for (text, expected) in [
            ("a.b.c", "comparison"),
            ("a.b.c >= ", "missing at the end"),
            ("a.b.c >= 80%", "from 0 to 1"),
            ("a..c >= 1", "between its dots"),
            ("a.b.c >= 1 <= 2", "something follows"),
            ("(a.b >= 1", "`)` is missing"),
            ("1 < 2", "two numbers"),
            ("a.b >= $x", "a path or a number"),
        ] {
            let message = gate(text).unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }
}
