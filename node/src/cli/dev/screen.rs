//! What `dev` shows: its own lines and the merged log. When nobody reads any more, it says so, and
//! `dev` stops.

use std::io::{self, IsTerminal, Write};

use super::log_line;

/// Standard output.
pub(super) struct Screen {
    colours: bool,
    gone: bool,
}

impl Screen {
    pub(super) fn new() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { colours: wanted && io::stdout().is_terminal(), gone: false }
    }

    /// Whether the reader has gone.
    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    /// Shows a text as it is.
    pub(super) fn line(&mut self, text: &str) {
        let mut stdout = io::stdout().lock();
        // What else can go wrong with a terminal or a pipe is the same to us: nobody sees the mesh.
        self.gone |= writeln!(stdout, "{text}").and_then(|()| stdout.flush()).is_err();
    }

    /// Shows what `dev` itself has to say, between the lines of the log.
    pub(super) fn say(&mut self, text: &str) {
        let line = if self.colours { format!("\x1b[1mdev: {text}\x1b[0m") } else { format!("dev: {text}") };
        self.line(&line);
    }

    /// Shows a line of the log of the node with this index.
    pub(super) fn log(&mut self, index: usize, node: &str, line: &str) {
        let shown = log_line::render(index, node, line, self.colours);
        self.line(&shown);
    }
}
