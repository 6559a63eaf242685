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
    fn new(name: &'static str, body: &str) -> Self {
        let text = format!("{}\n{body}", include_str!("lua/common.lua"));
        let digest = redis::Script::new(&text).get_hash().to_owned();
        Self { name, text, digest }
    }

    /// SHA-1, in hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

macro_rules! scripts {
    ($($name:ident = $file:literal,)*) => {
        $(
            pub(super) static $name: LazyLock<Script> =
                LazyLock::new(|| Script::new($file, include_str!(concat!("lua/", $file, ".lua"))));
        )*

        /// All of them: whoever stands in for a server must know what it is asked to run.
        #[must_use]
        pub fn all() -> Vec<&'static Script> {
            vec![$(&*$name),*]
        }
    };
}

scripts! {
    ENQUEUE = "enqueue",
    CLAIM = "claim",
    PEEK = "peek",
    RENEW = "renew",
    COMPLETE = "complete",
    SWEEP = "sweep",
    RECLAIM = "reclaim",
    FORGET = "forget",
    CANCEL = "cancel",
    RETRY = "retry",
    COUNTS = "counts",
    CLOSE = "close",
    STANDING = "standing",
    FENCE = "fence",
    TICK = "tick",
    SCAN = "scan",
}
