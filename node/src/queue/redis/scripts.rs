//! The scripts that are this store's atomic steps.

use std::sync::LazyLock;

/// One script: its text, and the digest by which a server that has seen it knows it.
pub struct Script {
    /// For errors and traces.
    pub name: &'static str,
    /// What the server runs.
    pub text: String,
    digest: String,
}

impl Script {
    fn new(name: &'static str, parts: &[&str], body: &str) -> Self {
        let text = parts.iter().chain([&body]).fold(String::new(), |text, part| text + part + "\n");
        let digest = redis::Script::new(&text).get_hash().to_owned();
        Self { name, text, digest }
    }

    /// SHA-1, in hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

/// The clock and the keys: what every script needs.
const COMMON: &[&str] = &[include_str!("lua/common.lua")];
/// The tasks and their places as well.
const TASKS: &[&str] = &[COMMON[0], include_str!("lua/tasks.lua")];
/// Who claims as well.
const CLAIMANT: &[&str] = &[TASKS[0], TASKS[1], include_str!("lua/claimant.lua")];

macro_rules! scripts {
    ($($name:ident = $file:literal behind $parts:ident,)*) => {
        $(
            pub(super) static $name: LazyLock<Script> = LazyLock::new(|| {
                Script::new($file, $parts, include_str!(concat!("lua/", $file, ".lua")))
            });
        )*

        /// All of them: whoever stands in for a server must know what it is asked to run.
        #[must_use]
        pub fn all() -> Vec<&'static Script> {
            vec![$(&*$name),*]
        }
    };
}

scripts! {
    ENQUEUE = "enqueue" behind TASKS,
    CLAIM = "claim" behind CLAIMANT,
    PEEK = "peek" behind CLAIMANT,
    RENEW = "renew" behind TASKS,
    COMPLETE = "complete" behind TASKS,
    SWEEP = "sweep" behind TASKS,
    RECLAIM = "reclaim" behind TASKS,
    FORGET = "forget" behind TASKS,
    CANCEL = "cancel" behind TASKS,
    RETRY = "retry" behind TASKS,
    COUNTS = "counts" behind COMMON,
    CLOSE = "close" behind COMMON,
    STANDING = "standing" behind COMMON,
    FENCE = "fence" behind COMMON,
    TICK = "tick" behind TASKS,
    SCAN = "scan" behind TASKS,
}
