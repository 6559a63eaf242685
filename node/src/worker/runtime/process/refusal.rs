//! Why a program could not be started, in words that name it and say what to do.

use std::fs;
use std::io;
use std::path::Path;

use crate::catalogue::function::Function;

/// Looks at the file system to tell causes apart that the kernel reports with one number, so it may block.
pub(super) fn explain(error: &io::Error, definition: &Function) -> String {
    let program = definition.command.first().map_or("", String::as_str);
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR | libc::EACCES) => {
            if let Some(reason) = definition.dir.as_deref().and_then(bad_directory) {
                return reason;
            }
            if error.raw_os_error() == Some(libc::EACCES) {
                format!(
                    "`{program}` may not be executed by the node's user; `chmod +x` it, or put its interpreter first in `command`"
                )
            } else {
                missing(program, definition)
            }
        }
        Some(libc::ENOEXEC) => format!(
            "`{program}` is not a program for this machine: built for another processor, or a script without a `#!` line"
        ),
        Some(libc::EMFILE | libc::ENFILE) => format!(
            "the node has no file descriptor left to start `{program}`; raise its limit (`ulimit -n`, `LimitNOFILE=`) or give it fewer slots"
        ),
        Some(libc::ENOMEM) => format!(
            "there is not enough memory to start `{program}`; give the node more memory or fewer slots"
        ),
        Some(libc::EAGAIN) => format!(
            "the node's user may not have more processes, so `{program}` could not be started; raise the limit (`ulimit -u`, `TasksMax=`) or give the node fewer slots"
        ),
        Some(libc::E2BIG) => format!(
            "the arguments and variables of `{program}` are too large for the system; pass large data as input"
        ),
        _ => format!("`{program}`: {error}"),
    }
}

fn bad_directory(dir: &Path) -> Option<String> {
    let shown = dir.display();
    match fs::metadata(dir) {
        Ok(found) if !found.is_dir() => Some(format!("`dir` {shown} is not a directory; correct `dir`")),
        Ok(_) => None,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Some(format!("`dir` {shown} may not be entered by the node's user"))
        }
        Err(_) => Some(format!("`dir` {shown} does not exist on this node; create it or correct `dir`")),
    }
}

fn missing(program: &str, definition: &Function) -> String {
    if !program.contains('/') {
        return format!(
            "`{program}` was not found in PATH on this node; install it, or write its full path in `command`"
        );
    }
    // A relative path counts from the directory that the program starts in.
    let path = definition.dir.as_deref().unwrap_or(Path::new("")).join(program);
    if path.exists() {
        format!(
            "`{program}` exists, but the interpreter in its `#!` line (or its loader) does not; install it"
        )
    } else {
        format!("`{program}` does not exist on this node; install it or correct `command`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_names_the_program_and_a_remedy() {
        let function: Function = toml::from_str("runtime = \"process\"\ncommand = [\"resize\"]").unwrap();
        for (number, remedy) in [
            (libc::ENOENT, "PATH"),
            (libc::EACCES, "chmod"),
            (libc::ENOEXEC, "#!"),
            (libc::EMFILE, "ulimit -n"),
            (libc::ENFILE, "ulimit -n"),
            (libc::ENOMEM, "memory"),
            (libc::EAGAIN, "ulimit -u"),
            (libc::E2BIG, "input"),
        ] {
            let text = explain(&io::Error::from_raw_os_error(number), &function);
            assert!(text.contains("`resize`") && text.contains(remedy), "{number}: {text}");
        }
    }
}
