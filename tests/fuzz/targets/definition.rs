//! A function (first byte even) or a schedule (odd) as JSON, as it comes to the API: what is taken writes as JSON,
//! and that is taken as the same; the store keeps definitions so.
#![no_main]

use beatmesh_fuzz::{has_fraction, seeds};
use beatmesh_node::fuzzing::{function, schedule};
use libfuzzer_sys::fuzz_target;

const SEEDS: [&str; 4] = [
    r#"0{"runtime":"process","command":["cat"],"env":{"A":"b"},"dir":"/tmp","timeout":"1.5s","concurrency":2,"retries":{"max":3,"backoff":"1s..10m"},"queue":"q"}"#,
    r#"0{"runtime":"builtin","handler":"echo"}"#,
    r#"1{"cron":"0 3 * * *","timezone":"Europe/Berlin","function":"f","input":{"a":[1,2.5,null]},"misfire":"fire_all","misfire_cap":5,"misfire_grace":"10s","overlap":"queue_one"}"#,
    r#"1{"cron":"* * * * *","function":"f","overlap":"skip"}"#,
];

fuzz_target!(init: seeds(SEEDS), |data: &[u8]| {
    let Some((kind, body)) = data.split_first() else { return };
    if kind % 2 == 0 {
        match function(body) {
            Ok(taken) => {
                let written = serde_json::to_vec(&taken).expect("a definition is JSON");
                assert_eq!(function(&written), Ok(taken));
            }
            Err(problem) => assert!((400..500).contains(&problem.status)),
        }
    } else {
        match schedule(body) {
            Ok(taken) => {
                let written = serde_json::to_vec(&taken).expect("a definition is JSON");
                let again = schedule(&written);
                if !taken.input.as_ref().is_some_and(has_fraction) {
                    assert_eq!(again, Ok(taken));
                }
            }
            Err(problem) => assert!((400..500).contains(&problem.status)),
        }
    }
});
