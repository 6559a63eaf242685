//! The three places that settings come from, each turned into the same shape: a setting's name, a
//! value, and where exactly it stands.

use std::ffi::OsString;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Problem;
use super::value::Value;

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of the configuration file.
    File {
        /// The file, as it was named.
        path: String,
        /// Counted from 1.
        line: usize,
    },
    /// A variable of the environment.
    Environment {
        /// Its name.
        variable: String,
    },
    /// A flag of the command line.
    Flag {
        /// Its name, dashes included.
        name: &'static str,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{path} line {line}"),
            Self::Environment { variable } => write!(f, "environment variable {variable}"),
            Self::Flag { name } => write!(f, "flag {name}"),
        }
    }
}

/// A setting given on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// The flag, dashes included.
    pub name: &'static str,
    /// The setting it stands for.
    pub setting: &'static str,
    /// Its value; lists are joined with commas.
    pub value: String,
}

/// A setting that some source gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) setting: String,
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// Reads a configuration file's text.
pub(super) fn from_toml(path: &Path, text: &str, problems: &mut Vec<Problem>) -> Vec<Given> {
    let path = path.display().to_string();
    let origin = |span: Range<usize>| Origin::File {
        path: path.clone(),
        line: 1 + text.as_bytes()[..span.start.min(text.len())].iter().filter(|b| **b == b'\n').count(),
    };
    let (document, errors) = DeTable::parse_recoverable(text);
    if let Some(error) = errors.first() {
        // Only the message: the parser's own display repeats the line, which may hold a password.
        problems.push(Problem {
            origin: Some(origin(error.span().unwrap_or(0..0))),
            setting: String::new(),
            message: format!("not valid TOML: {}", error.message()),
        });
        return Vec::new();
    }
    // The parser sorts by name; complaints in the order of the file are easier to follow.
    let mut given = Vec::new();
    let mut add = |at: Range<usize>, setting: String, content: &Spanned<DeValue<'_>>| {
        given.push((at.start, Given { setting, value: value(content), origin: origin(at) }));
    };
    for (section, content) in document.get_ref() {
        let name = section.get_ref();
        match content.get_ref().as_table() {
            Some(table) => {
                for (key, content) in table {
                    add(key.span(), format!("{name}.{}", key.get_ref()), content);
                }
            }
            // `keys` refuses it: no setting has a name without a section.
            None => add(section.span(), name.to_string(), content),
        }
    }
    given.sort_by_key(|(at, _)| *at);
    given.into_iter().map(|(_, given)| given).collect()
}

fn value(content: &Spanned<DeValue<'_>>) -> Value {
    match content.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            parsed.map_or(Value::Other("a number that is too large"), Value::Number)
        }
        DeValue::Array(elements) => {
            let texts = elements.iter().map(|element| element.get_ref().as_str().map(str::to_owned));
            texts
                .collect::<Option<_>>()
                .map_or(Value::Other("a list of something else than texts"), Value::List)
        }
        DeValue::Float(_) => Value::Other("a fraction"),
        DeValue::Boolean(_) => Value::Other("a boolean"),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Table(_) => Value::Other("a table"),
    }
}

/// What every variable of ours begins with.
const PREFIX: &str = "BEATMESH_";

/// Reads `BEATMESH_SECTION__KEY`; leaves the `tolerated` ones alone.
pub(super) fn from_environment(
    variables: &[(OsString, OsString)],
    tolerated: impl Fn(&str) -> bool,
    problems: &mut Vec<Problem>,
) -> Vec<Given> {
    let mut given = Vec::new();
    for (name, text) in variables {
        let name = name.to_string_lossy();
        let Some(path) = name.strip_prefix(PREFIX) else { continue };
        if tolerated(&name) {
            continue;
        }
        let origin = Origin::Environment { variable: name.to_string() };
        let setting = path.to_lowercase().replace("__", ".");
        match text.to_str() {
            Some(text) => given.push(Given { setting, value: Value::Untyped(text.to_owned()), origin }),
            None => problems.push(Problem {
                origin: Some(origin),
                setting,
                message: "its value is not valid UTF-8".to_owned(),
            }),
        }
    }
    given
}

/// The variable that a setting is given by.
pub(super) fn variable_of(setting: &str) -> String {
    format!("{PREFIX}{}", setting.replace('.', "__").to_uppercase())
}

/// Takes over flags.
pub(super) fn from_flags(flags: Vec<Flag>) -> Vec<Given> {
    let given = |flag: Flag| Given {
        setting: flag.setting.to_owned(),
        value: Value::Untyped(flag.value),
        origin: Origin::Flag { name: flag.name },
    };
    flags.into_iter().map(given).collect()
}
