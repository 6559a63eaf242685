//! A value as a source gave it, and its way into a type.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use super::redact::redact;

/// A value before it has a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A text in TOML.
    Text(String),
    /// A whole number in TOML.
    Number(i64),
    /// An array in TOML; its elements are texts.
    List(Vec<String>),
    /// Anything from the environment or a flag: the setting decides what it is.
    Untyped(String),
    /// What no setting takes, by its name: `a boolean`, `a date`.
    Other(&'static str),
}

impl Value {
    /// Parses a text.
    pub(super) fn parse<T: FromStr<Err: Display>>(&self) -> Result<T, String> {
        match self {
            Self::Text(text) | Self::Untyped(text) => text.parse().map_err(|e| self.hide(&format!("{e}"))),
            other => Err(format!("{} stands where a text in quotes belongs", other.shown())),
        }
    }

    /// Parses an address that can be bound.
    pub(super) fn address(&self) -> Result<std::net::SocketAddr, String> {
        let text: String = self.parse()?;
        text.parse().map_err(|_| {
            self.hide(&format!(
                "`{text}` is not an address; write an IP address and a port, for example \"127.0.0.1:8080\""
            ))
        })
    }

    /// A path.
    pub(super) fn path(&self) -> Result<PathBuf, String> {
        let text: String = self.parse()?;
        if text.is_empty() {
            return Err("it is empty; write a path".to_owned());
        }
        if text.contains("://") {
            return Err(format!("`{}` is an URL; write a path", redact(&text)));
        }
        Ok(text.into())
    }

    /// A whole number between `least` and `most`.
    pub(super) fn number(&self, least: u32, most: u32) -> Result<u32, String> {
        let number = match self {
            Self::Number(number) => Some(*number),
            Self::Untyped(text) => text.parse().ok(),
            _ => None,
        };
        number
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| format!("{} is not a whole number from {least} to {most}", self.shown()))
    }

    /// An array in TOML, words between commas elsewhere.
    pub(super) fn list<T: FromStr<Err: Display>>(&self) -> Result<Vec<T>, String> {
        let words: Vec<&str> = match self {
            Self::List(words) => words.iter().map(String::as_str).collect(),
            Self::Untyped(text) => text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect(),
            other => {
                return Err(format!(
                    "{} stands where a list belongs, for example [\"a\", \"b\"]",
                    other.shown()
                ));
            }
        };
        words.into_iter().map(|word| word.parse().map_err(|e| self.hide(&format!("{e}")))).collect()
    }

    /// The value for a message, without what must not be shown.
    fn shown(&self) -> String {
        match self {
            Self::Text(text) => format!("the text \"{}\"", redact(text)),
            Self::Untyped(text) => format!("`{}`", redact(text)),
            Self::Number(number) => format!("the number {number}"),
            Self::List(_) => "a list".to_owned(),
            Self::Other(what) => (*what).to_owned(),
        }
    }

    /// The message without what must not be shown: people paste URLs into the wrong setting.
    fn hide(&self, message: &str) -> String {
        let hide = |message: String, text: &String| match text.as_str() {
            "" => message,
            text => message.replace(text, &redact(text)),
        };
        match self {
            Self::Text(text) | Self::Untyped(text) => text
                .split(',')
                .map(str::to_owned)
                .fold(hide(message.to_owned(), text), |m, word| hide(m, &word)),
            Self::List(words) => words.iter().fold(message.to_owned(), hide),
            Self::Number(_) | Self::Other(_) => message.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_in_the_wrong_place_keeps_its_password() {
        let url = "postgres://user:canary@host/db".to_owned();
        for value in
            [Value::Text(url.clone()), Value::Untyped(format!("a:1,{url}")), Value::List(vec![url.clone()])]
        {
            for error in [
                value.parse::<crate::units::Span>().err(),
                value.address().err(),
                value.number(1, 2).err(),
                value.list::<super::super::HostPort>().err(),
            ]
            .into_iter()
            .flatten()
            {
                assert!(!error.contains("canary"), "{error}");
            }
        }
    }

    #[test]
    fn numbers_keep_their_bounds() {
        assert_eq!(Value::Number(5).number(1, 9), Ok(5));
        assert_eq!(Value::Untyped("5".into()).number(1, 9), Ok(5));
        for value in [Value::Number(0), Value::Number(-1), Value::Number(i64::MAX), Value::Text("5".into())] {
            assert!(value.number(1, 9).is_err(), "{value:?}");
        }
    }
}
