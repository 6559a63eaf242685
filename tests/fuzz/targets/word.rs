//! Single words that people and peers write: names, ids, spans, sizes. What is read shows itself as a text that reads
//! back as the same.
#![no_main]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use beatmesh_fuzz::seeds;
use beatmesh_mesh::id::{MeshName, NodeId};
use beatmesh_node::catalogue::function::Backoff;
use beatmesh_node::catalogue::name::{FunctionName, QueueName, ScheduleName};
use beatmesh_node::config::{HostPort, Label, LogFilter, StoreUrl};
use beatmesh_node::queue::order::OrderKey;
use beatmesh_node::queue::task::{TaskId, TaskState};
use beatmesh_node::units::{ByteSize, Span};
use libfuzzer_sys::fuzz_target;

const SEEDS: [&str; 14] = [
    "0node-1",
    "1mesh",
    "2resize.v2",
    "3nightly",
    "4default",
    "5zone-a",
    "60190b2f0-6b6e-7cc3-98c4-dc0c0c07398f",
    "71.5s",
    "816MiB",
    "91s..10m",
    "a[::1]:7946",
    "bsqlite://mesh.db",
    "dcustomer 17/ä",
    "bpostgres://user:canary@db.example:5432/mesh?sslmode=require",
];

fn round<T: FromStr<Err: Display> + Display + PartialEq + Debug>(text: &str) {
    match text.parse::<T>() {
        Ok(value) => {
            let shown = value.to_string();
            match shown.parse::<T>() {
                Ok(again) => assert_eq!(again, value, "{shown}"),
                Err(error) => panic!("{value:?} shows itself as `{shown}`: {error}"),
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A server is shown without its password, so what is shown is another one.
fn store(text: &str) {
    match text.parse() {
        Ok(StoreUrl::Server(server)) => {
            assert_eq!(server.expose(), text);
            assert!(!format!("{server} {server:?}").contains(":canary@"), "{server}");
        }
        _ => round::<StoreUrl>(text),
    }
}

fuzz_target!(init: seeds(SEEDS), |data: &[u8]| {
    let Some((kind, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    match kind {
        b'0' => round::<NodeId>(text),
        b'1' => round::<MeshName>(text),
        b'2' => round::<FunctionName>(text),
        b'3' => round::<ScheduleName>(text),
        b'4' => round::<QueueName>(text),
        b'5' => round::<Label>(text),
        b'6' => round::<TaskId>(text),
        b'7' => round::<Span>(text),
        b'8' => round::<ByteSize>(text),
        b'9' => round::<Backoff>(text),
        b'a' => round::<HostPort>(text),
        b'b' => store(text),
        b'c' => drop(text.parse::<LogFilter>()),
        b'd' => round::<OrderKey>(text),
        _ => drop(text.parse::<TaskState>()),
    }
});
