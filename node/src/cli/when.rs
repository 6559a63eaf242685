//! Times as people say them: how long ago, how soon; and `--since` in either form.

use jiff::Timestamp;
use serde_json::Value;

use crate::units::Span;

/// How far a time of the API is from now: `12s ago`, `in 2s`; the text itself when it is no time.
pub(super) fn from_now(value: &Value, key: &str, now: Timestamp) -> String {
    let Some(text) = value.get(key).and_then(Value::as_str) else { return "-".to_owned() };
    let Ok(time) = text.parse::<Timestamp>() else { return text.to_owned() };
    let ms = now.as_millisecond() - time.as_millisecond();
    if ms >= 0 { format!("{} ago", length(ms)) } else { format!("in {}", length(-ms)) }
}

/// A span of milliseconds with one or two units: `850ms`, `12s`, `3m 20s`, `2d 4h`.
pub(super) fn length(ms: i64) -> String {
    let ms = ms.max(0);
    let (s, m, h, d) = (ms / 1_000, ms / 60_000, ms / 3_600_000, ms / 86_400_000);
    match () {
        () if ms < 1_000 => format!("{ms}ms"),
        () if s < 60 => format!("{s}s"),
        () if m < 60 => format!("{m}m {}s", s % 60),
        () if h < 24 => format!("{h}h {}m", m % 60),
        () => format!("{d}d {}h", h % 24),
    }
}

/// A `--since`: a point of time, or a span before now. As the API wants it.
pub(super) fn since(text: &str, now: Timestamp) -> Result<String, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.to_string());
    }
    let span: Span = text.parse().map_err(|_| {
        format!("--since: `{text}` is neither a span like \"10m\" nor a time like \"2026-01-31T12:00:00Z\"")
    })?;
    // Spans are at most ten years, which no clock of today takes below the first year.
    let ms = i64::try_from(span.0.as_millis()).unwrap_or(i64::MAX);
    let time = Timestamp::from_millisecond(now.as_millisecond().saturating_sub(ms))
        .map_err(|_| format!("--since: `{text}` is before all time"))?;
    Ok(time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn spans_have_at_most_two_units() {
        for (ms, shown) in [
            (0, "0ms"),
            (999, "999ms"),
            (12_345, "12s"),
            (200_000, "3m 20s"),
            (7_260_000, "2h 1m"),
            (187_200_000, "2d 4h"),
        ] {
            assert_eq!(length(ms), shown);
        }
    }

    #[test]
    fn times_are_told_from_now() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let value =
            json!({"past": "2026-01-31T11:59:48.000Z", "next": "2026-01-31T12:00:02Z", "odd": "soon"});
        assert_eq!(from_now(&value, "past", now), "12s ago");
        assert_eq!(from_now(&value, "next", now), "in 2s");
        assert_eq!(from_now(&value, "odd", now), "soon");
        assert_eq!(from_now(&value, "none", now), "-");
        assert_eq!(since("10m", now).unwrap(), "2026-01-31T11:50:00Z");
        assert_eq!(since("2026-01-31T12:00:00+01:00", now).unwrap(), "2026-01-31T11:00:00Z");
        assert!(since("yesterday", now).unwrap_err().contains("`yesterday`"));
    }
}
