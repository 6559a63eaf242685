//! What a Redis holds: values of five kinds less one (no lists), in an order of their own so that a run repeats.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// The error of a command for another kind of value.
pub const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

/// What stands under one key.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Bytes.
    String(Vec<u8>),
    /// Fields and their values.
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    /// Members.
    Set(BTreeSet<Vec<u8>>),
    /// Members by score.
    Sorted(SortedSet),
}

/// All keys of one database. A value that has become empty is no longer there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Data(BTreeMap<Vec<u8>, Value>);

/// A kind of value that holds many things.
pub trait Kind: Default {
    /// It, if it is of this kind.
    fn of(value: &Value) -> Option<&Self>;
    /// It, if it is of this kind, to be changed.
    fn of_mut(value: &mut Value) -> Option<&mut Self>;
    /// As a value.
    fn into_value(self) -> Value;
    /// Whether nothing is left in it.
    fn is_empty(&self) -> bool;
}

impl Data {
    /// The value under a key.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&Value> {
        self.0.get(key)
    }

    /// A string; `None` also when something of another kind stands there.
    #[must_use]
    pub fn text(&self, key: &[u8]) -> Option<&Vec<u8>> {
        match self.0.get(key) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// Puts a value under a key, whatever stood there.
    pub fn put(&mut self, key: Vec<u8>, value: Value) {
        self.0.insert(key, value);
    }

    /// Removes a key; answers whether it was there.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        self.0.remove(key).is_some()
    }

    /// Every key, in order.
    pub fn keys(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.0.keys()
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads a value of a kind.
    ///
    /// # Errors
    /// Another kind stands there.
    pub fn read<K: Kind>(&self, key: &[u8]) -> Result<Option<&K>, String> {
        self.0.get(key).map(|value| K::of(value).ok_or_else(|| WRONG_TYPE.to_owned())).transpose()
    }

    /// Changes a value of a kind, an empty one if there is none.
    ///
    /// # Errors
    /// Another kind stands there.
    pub fn change<K: Kind, T>(&mut self, key: &[u8], change: impl FnOnce(&mut K) -> T) -> Result<T, String> {
        let Some(value) = self.0.get_mut(key) else {
            let mut fresh = K::default();
            let answer = change(&mut fresh);
            if !fresh.is_empty() {
                self.0.insert(key.to_vec(), fresh.into_value());
            }
            return Ok(answer);
        };
        let known = K::of_mut(value).ok_or(WRONG_TYPE)?;
        let answer = change(known);
        if known.is_empty() {
            self.0.remove(key);
        }
        Ok(answer)
    }
}

macro_rules! kind {
    ($name:ident, $type:ty) => {
        impl Kind for $type {
            fn of(value: &Value) -> Option<&Self> {
                if let Value::$name(known) = value { Some(known) } else { None }
            }

            fn of_mut(value: &mut Value) -> Option<&mut Self> {
                if let Value::$name(known) = value { Some(known) } else { None }
            }

            fn into_value(self) -> Value {
                Value::$name(self)
            }

            fn is_empty(&self) -> bool {
                self.len() == 0
            }
        }
    };
}

kind!(Hash, BTreeMap<Vec<u8>, Vec<u8>>);
kind!(Set, BTreeSet<Vec<u8>>);
kind!(Sorted, SortedSet);

/// Members by (score, bytes of the member).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SortedSet {
    scores: BTreeMap<Vec<u8>, f64>,
    order: BTreeSet<(Score, Vec<u8>)>,
}

/// A score to sort by, never NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score(pub f64);

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.partial_cmp(&other.0).unwrap_or(Ordering::Equal)
    }
}

impl SortedSet {
    /// How many members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.scores.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.scores.is_empty()
    }

    /// A member's score.
    #[must_use]
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        self.scores.get(member).copied()
    }

    /// Puts a member in its place; answers the score that it had.
    pub fn insert(&mut self, member: Vec<u8>, score: f64) -> Option<f64> {
        // Small sets of Redis have one zero.
        let score = score + 0.0;
        let before = self.remove(&member);
        self.order.insert((Score(score), member.clone()));
        self.scores.insert(member, score);
        before
    }

    /// Takes a member out; answers the score that it had.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let score = self.scores.remove(member)?;
        self.order.remove(&(Score(score), member.to_vec()));
        Some(score)
    }

    /// All in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Vec<u8>, f64)> {
        self.order.iter().map(|(_, member)| (member, self.scores[member]))
    }

    /// Those from a score on, in order.
    pub fn from_score(&self, least: f64) -> impl DoubleEndedIterator<Item = (&Vec<u8>, f64)> {
        self.order.range((Score(least), Vec::new())..).map(|(_, member)| (member, self.scores[member]))
    }
}

/// A number as Redis writes it: `%.17g` of C.
#[must_use]
pub fn number(number: f64) -> String {
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number == 0.0 {
        return if number.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    // Seventeen digits, of which zeros at the end are left out.
    let scientific = format!("{number:.16e}");
    let (digits, exponent) = scientific.split_once('e').expect("it was asked for");
    let exponent: i32 = exponent.parse().expect("it is a number");
    if (-5..17).contains(&exponent) && exponent != -5 {
        let decimals = usize::try_from(16 - exponent).unwrap_or(0);
        let plain = format!("{number:.decimals$}");
        return if plain.contains('.') {
            plain.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            plain
        };
    }
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_stand_by_score_and_then_by_their_bytes() {
        let mut set = SortedSet::default();
        for (member, score) in [("b", 1.0), ("a", 1.0), ("c", -1.0), ("B", 1.0), ("a", 0.0)] {
            set.insert(member.into(), score);
        }
        let members: Vec<_> = set.iter().map(|(member, _)| member[0] as char).collect();
        assert_eq!(members, ['c', 'a', 'B', 'b']);
        assert_eq!(set.from_score(0.5).count(), 2);
        assert_eq!((set.remove(b"a"), set.len()), (Some(0.0), 3));
    }

    #[test]
    fn numbers_are_written_as_c_writes_them() {
        for (value, text) in [
            (1_767_225_600_123.0, "1767225600123"),
            (0.1, "0.10000000000000001"),
            (-2.5, "-2.5"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (9_007_199_254_740_993.0, "9007199254740992"),
            (0.0001, "0.0001"),
            (0.00001, "1.0000000000000001e-05"),
            (-0.0, "-0"),
            (1.5e300, "1.5000000000000001e+300"),
            (1e-7, "9.9999999999999995e-08"),
            (2e300, "2.0000000000000001e+300"),
            (-4e22, "-4e+22"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn an_empty_value_is_no_value() {
        let mut data = Data::default();
        data.change(b"k", |set: &mut SortedSet| set.insert(b"m".to_vec(), 1.0)).unwrap();
        assert_eq!(data.len(), 1);
        data.change(b"k", |set: &mut SortedSet| set.remove(b"m")).unwrap();
        assert!(data.is_empty());
        data.put(b"k".to_vec(), Value::String(Vec::new()));
        assert!(data.read::<SortedSet>(b"k").is_err(), "it is a string");
    }
}
