//! What functions write down about their own executions, with fsync, so that it survives the node.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::processes::MARK;

/// A file that functions append lines to.
#[derive(Clone, Debug)]
pub struct SideFile {
    path: PathBuf,
}

impl SideFile {
    /// A file in this directory; empty at first.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn new(dir: &Path, name: &str) -> Self {
        let path = dir.join(name);
        std::fs::write(&path, "").expect("the test's directory can be written");
        Self { path }
    }

    /// Lines so far, those that are still being written not included.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(str::to_owned).collect()
    }

    /// A shell command that appends `line` (expanded by the shell) and waits until it is on the disk.
    /// One `write` of a short line in append mode: lines of parallel executions do not mix.
    #[must_use]
    pub fn append(&self, line: &str) -> String {
        let path = self.path.display();
        format!("printf '%s\\n' \"{line}\" >> '{path}' && sync -d '{path}'")
    }

    /// The definition of a process function that runs `script` in a shell. Its processes carry this
    /// file's path as a mark.
    #[must_use]
    pub fn function(&self, script: &str) -> Value {
        let mut definition = shell(script);
        definition["env"] = json!({ MARK: self.mark() });
        definition
    }

    /// The value of [`MARK`] in the environment of this file's functions.
    #[must_use]
    pub fn mark(&self) -> String {
        self.path.display().to_string()
    }

    /// Living processes of this file's functions.
    #[must_use]
    pub fn processes(&self) -> Vec<i32> {
        crate::processes::with_variable(MARK, &self.mark())
    }
}

/// The definition of a process function that runs `script` in a shell.
#[must_use]
pub fn shell(script: &str) -> Value {
    json!({ "runtime": "process", "command": ["/bin/bash", "-c", script], "timeout": "30s" })
}

/// The definition of a builtin.
#[must_use]
pub fn builtin(handler: &str) -> Value {
    json!({ "runtime": "builtin", "handler": handler })
}
