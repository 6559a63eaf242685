//! What all fuzz targets share: seeds to start from, and bytes taken apart.

use std::path::PathBuf;

/// Writes a target's seeds into the directory that `tests/fuzz/run` names. They come from the product's own
/// encoders, so they never fall behind them.
pub fn seeds<S: AsRef<[u8]>>(seeds: impl IntoIterator<Item = S>) {
    let Some(directory) = std::env::var_os("BEATMESH_FUZZ_SEEDS").map(PathBuf::from) else { return };
    for (number, seed) in seeds.into_iter().enumerate() {
        std::fs::write(directory.join(format!("seed-{number:02}")), seed)
            .expect("the directory of the seeds is writable");
    }
}

/// Bytes as a source of choices: at their end it answers zeros.
pub struct Choices<'a>(pub &'a [u8]);

impl<'a> Choices<'a> {
    /// Whether anything is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// Eight bytes as a number; half of the time a small one or one near the largest.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            at @ 0..=63 => u64::from(at),
            at @ 64..=127 => u64::MAX - u64::from(at - 64),
            at => self.bytes(usize::from(at % 9)).iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        }
    }

    /// Up to so many bytes.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A piece that says its own length, in two bytes.
    pub fn piece(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()) << 8 | usize::from(self.byte());
        self.bytes(length)
    }
}

/// The same pieces as bytes that [`Choices::piece`] takes apart.
#[must_use]
pub fn joined(pieces: &[&[u8]]) -> Vec<u8> {
    let with_length = |piece: &&[u8]| {
        let length = u16::try_from(piece.len()).expect("seeds are short");
        [&length.to_be_bytes()[..], piece].concat()
    };
    pieces.iter().flat_map(with_length).collect()
}

/// Whether a fraction stands somewhere in it: JSON's texts of those do not always read back as the same bits.
#[must_use]
pub fn has_fraction(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Number(number) => number.is_f64(),
        serde_json::Value::Array(values) => values.iter().any(has_fraction),
        serde_json::Value::Object(values) => values.values().any(has_fraction),
        _ => false,
    }
}
