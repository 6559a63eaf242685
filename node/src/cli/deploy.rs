//! `beatmesh deploy`: brings the mesh in line with a manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::Args;
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::client::{Client, Request};
use super::failure::Failure;
use super::output::{Output, list_of, text_of};
use crate::catalogue::manifest::Manifest;
use crate::catalogue::plan::{Change, orphans, plan};

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  beatmesh deploy functions.toml --dry-run
  beatmesh deploy functions.toml
  beatmesh deploy functions.toml --prune      also delete what the file does not name

A manifest:
  [functions.hello]
  runtime = \"process\"
  command = [\"/usr/bin/env\", \"bash\", \"-c\", \"echo hello $(cat)\"]
  [queues.bulk]
  weight = 1
  limit = 20
  [schedules.nightly]
  cron = \"30 2 * * *\"
  timezone = \"Europe/Berlin\"
  function = \"hello\"")]
pub(super) struct DeployArgs {
    /// The manifest.
    file: PathBuf,
    /// Show what would change, change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Delete functions, queues and schedules that the manifest does not name.
    #[arg(long)]
    prune: bool,
}

/// One step of a deployment.
struct Step {
    kind: &'static str,
    name: String,
    change: Change,
    /// What to put; null for a deletion.
    definition: Value,
}

pub(super) async fn run(args: &DeployArgs, client: &Client, output: &Output) -> Result<(), Failure> {
    let manifest = read(args)?;
    let functions = there(client, "functions").await?;
    let queues = there(client, "queues").await?;
    let schedules = there(client, "schedules").await?;
    let names: BTreeSet<String> = functions.keys().cloned().collect();
    let orphans = orphans(&manifest, &names, args.prune);
    if !orphans.is_empty() {
        let line = |(schedule, function)| {
            format!("{}: schedules.{schedule}: there is no function `{function}`", args.file.display())
        };
        return Err(Failure::Usage(orphans.into_iter().map(line).collect()));
    }
    let steps = in_order([
        steps("queue", &manifest.queues, &queues, args.prune),
        steps("function", &manifest.functions, &functions, args.prune),
        steps("schedule", &manifest.schedules, &schedules, args.prune),
    ]);
    if !args.dry_run {
        apply(&steps, client).await?;
    }
    report(args, &steps, output)
}

fn read(args: &DeployArgs) -> Result<Manifest, Failure> {
    let file = args.file.display();
    let text = std::fs::read_to_string(&args.file)
        .map_err(|error| Failure::usage(format!("the manifest {file} cannot be read: {error}")))?;
    text.parse::<Manifest>().map_err(|error| {
        Failure::Usage(error.mistakes.iter().map(|mistake| format!("{file} {mistake}")).collect())
    })
}

/// What the mesh has, by name.
async fn there(client: &Client, kind: &'static str) -> Result<BTreeMap<String, Value>, Failure> {
    let answer = client.get(kind, format!("/v1/{kind}")).await?;
    // A queue without a definition is there because a function names it, or because it holds tasks.
    let is_defined =
        |entry: &&Value| kind != "queues" || entry.get("definition").is_some_and(Value::is_object);
    let entry =
        |entry: &Value| (text_of(entry, "name"), entry.get("definition").cloned().unwrap_or(Value::Null));
    Ok(list_of(&answer, kind).iter().filter(is_defined).map(entry).collect())
}

fn steps<N: Ord + Clone + std::fmt::Display, D: PartialEq + Serialize + DeserializeOwned>(
    kind: &'static str,
    wanted: &BTreeMap<N, D>,
    there: &BTreeMap<String, Value>,
    prune: bool,
) -> Vec<Step> {
    let known: BTreeMap<String, Option<D>> = there
        .iter()
        .map(|(name, definition)| (name.clone(), serde_json::from_value(definition.clone()).ok()))
        .collect();
    let definition = |name: &str| {
        let found = wanted.iter().find(|(key, _)| key.to_string() == name);
        // Definitions came from text and are nothing but text, numbers and lists.
        found.map_or(Value::Null, |(_, d)| {
            serde_json::to_value(d).expect("a definition is representable in JSON")
        })
    };
    plan(wanted, &known, prune)
        .into_iter()
        .map(|(name, change)| Step { kind, definition: definition(&name), name, change })
        .collect()
}

/// Kind by kind, as one needs the other; deletions the other way round, at the end.
fn in_order<const KINDS: usize>(kinds: [Vec<Step>; KINDS]) -> Vec<Step> {
    let (mut steps, mut deletions) = (Vec::new(), Vec::new());
    for kind in kinds {
        let (old, kept): (Vec<_>, Vec<_>) = kind.into_iter().partition(|step| step.change == Change::Delete);
        steps.extend(kept);
        deletions.push(old);
    }
    steps.extend(deletions.into_iter().rev().flatten());
    steps
}

/// Takes the steps in order; the first that fails ends the deployment, and says what was done.
async fn apply(steps: &[Step], client: &Client) -> Result<(), Failure> {
    let mut done = 0;
    for step in steps {
        let result = match step.change {
            Change::Unchanged => continue,
            Change::Delete => delete(step.kind, &step.name, client).await,
            Change::Create | Change::Update => put(step.kind, &step.name, &step.definition, client).await,
        };
        result.map_err(|failure| match failure {
            Failure::Problem { context, problem } => {
                Failure::Problem { context: format!("{context} ({})", before(done)), problem }
            }
            Failure::Failed(message) => Failure::Failed(format!("{message} ({})", before(done))),
            other => other,
        })?;
        done += 1;
    }
    Ok(())
}

fn before(changes: u32) -> String {
    match changes {
        0 => "nothing was changed before".to_owned(),
        1 => "1 change was made before".to_owned(),
        more => format!("{more} changes were made before"),
    }
}

/// Puts one definition in its place; `kind` is `function`, `queue` or `schedule`.
pub(super) async fn put(kind: &str, name: &str, definition: &Value, client: &Client) -> Result<(), Failure> {
    let request = Request::new(format!("{kind} {name}"), Method::PUT, format!("/v1/{kind}s/{name}"));
    client.json(request.json(definition)).await.map(drop)
}

/// Deletes one definition; `kind` is `function`, `queue` or `schedule`.
pub(super) async fn delete(kind: &str, name: &str, client: &Client) -> Result<(), Failure> {
    let context = format!("deletion of {kind} {name}");
    client.json(Request::new(context, Method::DELETE, format!("/v1/{kind}s/{name}"))).await.map(drop)
}

fn report(args: &DeployArgs, steps: &[Step], output: &Output) -> Result<(), Failure> {
    let step = |step: &Step| json!({"kind": step.kind, "name": step.name, "change": step.change.as_str()});
    let value = json!({"dry_run": args.dry_run, "changes": steps.iter().map(step).collect::<Vec<_>>()});
    output.show(&value, |_| report_text(args.dry_run, steps))
}

fn report_text(dry_run: bool, steps: &[Step]) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut unchanged = 0;
    for step in steps {
        let mark = match step.change {
            Change::Create => '+',
            Change::Update => '~',
            Change::Delete => '-',
            Change::Unchanged => {
                unchanged += 1;
                continue;
            }
        };
        lines.push(format!("{mark} {} {} {}", step.change.as_str(), step.kind, step.name));
    }
    let changes = match (lines.len(), dry_run) {
        (0, _) => "nothing to change".to_owned(),
        (1, true) => "1 change would be made".to_owned(),
        (count, true) => format!("{count} changes would be made"),
        (1, false) => "1 change made".to_owned(),
        (count, false) => format!("{count} changes made"),
    };
    lines.push(format!("{changes}, {unchanged} unchanged"));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[functions.new]\nruntime = \"builtin\"\nhandler = \"echo\"\n\
        [functions.same]\nruntime = \"builtin\"\nhandler = \"noop\"\n\
        [queues.bulk]\nlimit = 5\n\
        [schedules.s]\ncron = \"* * * * *\"\nfunction = \"same\"\n";

    #[test]
    fn functions_come_first_and_go_last() {
        let manifest: Manifest = MANIFEST.parse().unwrap();
        let same = serde_json::to_value(manifest.functions.values().last().unwrap()).unwrap();
        let functions = BTreeMap::from([("same".to_owned(), same), ("old".to_owned(), json!({"odd": 1}))]);
        let schedules = BTreeMap::from([("gone".to_owned(), Value::Null)]);
        let queues = BTreeMap::from([("unused".to_owned(), json!({"weight": 2}))]);
        let steps = in_order([
            steps("queue", &manifest.queues, &queues, true),
            steps("function", &manifest.functions, &functions, true),
            steps("schedule", &manifest.schedules, &schedules, true),
        ]);
        insta::assert_snapshot!(report_text(true, &steps), @r"
        + create queue bulk
        + create function new
        + create schedule s
        - delete schedule gone
        - delete function old
        - delete queue unused
        6 changes would be made, 1 unchanged
        ");
    }
}
