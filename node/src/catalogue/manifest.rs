//! A manifest: functions, queues and schedules as one TOML file, for `beatmesh deploy`.
//!
//! All mistakes are collected, each with its line and the name it concerns: whoever mends a file
//! wants to mend it once.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::function::Function;
use super::name::{FunctionName, QueueName, ScheduleName};
use super::queue::Queue;
use super::schedule::Schedule;
use crate::config::nearest;

/// What a manifest defines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// `[functions.NAME]`.
    pub functions: BTreeMap<FunctionName, Function>,
    /// `[queues.NAME]`.
    pub queues: BTreeMap<QueueName, Queue>,
    /// `[schedules.NAME]`.
    pub schedules: BTreeMap<ScheduleName, Schedule>,
}

/// Everything that is wrong with a manifest; at least one mistake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ManifestError {
    /// In the order of the file.
    pub mistakes: Vec<Mistake>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Counted from 1.
    pub line: usize,
    /// What it concerns, for example `functions.hello`; empty for the file as a whole.
    pub place: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.message)
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.mistakes.iter().enumerate() {
            write!(f, "{}{mistake}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

/// What a manifest may hold.
const SECTIONS: [&str; 3] = ["functions", "queues", "schedules"];

/// Runtimes that a later version brings.
const LATER_RUNTIMES: [&str; 2] = ["python", "http"];

impl FromStr for Manifest {
    type Err = ManifestError;

    fn from_str(text: &str) -> Result<Self, ManifestError> {
        let mut reader = Reader { text, mistakes: Vec::new() };
        let manifest = reader.manifest();
        reader.mistakes.sort_by_key(|mistake| mistake.line);
        if reader.mistakes.is_empty() {
            Ok(manifest)
        } else {
            Err(ManifestError { mistakes: reader.mistakes })
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    mistakes: Vec<Mistake>,
}

impl Reader<'_> {
    fn manifest(&mut self) -> Manifest {
        let mut manifest = Manifest::default();
        let (document, errors) = DeTable::parse_recoverable(self.text);
        if !errors.is_empty() {
            // What was recovered would only give further mistakes that vanish with the first one.
            for error in errors {
                self.add(
                    error.span().unwrap_or(0..0).start,
                    "",
                    format!("not valid TOML: {}", error.message()),
                );
            }
            return manifest;
        }
        for (section, content) in document.into_inner() {
            let at = section.span().start;
            match section.get_ref().as_ref() {
                "functions" => {
                    for (at, place, name, value) in self.entries("functions", at, content) {
                        if let Some(function) = self.function(at, &place, value) {
                            manifest.functions.insert(name, function);
                        }
                    }
                }
                "queues" => {
                    for (at, place, name, value) in self.entries("queues", at, content) {
                        if let Some(queue) = self.queue(at, &place, value) {
                            manifest.queues.insert(name, queue);
                        }
                    }
                }
                "schedules" => {
                    for (at, place, name, value) in self.entries("schedules", at, content) {
                        if let Some(schedule) = self.schedule(at, &place, value) {
                            manifest.schedules.insert(name, schedule);
                        }
                    }
                }
                "services" => self.add(at, "services", "services come in a later version".to_owned()),
                other => {
                    let hint = nearest(other, SECTIONS)
                        .map_or("a manifest has functions, queues and schedules".to_owned(), |near| {
                            format!("did you mean `{near}`?")
                        });
                    self.add(at, other, format!("there is no such section; {hint}"));
                }
            }
        }
        manifest
    }

    /// The named tables of a section: place in the text, place for messages, name, content.
    fn entries<'t, N: FromStr<Err: fmt::Display>>(
        &mut self,
        section: &str,
        at: usize,
        content: Spanned<DeValue<'t>>,
    ) -> Vec<(usize, String, N, Spanned<DeValue<'t>>)> {
        let DeValue::Table(table) = content.into_inner() else {
            self.add(at, section, format!("write a table per name, as in [{section}.hello]"));
            return Vec::new();
        };
        let mut entries = Vec::new();
        for (name, value) in table {
            let (at, place) = (name.span().start, format!("{section}.{}", name.get_ref()));
            match name.get_ref().parse::<N>() {
                Ok(name) => entries.push((at, place, name, value)),
                Err(error) => self.add(at, &place, error.to_string()),
            }
        }
        entries
    }

    fn function(&mut self, at: usize, place: &str, value: Spanned<DeValue<'_>>) -> Option<Function> {
        let runtime = value.get_ref().as_table().and_then(|table| table.get("runtime"));
        if let Some(runtime) = runtime
            && let Some(name) = runtime.get_ref().as_str()
            && LATER_RUNTIMES.contains(&name)
        {
            let message = format!(
                "runtime \"{name}\" comes in a later version; this one has \"process\" and \"builtin\""
            );
            self.add(runtime.span().start, place, message);
            return None;
        }
        let function: Function = self.definition(at, place, value)?;
        let checked = function.validate();
        self.sound(at, place, function, checked)
    }

    fn queue(&mut self, at: usize, place: &str, value: Spanned<DeValue<'_>>) -> Option<Queue> {
        let queue: Queue = self.definition(at, place, value)?;
        let checked = queue.validate();
        self.sound(at, place, queue, checked)
    }

    fn schedule(&mut self, at: usize, place: &str, value: Spanned<DeValue<'_>>) -> Option<Schedule> {
        let schedule: Schedule = self.definition(at, place, value)?;
        let checked = schedule.validate();
        self.sound(at, place, schedule, checked)
    }

    /// The definition, unless the check that the API makes too found a mistake in it.
    fn sound<T>(
        &mut self,
        at: usize,
        place: &str,
        definition: T,
        checked: Result<(), impl fmt::Display>,
    ) -> Option<T> {
        match checked {
            Ok(()) => Some(definition),
            Err(error) => {
                self.add(at, place, error.to_string());
                None
            }
        }
    }

    fn definition<T: DeserializeOwned>(
        &mut self,
        at: usize,
        place: &str,
        value: Spanned<DeValue<'_>>,
    ) -> Option<T> {
        if !value.get_ref().is_table() {
            self.add(at, place, "write its fields in a table of its own".to_owned());
            return None;
        }
        match T::deserialize(ValueDeserializer::from(value)) {
            Ok(definition) => Some(definition),
            Err(error) => {
                let at = error.span().map_or(at, |span| span.start);
                self.add(at, place, error.message().trim().to_owned());
                None
            }
        }
    }

    fn add(&mut self, at: usize, place: &str, message: String) {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        self.mistakes.push(Mistake { line, place: place.to_owned(), message });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_and_schedules_are_read() {
        let manifest: Manifest = r#"
            [functions.hello]
            runtime = "process"
            command = ["cat"]
            retries = { max = 5, backoff = "1s..10m" }
            [schedules.nightly]
            cron = "30 2 * * *"
            timezone = "Europe/Berlin"
            function = "hello"
            input = { a = [1, "x"] }
        "#
        .parse()
        .unwrap();
        assert_eq!(manifest.functions.len(), 1);
        let schedule = manifest.schedules.values().next().unwrap();
        assert_eq!(schedule.input, Some(serde_json::json!({"a": [1, "x"]})));
        assert_eq!("".parse::<Manifest>().unwrap(), Manifest::default());
    }

    #[test]
    fn every_mistake_is_told_with_line_and_name() {
        let error = r#"
[functions.a]
runtime = "process"
[functions.b]
runtime = "python"
source = "b.py"
[functions."c d"]
runtime = "builtin"
[functions.e]
runtime = "process"
command = ["cat"]
timeout = "30"
[functions.f]
runtime = "process"
command = ["cat"]
timeuot = "30s"
[functions.g]
runtime = "prozess"
[functions]
h = 1
[schedules.s]
function = "a"
[schedules.t]
cron = "* * * * *"
function = "a"
misfire = "never"
[schedules.w]
cron = "61 * * * *"
function = "a"
[schedules.x]
cron = "* * * * *"
timezone = "Europe/Berln"
function = "a"
[schedules.y]
cron = "* * * * *"
function = "a"
misfire_cap = 0
[schedule.u]
cron = "* * * * *"
[services.v]
"#
        .parse::<Manifest>()
        .unwrap_err();
        insta::assert_snapshot!(error, @r#"
        line 2: functions.a: `command` is missing: runtime "process" needs a program and its arguments, for example ["/usr/bin/env", "cat"]
        line 5: functions.b: runtime "python" comes in a later version; this one has "process" and "builtin"
        line 7: functions.c d: `c d` is not a valid function name: only ASCII letters, digits, `.`, `_` and `-` are allowed
        line 12: functions.e: `30` is not a duration; write a number and a unit, for example "500ms", "1.5s", "10m", "24h", "7d"
        line 16: functions.f: unknown field `timeuot`, expected one of `runtime`, `command`, `env`, `dir`, `handler`, `timeout`, `concurrency`, `limit`, `per_order_key`, `retries`, `queue`
        line 18: functions.g: unknown variant `prozess`, expected `process` or `builtin`
        line 20: functions.h: write its fields in a table of its own
        line 21: schedules.s: `cron` or `at` is missing: write when it is due, for example cron = "30 2 * * *", cron = "@every 90s" or at = "2026-12-24T18:00:00"
        line 26: schedules.t: unknown variant `never`, expected one of `fire_latest`, `fire_all`, `skip`
        line 27: schedules.w: `61 * * * *` is not a cron expression (Component error: Number out of bounds); write five fields (minute hour day month weekday) or six with seconds first, for example `*/5 * * * *`
        line 30: schedules.x: `Europe/Berln` is not an IANA time zone; did you mean `Europe/Berlin`?
        line 34: schedules.y: `misfire_cap` = 0 is out of range: 1 to 1000
        line 38: schedule: there is no such section; did you mean `schedules`?
        line 40: services: services come in a later version
        "#);
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_line() {
        let error = "[functions.a]\nruntime = process\n".parse::<Manifest>().unwrap_err();
        insta::assert_snapshot!(error, @r"line 2: not valid TOML: string values must be quoted, expected literal string");
        let error =
            "[functions.a]\nruntime = \"process\"\nruntime = \"builtin\"\n".parse::<Manifest>().unwrap_err();
        insta::assert_snapshot!(error, @r"line 3: not valid TOML: duplicate key");
        assert!("functions = 1".parse::<Manifest>().is_err());
    }
}
