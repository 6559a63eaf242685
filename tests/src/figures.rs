//! Figures that tests print.

/// The value below which `percent` of the sorted values lie (nearest rank); 0 without values.
#[must_use]
pub fn percentile(values: &[i64], percent: f64) -> i64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    if sorted.is_empty() {
        return 0;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a list")]
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// `p50 1 p99 2 max 3 ms (n = 4)`.
#[must_use]
pub fn summary(milliseconds: &[i64]) -> String {
    format!(
        "p50 {} p99 {} max {} ms (n = {})",
        percentile(milliseconds, 50.0),
        percentile(milliseconds, 99.0),
        milliseconds.iter().max().unwrap_or(&0),
        milliseconds.len()
    )
}

/// A number from the environment, for runs that are longer or shorter than usual.
#[must_use]
pub fn from_env(name: &str, otherwise: u32) -> u32 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} = `{text}` is not a number")),
        Err(_) => otherwise,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_of_the_list() {
        let values: Vec<i64> = (1..=100).rev().collect();
        assert_eq!([50.0, 99.0, 100.0].map(|p| percentile(&values, p)), [50, 99, 100]);
        assert_eq!(percentile(&[7], 50.0), 7);
        assert_eq!(percentile(&[], 50.0), 0);
    }
}
