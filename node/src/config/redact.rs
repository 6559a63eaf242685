//! Hides what must not be shown: passwords in URLs, wherever an URL turns up in a message.

/// What stands in place of a secret.
const HIDDEN: &str = "***";

/// Parameters whose values are no secrets; all others are hidden, because nobody knows every name
/// under which some driver takes a password.
const HARMLESS: [&str; 5] = ["mode", "cache", "sslmode", "ssl-mode", "connect_timeout"];

/// The text with passwords hidden. Works on anything: a text that is no URL but holds an `@` loses
/// everything before it, because a mistyped URL must not show its password either.
#[must_use]
pub fn redact(text: &str) -> String {
    // Behind the last `@`: one after a `?` means that the password itself holds a `?`.
    let after = text.rfind('@').unwrap_or(0);
    let (base, query) = match text[after..].find('?') {
        Some(at) => (&text[..after + at], Some(&text[after + at + 1..])),
        None => (text, None),
    };
    let mut shown = user_info(base);
    if let Some(query) = query {
        shown.push('?');
        shown.push_str(&query.split('&').map(parameter).collect::<Vec<_>>().join("&"));
    }
    shown
}

/// `scheme://user:password@host` -> `scheme://user:***@host`.
fn user_info(base: &str) -> String {
    // The last `@`: a password that was not escaped may hold one.
    let Some((before, host)) = base.rsplit_once('@') else { return base.to_owned() };
    let Some((scheme, info)) = before.split_once("://") else { return format!("{HIDDEN}@{host}") };
    match info.split_once(':') {
        Some((user, _)) if !user.contains('@') => format!("{scheme}://{user}:{HIDDEN}@{host}"),
        // A lone word before the `@` may be a token.
        _ => format!("{scheme}://{HIDDEN}@{host}"),
    }
}

fn parameter(pair: &str) -> String {
    match pair.split_once('=') {
        Some((name, _)) if HARMLESS.contains(&name) => pair.to_owned(),
        Some((name, _)) => format!("{name}={HIDDEN}"),
        None => pair.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_of_url_shows_its_password() {
        for text in [
            "postgres://user:canary@host:5432/db",
            "postgres://user:canary@host/db?sslmode=require",
            "postgres://user:can@canary@host/db",
            "postgres://user:a?b@canary@host/db",
            "redis://:can?ary@host?password=canary",
            "postgres://user:can/canary?x@host/db",
            "redis://:canary@host",
            "redis://canary@host",
            "redis://host/0?password=canary",
            "mysql://host/db?user=u&password=canary&sslmode=require",
            "postgres:/user:canary@host",
            "user:canary@host",
            "postgres//user:canary@host/db?x=1",
        ] {
            let shown = redact(text);
            assert!(!shown.contains("canary"), "{text} -> {shown}");
            assert!(shown.contains("host"), "{text} -> {shown}");
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        for text in ["sqlite://mesh.db", "127.0.0.1:8080", "postgres://host/db?sslmode=require", "10s", ""] {
            assert_eq!(redact(text), text);
        }
        assert_eq!(redact("postgres://user:x@host/db"), "postgres://user:***@host/db");
    }
}
