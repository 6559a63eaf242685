//! Guesses what somebody meant.

/// Below this likeness a guess would only confuse. Guess; `htpp` and `http` are 0.75 alike.
const ALIKE_ENOUGH: f64 = 0.55;

/// Whoever wrote more did not mean a name; comparing costs the product of the lengths.
const LONGEST: usize = 256;

/// The known name most like `name`, if any is alike enough.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > LONGEST {
        return None;
    }
    known
        .into_iter()
        .map(|candidate| (strsim::normalized_damerau_levenshtein(name, candidate), candidate))
        .filter(|(alike, _)| *alike >= ALIKE_ENOUGH)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name_and_nonsense_finds_none() {
        let known = ["listen.http", "listen.mesh", "node.name"];
        assert_eq!(nearest("listen.htpp", known), Some("listen.http"));
        assert_eq!(nearest("node.nmae", known), Some("node.name"));
        assert_eq!(nearest("xyzzy", known), None);
    }
}
