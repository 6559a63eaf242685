//! The samples: functions and a schedule to try. Only what is missing is deployed, so that what users
//! made of a sample survives the next start.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::super::client::Client;
use super::super::deploy::put;
use super::super::failure::Failure;
use super::super::output::{list_of, text_of};
use super::fleet::Fleet;
use super::screen::Screen;
use super::view::Lens;
use crate::catalogue::manifest::Manifest;

const SAMPLES: &str = include_str!("../../../samples/dev.toml");

/// A mesh that has just formed may still refuse to write for a moment.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(250);

/// Deploys what is missing. A mesh without samples is of use too, so a failure is only told.
pub(super) async fn deploy(fleet: &Fleet<'_>, lens: &Lens, screen: &mut Screen) {
    let Some(client) = fleet.slots.first().and_then(|slot| lens.client(slot.addresses.http).ok()) else {
        return;
    };
    for tried in 1.. {
        match deploy_missing(&client).await {
            Ok(0) => return,
            Ok(count) => return screen.say(&format!("deployed {count} samples")),
            Err(failure) if tried == TRIES => {
                return screen.say(&format!("the samples could not be deployed: {}", failure.text()));
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn deploy_missing(client: &Client) -> Result<u32, Failure> {
    let manifest: Manifest = SAMPLES.parse().expect("a test reads the embedded samples");
    let functions = names(client, "functions").await?;
    let schedules = names(client, "schedules").await?;
    let mut count = 0;
    let json = |definition: Result<Value, _>| definition.expect("a definition is representable in JSON");
    for (name, function) in manifest.functions.iter().filter(|(name, _)| !functions.contains(name.as_str())) {
        put("function", name.as_str(), &json(serde_json::to_value(function)), client).await?;
        count += 1;
    }
    for (name, schedule) in manifest.schedules.iter().filter(|(name, _)| !schedules.contains(name.as_str())) {
        put("schedule", name.as_str(), &json(serde_json::to_value(schedule)), client).await?;
        count += 1;
    }
    Ok(count)
}

async fn names(client: &Client, kind: &str) -> Result<BTreeSet<String>, Failure> {
    let answer = client.get(kind, format!("/v1/{kind}")).await?;
    Ok(list_of(&answer, kind).iter().map(|entry| text_of(entry, "name")).collect())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    fn hello(input: &str) -> String {
        let manifest: Manifest = SAMPLES.parse().unwrap();
        let hello = &manifest.functions[&"hello".parse().unwrap()];
        let mut child = Command::new(&hello.command[0])
            .args(&hello.command[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn the_samples_can_be_read_and_belong_together() {
        let manifest: Manifest = SAMPLES.parse().unwrap();
        for name in ["hello", "echo", "noop", "report"] {
            assert!(manifest.functions.contains_key(&name.parse().unwrap()), "{name}");
        }
        for schedule in manifest.schedules.values() {
            assert!(manifest.functions.contains_key(&schedule.function));
        }
    }

    #[test]
    fn hello_greets_whatever_it_is_given() {
        for (input, answer) in [
            ("{\"name\":\"Ada\"}", "hello Ada\n"),
            ("{ \"age\": 36, \"name\" : \"Ada Lovelace\" }", "hello Ada Lovelace\n"),
            ("{\"name\":\"$(id) `id` \"}", "hello $(id) `id` \n"),
            ("Ada", "hello Ada\n"),
            ("", "hello world\n"),
            ("%s%n", "hello %s%n\n"),
        ] {
            assert_eq!(hello(input), answer, "{input}");
        }
    }
}
