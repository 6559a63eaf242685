//! What is logged, and how it looks: text for people or one JSON object per line, always to stderr,
//! because stdout belongs to results.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, LogSettings};

/// Libraries that tell their own story at `info`; what concerns users is logged by this crate.
const NOISY: [&str; 9] =
    ["chitchat", "quinn", "quinn_proto", "quinn_udp", "rustls", "sqlx", "hyper", "hyper_util", "reqwest"];

/// Starts logging for this process. A second call does nothing.
pub fn start(settings: &LogSettings) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(settings.level.as_str()))
        // A complaint about a closed stderr would itself go to stderr, and panic.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    // An error here means that logging has been started before, as tests do.
    let _ = match settings.format {
        LogFormat::Text => builder.with_ansi(colours()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
    };
}

/// The filter for a level: noisy libraries at `warn` unless the level names them.
fn filter(level: &str) -> EnvFilter {
    let mut directives: Vec<String> = NOISY.iter().map(|library| format!("{library}=warn")).collect();
    // Of two directives for one module the later one counts.
    directives.push(level.to_owned());
    EnvFilter::new(directives.join(","))
}

/// Colours for people only; `NO_COLOR` is the convention for switching them off.
fn colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_quiet_unless_they_are_named() {
        let shown = filter("info").to_string();
        assert!(shown.contains("quinn=warn") && shown.contains("info"), "{shown}");
        let shown = filter("info,quinn=debug").to_string();
        assert!(shown.contains("quinn=debug") && !shown.contains("quinn=warn"), "{shown}");
    }
}
