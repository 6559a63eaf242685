//! `beatmesh functions`: list, show, delete.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Client;
use super::deploy;
use super::failure::Failure;
use super::output::{Output, list_of, text_of};
use super::table::Table;
use crate::catalogue::name::FunctionName;

#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  beatmesh functions
  beatmesh functions hello
  beatmesh functions delete hello"
)]
pub(super) struct FunctionsArgs {
    /// Show this one only.
    name: Option<FunctionName>,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show one function's definition.
    Get {
        /// The function.
        name: FunctionName,
    },
    /// Delete a function.
    Delete {
        /// The function.
        name: FunctionName,
    },
}

pub(super) async fn run(args: &FunctionsArgs, client: &Client, output: &Output) -> Result<(), Failure> {
    match (&args.name, &args.action) {
        (Some(name), _) | (None, Some(Action::Get { name })) => {
            let function = client.get(&format!("function {name}"), format!("/v1/functions/{name}")).await?;
            output.value(&function)
        }
        (None, Some(Action::Delete { name })) => {
            deploy::delete("function", name.as_str(), client).await?;
            output.show(&json!({"name": name, "deleted": true}), |_| format!("deleted function {name}"))
        }
        (None, None) => {
            let functions = client.get("functions", "/v1/functions").await?;
            output.show(&functions, list_text)
        }
    }
}

fn list_text(functions: &Value) -> String {
    let functions = list_of(functions, "functions");
    if functions.is_empty() {
        return "no functions; `beatmesh deploy FILE` brings some".to_owned();
    }
    let mut table = Table::new(&["FUNCTION", "RUNTIME", "TIMEOUT", "RETRIES", "QUEUE", "REVISION"]);
    for function in functions {
        let definition = function.get("definition").unwrap_or(&Value::Null);
        table.row([
            text_of(function, "name"),
            text_of(definition, "runtime"),
            text_of(definition, "timeout"),
            definition.get("retries").map_or("-".to_owned(), |retries| text_of(retries, "max")),
            text_of(definition, "queue"),
            text_of(function, "revision"),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_listed_with_what_matters() {
        let functions = json!({"functions": [{"name": "hello", "revision": 2, "definition":
            {"runtime": "process", "timeout": "10s", "retries": {"max": 3}, "queue": "default"}}]});
        insta::assert_snapshot!(list_text(&functions), @r"
        FUNCTION  RUNTIME  TIMEOUT  RETRIES  QUEUE    REVISION
        hello     process  10s      3        default  2
        ");
        assert!(list_text(&json!({"functions": []})).contains("deploy"));
    }
}
