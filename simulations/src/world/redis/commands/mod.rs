//! The commands that change or read keys, with Redis's own meanings and words. What is about a server or a
//! connection stands in [`super::server`].

mod hashes;
mod keys;
mod sets;
mod sorted;

use super::data::Data;
use super::resp::Reply;

/// What a command answers; an error is its words.
pub type Answer = Result<Reply, String>;

const SYNTAX: &str = "ERR syntax error";
const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
const NOT_A_FLOAT: &str = "ERR value is not a valid float";

/// One command.
#[derive(Clone, Copy)]
pub struct Spec {
    /// Its name, in small letters.
    pub name: &'static str,
    /// How many words it has with its name; at least so many when negative.
    arity: i32,
    /// What it may do.
    pub effect: Effect,
    run: fn(&mut Data, &[Vec<u8>]) -> Answer,
}

/// What a command may do to the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Reads,
    /// It makes them smaller, so it runs also when memory is full.
    Shrinks,
    /// It may make them larger.
    Grows,
}

impl Spec {
    /// Whether so many words are enough and not too many.
    #[must_use]
    pub fn takes(&self, words: usize) -> bool {
        let words = i32::try_from(words).unwrap_or(i32::MAX);
        if self.arity < 0 { words >= -self.arity } else { words == self.arity }
    }

    /// Whether it may change anything.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.effect != Effect::Reads
    }

    /// Carries it out; `words` are all of it, its name first, and as many as it takes.
    ///
    /// # Errors
    /// Redis's words.
    pub fn run(&self, data: &mut Data, words: &[Vec<u8>]) -> Answer {
        (self.run)(data, &words[1..])
    }
}

const fn reads(name: &'static str, arity: i32, run: fn(&mut Data, &[Vec<u8>]) -> Answer) -> Spec {
    Spec { name, arity, effect: Effect::Reads, run }
}

const fn shrinks(name: &'static str, arity: i32, run: fn(&mut Data, &[Vec<u8>]) -> Answer) -> Spec {
    Spec { name, arity, effect: Effect::Shrinks, run }
}

const fn grows(name: &'static str, arity: i32, run: fn(&mut Data, &[Vec<u8>]) -> Answer) -> Spec {
    Spec { name, arity, effect: Effect::Grows, run }
}

/// The command of this name, however it is written.
#[must_use]
pub fn find(name: &[u8]) -> Option<&'static Spec> {
    [keys::ALL, hashes::ALL, sets::ALL, sorted::ALL]
        .into_iter()
        .flatten()
        .find(|spec| spec.name.as_bytes().eq_ignore_ascii_case(name))
}

/// All of them.
pub fn all() -> impl Iterator<Item = &'static Spec> {
    [keys::ALL, hashes::ALL, sets::ALL, sorted::ALL].into_iter().flatten()
}

fn is_word(bytes: &[u8], word: &str) -> bool {
    bytes.eq_ignore_ascii_case(word.as_bytes())
}

/// As strict as Redis: no plus, no leading zeros, no spaces.
fn integer(bytes: &[u8]) -> Result<i64, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| NOT_AN_INTEGER)?;
    let number: i64 = text.parse().map_err(|_| NOT_AN_INTEGER)?;
    if number.to_string() == text { Ok(number) } else { Err(NOT_AN_INTEGER.to_owned()) }
}

fn float(bytes: &[u8]) -> Result<f64, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| NOT_A_FLOAT)?;
    let number = match text.to_ascii_lowercase().as_str() {
        "inf" | "+inf" | "infinity" | "+infinity" => f64::INFINITY,
        "-inf" | "-infinity" => f64::NEG_INFINITY,
        lower if lower.contains("nan") || lower.contains("inf") => return Err(NOT_A_FLOAT.to_owned()),
        lower => lower.parse().map_err(|_| NOT_A_FLOAT)?,
    };
    Ok(number)
}

/// Reads the cursor and the options of a walk; answers the beginning that is asked for, the only pattern that is known
/// here.
fn walk(cursor: &[u8], options: &[Vec<u8>]) -> Result<Option<Vec<u8>>, String> {
    if std::str::from_utf8(cursor).ok().and_then(|text| text.parse::<u64>().ok()).is_none() {
        return Err("ERR invalid cursor".to_owned());
    }
    let mut beginning = None;
    for option in options.chunks(2) {
        match option {
            [name, count] if is_word(name, "COUNT") && integer(count)? >= 1 => {}
            [name, pattern] if is_word(name, "MATCH") && pattern.ends_with(b"*") => {
                beginning = Some(pattern[..pattern.len() - 1].to_vec());
            }
            _ => return Err(SYNTAX.to_owned()),
        }
    }
    Ok(beginning)
}

/// Start and end of a range by place, as Redis counts them: negative from the end, the last one included.
fn span(from: i64, to: i64, len: usize) -> std::ops::Range<usize> {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    let from = if from < 0 { (len + from).max(0) } else { from };
    let to = if to < 0 { len + to } else { to.min(len - 1) };
    if from > to || from >= len {
        return 0..0;
    }
    let place = |at: i64| usize::try_from(at).expect("it is not negative here");
    place(from)..place(to) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_found_by_any_spelling_and_knows_how_many_words_it_takes() {
        let get = find(b"gEt").expect("there is one");
        assert!(get.takes(2) && !get.takes(1) && !get.takes(3));
        let hset = find(b"HSET").expect("there is one");
        assert!(hset.takes(4) && hset.takes(60) && !hset.takes(3));
        assert!(find(b"LPUSH").is_none());
    }

    #[test]
    fn numbers_are_taken_as_redis_takes_them() {
        assert_eq!(integer(b"-12"), Ok(-12));
        for odd in [&b""[..], b"+1", b"01", b" 1", b"1.0", b"-0", b"9223372036854775808"] {
            assert!(integer(odd).is_err(), "{odd:?}");
        }
        assert_eq!((float(b"1e3"), float(b"-Inf")), (Ok(1000.0), Ok(f64::NEG_INFINITY)));
        assert!(float(b"nan").is_err() && float(b"").is_err() && float(b"1x").is_err());
    }

    #[test]
    fn ranges_are_counted_from_both_ends() {
        for (from, to, expected) in [
            (0, -1, 0..5),
            (1, 2, 1..3),
            (-2, -1, 3..5),
            (3, 99, 3..5),
            (5, 9, 0..0),
            (3, 1, 0..0),
            (-99, 0, 0..1),
            (0, -9, 0..0),
        ] {
            assert_eq!(span(from, to, 5), expected, "{from} {to}");
        }
    }
}
