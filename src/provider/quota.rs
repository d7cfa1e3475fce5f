//! What servers say about their limits: how long to wait, and whether a quota is used up.

use std::time::{Duration, SystemTime};

use reqwest::header::HeaderMap;
use serde_json::Value;

/// Returns how many seconds the server asks to wait (`Retry-After`): a number, or an HTTP date, which is taken by the
/// server's own clock if it tells the time.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<f64> {
    let value = text(headers, "retry-after")?;
    match value.parse::<f64>() {
        Ok(seconds) => (seconds.is_finite() && seconds >= 0.0).then_some(seconds),
        Err(_) => httpdate::parse_http_date(value).ok().map(|at| until(at, headers)),
    }
}

/// Returns how many seconds are left until a quota of the server is there again; none unless one is used up. It reads
/// the headers of OpenAI, of those who took them over, and of Anthropic.
pub(super) fn pause(headers: &HeaderMap) -> Option<f64> {
    const QUOTAS: [(&str, &str); 8] = [
        ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
        ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
        ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
        ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
        ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"),
        ("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset"),
        ("x-ratelimit-remaining", "x-ratelimit-reset"),
        ("ratelimit-remaining", "ratelimit-reset"),
    ];
    let left = |(remaining, reset): (&str, &str)| {
        let is_used_up = text(headers, remaining)?.parse::<f64>().ok()? <= 0.0;
        is_used_up.then(|| wait(text(headers, reset)?, headers)).flatten()
    };
    QUOTAS.into_iter().filter_map(left).max_by(f64::total_cmp).filter(|seconds| *seconds > 0.0)
}

/// Returns true if a body says that no money is left, which no waiting brings back.
pub(super) fn is_out_of_money(error: &Value) -> bool {
    const WORDS: [&str; 5] = [
        "insufficient_quota",
        "insufficient_balance",
        "billing_hard_limit_reached",
        "billing_not_active",
        "credit balance is too low",
    ];
    let said = [&error["code"], &error["type"], &error["message"], error];
    said.into_iter().filter_map(Value::as_str).any(|said| WORDS.iter().any(|word| said.contains(word)))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// Returns the seconds from now until a time, by the clock of the server.
fn until(at: SystemTime, headers: &HeaderMap) -> f64 {
    let now = text(headers, "date").and_then(|date| httpdate::parse_http_date(date).ok());
    at.duration_since(now.unwrap_or_else(SystemTime::now)).map_or(0.0, |left| left.as_secs_f64())
}

/// Returns the seconds that a reset says: `1.5`, `6m0s`, `120ms`, a time of day (RFC 3339), or seconds since 1970.
fn wait(reset: &str, headers: &HeaderMap) -> Option<f64> {
    /// Numbers from here on are times, not spans: 2001.
    const EPOCH: f64 = 1e9;
    if let Ok(number) = reset.parse::<f64>() {
        let at = || SystemTime::UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(number).ok()?);
        return if number < EPOCH { Some(number.max(0.0)) } else { at().map(|at| until(at, headers)) };
    }
    if let Ok(at) = humantime::parse_rfc3339_weak(reset) {
        return Some(until(at, headers));
    }
    let mut rest = reset;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = rest.split_at(digits);
        let end = unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len());
        let factor = match &unit[..end] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * factor;
        rest = &unit[end..];
    }
    Some(seconds)
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};
    use serde_json::json;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let header = |(name, value): &(&str, &str)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(header).collect()
    }

    #[test]
    fn a_wait_is_a_number_or_a_date_by_the_clock_of_the_server() {
        assert_eq!(retry_after(&headers(&[("retry-after", "2")])), Some(2.0));
        assert_eq!(retry_after(&headers(&[("retry-after", "soon")])), None);
        let dated =
            headers(&[("retry-after", "Wed, 21 Oct 2015 07:30:00 GMT"), ("date", "Wed, 21 Oct 2015 07:28:00 GMT")]);
        assert_eq!(retry_after(&dated), Some(120.0), "whatever the clock here says");
        assert_eq!(retry_after(&headers(&[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")])), Some(0.0));
    }

    #[test]
    fn a_quota_that_is_used_up_says_until_when() {
        let of = |remaining: &str, reset: &str| {
            pause(&headers(&[("x-ratelimit-remaining-requests", remaining), ("x-ratelimit-reset-requests", reset)]))
        };
        for (reset, seconds) in [("1s", 1.0), ("6m0s", 360.0), ("120ms", 0.12), ("1h2m3.5s", 3723.5), ("2", 2.0)] {
            assert_eq!(of("0", reset), Some(seconds), "{reset}");
        }
        assert_eq!(of("1", "1s"), None);
        assert_eq!(of("0", "never"), None);
        let anthropic = headers(&[
            ("anthropic-ratelimit-requests-remaining", "0"),
            ("anthropic-ratelimit-requests-reset", "2015-10-21T07:28:30Z"),
            ("date", "Wed, 21 Oct 2015 07:28:00 GMT"),
        ]);
        assert_eq!(pause(&anthropic), Some(30.0));
        assert_eq!(pause(&HeaderMap::new()), None);
    }

    #[test]
    fn no_money_is_told_from_too_many_calls() {
        assert!(is_out_of_money(&json!({ "code": "insufficient_quota", "message": "You exceeded your quota" })));
        assert!(is_out_of_money(&json!({ "message": "Your credit balance is too low to access the API" })));
        assert!(!is_out_of_money(&json!({ "code": "rate_limit_exceeded", "message": "slow down" })));
        assert!(!is_out_of_money(&json!(null)));
    }
}
