//! The wire of Redis, RESP2: commands come in as arrays of byte strings, replies go out. A client that breaks the
//! protocol is told so and dropped, as Redis does it.

/// The most arguments of one command.
const MOST_ARGUMENTS: i64 = 1_048_576;

/// The longest argument.
const LONGEST_ARGUMENT: i64 = 512 << 20;

/// The longest line that says a length.
const LONGEST_LINE: usize = 64 << 10;

/// What a client asks, word by word.
pub type Command = Vec<Vec<u8>>;

/// What it is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// A word that says how it went.
    Status(String),
    /// An error: its code, a space, its text.
    Error(String),
    /// A number.
    Int(i64),
    /// Bytes.
    Bulk(Vec<u8>),
    /// There is none.
    Nil,
    /// Several.
    Array(Vec<Reply>),
}

impl Reply {
    /// `OK`.
    #[must_use]
    pub fn ok() -> Self {
        Self::Status("OK".to_owned())
    }

    /// Bytes of a text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::Bulk(text.into().into_bytes())
    }

    /// Bytes, or that there are none.
    #[must_use]
    pub fn or_nil(bytes: Option<&Vec<u8>>) -> Self {
        bytes.map_or(Self::Nil, |bytes| Self::Bulk(bytes.clone()))
    }

    /// A count.
    #[must_use]
    pub fn count(count: usize) -> Self {
        Self::Int(i64::try_from(count).expect("nothing here is so large"))
    }

    /// Whether it is an error.
    #[must_use]
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Error(_))
    }

    /// Appends it as it goes over the wire.
    pub fn write(&self, out: &mut Vec<u8>) {
        let line = |out: &mut Vec<u8>, kind: u8, text: &str| {
            out.push(kind);
            // A line ends where it says: nothing in it may end it before.
            out.extend(text.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
            out.extend(b"\r\n");
        };
        match self {
            Self::Status(text) => line(out, b'+', text),
            Self::Error(text) => line(out, b'-', text),
            Self::Int(number) => line(out, b':', &number.to_string()),
            Self::Nil => out.extend(b"$-1\r\n"),
            Self::Bulk(bytes) => {
                line(out, b'$', &bytes.len().to_string());
                out.extend(bytes);
                out.extend(b"\r\n");
            }
            Self::Array(items) => {
                line(out, b'*', &items.len().to_string());
                items.iter().for_each(|item| item.write(out));
            }
        }
    }
}

/// Takes the first whole command off the front; `None` when it has not come yet.
///
/// # Errors
/// The words with which the client is dropped.
pub fn take_command(buffer: &mut Vec<u8>) -> Result<Option<Command>, &'static str> {
    let mut at = 0;
    let Some(count) = length(buffer, &mut at, b'*', "ERR Protocol error: invalid multibulk length")? else {
        return Ok(None);
    };
    if count > MOST_ARGUMENTS {
        return Err("ERR Protocol error: invalid multibulk length");
    }
    let mut command = Vec::new();
    for _ in 0..count {
        const WRONG: &str = "ERR Protocol error: invalid bulk length";
        let Some(length) = length(buffer, &mut at, b'$', WRONG)? else { return Ok(None) };
        let length = usize::try_from(length).ok().filter(|_| length <= LONGEST_ARGUMENT).ok_or(WRONG)?;
        let Some(bytes) = buffer.get(at..at + length) else { return Ok(None) };
        if buffer.len() < at + length + 2 {
            return Ok(None);
        }
        command.push(bytes.to_vec());
        at += length + 2;
    }
    buffer.drain(..at);
    Ok(Some(command))
}

/// A line of a kind that says a length.
fn length(buffer: &[u8], at: &mut usize, kind: u8, wrong: &'static str) -> Result<Option<i64>, &'static str> {
    let rest = &buffer[*at..];
    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
        return if rest.len() > LONGEST_LINE {
            Err("ERR Protocol error: too big mbulk count string")
        } else {
            Ok(None)
        };
    };
    let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
    let number = line.strip_prefix(&[kind]).ok_or(if kind == b'$' {
        "ERR Protocol error: expected '$'"
    } else {
        // Redis takes a line of words here as well; no client of ours sends one.
        "ERR Protocol error: expected '*'"
    })?;
    let number = std::str::from_utf8(number).ok().and_then(|number| number.parse().ok()).ok_or(wrong)?;
    *at += end + 1;
    Ok(Some(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_taken_when_all_of_it_has_come() {
        let whole = b"*2\r\n$3\r\nGET\r\n$2\r\n\r\n\r\n*1\r\n$4\r\nPING\r\n";
        for cut in 0..21 {
            assert_eq!(take_command(&mut whole[..cut].to_vec()), Ok(None), "{cut}");
        }
        let mut buffer = whole.to_vec();
        assert_eq!(take_command(&mut buffer), Ok(Some(vec![b"GET".to_vec(), b"\r\n".to_vec()])));
        assert_eq!(take_command(&mut buffer), Ok(Some(vec![b"PING".to_vec()])));
        assert_eq!((take_command(&mut buffer), buffer.len()), (Ok(None), 0));
    }

    #[test]
    fn what_is_no_command_is_refused_with_redis_words() {
        for (bytes, word) in [
            (&b"*x\r\n"[..], "multibulk"),
            (b"*9999999\r\n", "multibulk"),
            (b"*1\r\n:3\r\n", "expected '$'"),
            (b"*1\r\n$-1\r\n", "bulk length"),
            (b"*1\r\n$99999999999\r\n", "bulk length"),
        ] {
            let refused = take_command(&mut bytes.to_vec());
            assert!(refused.is_err_and(|text| text.contains(word)), "{bytes:?}");
        }
    }

    #[test]
    fn a_reply_is_written_as_redis_writes_it() {
        let items = vec![
            Reply::ok(),
            Reply::Error("ERR a\r\nb".to_owned()),
            Reply::Int(-7),
            Reply::Nil,
            Reply::text("\r\n"),
            Reply::Array(Vec::new()),
        ];
        let mut out = Vec::new();
        Reply::Array(items).write(&mut out);
        assert_eq!(out, b"*6\r\n+OK\r\n-ERR a  b\r\n:-7\r\n$-1\r\n$2\r\n\r\n\r\n*0\r\n");
    }
}
