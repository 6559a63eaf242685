//! Scripts, run by the Lua 5.1 that Redis has: what passes between the two languages is turned over exactly as Redis
//! does it. Numbers go to commands as `%.17g`, numbers of an answer lose what is behind their point, a list ends at
//! its first nil, false is nil, a table with `err` is an error and one with `ok` a status.

use std::collections::BTreeMap;
use std::sync::Arc;

use mlua::{Function, Lua, LuaOptions, StdLib, Table, Value, Variadic};
use parking_lot::Mutex;

use super::commands::{self, Effect, Spec};
use super::data::{Data, number};
use super::resp::{Command, Reply};

/// What scripts see beside Lua itself. `call` raises what `pcall` answers. Lua says where an error was raised only in
/// its text, so the line is asked for by raising one.
const PRELUDE: &str = r#"
local raw, sha1 = ...
local function place(level)
  local _, said = pcall(error, '', level + 1)
  return tonumber(string.match(said, '^user_script:(%d+):'))
end
redis = {
  pcall = function(...) return (raw(...)) end,
  call = function(...)
    local answer = raw(...)
    if type(answer) == 'table' and answer.err then
      answer.source, answer.line = '@user_script', place(3)
      error(answer, 0)
    end
    return answer
  end,
  error_reply = function(text)
    if string.sub(text, 1, 1) == '-' then text = string.sub(text, 2) end
    if not string.find(text, ' ', 1, true) then text = 'ERR ' .. text end
    return { err = text }
  end,
  status_reply = function(text) return { ok = text } end,
  sha1hex = sha1,
  log = function() end,
  LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3,
}
local function handler(said)
  if type(said) == 'table' then return said end
  local line = tonumber(string.match(tostring(said), '^user_script:(%d+):'))
  return { err = 'ERR ' .. tostring(said), source = '@user_script', line = line }
end
local xpcall = xpcall
for _, name in ipairs({ 'print', 'dofile', 'loadfile', 'require', 'module', 'package', 'io', 'os', 'debug', 'newproxy' }) do
  _G[name] = nil
end
setmetatable(_G, {
  __index = function(_, name)
    error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
  end,
  __newindex = function() error('Attempt to modify a readonly table', 2) end,
})
return function(script) return xpcall(script, handler) end
"#;

/// A Lua machine with the scripts that it knows, by their digests.
pub struct Vm {
    lua: Lua,
    guarded: Function,
    known: BTreeMap<String, Function>,
    running: Arc<Mutex<Running>>,
}

/// What a script works on, and what it did.
#[derive(Default)]
struct Running {
    data: Data,
    terms: Terms,
    writes: Vec<Write>,
}

/// Under which terms a command or a script runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// The server's clock, in microseconds since 1970.
    pub now_us: i64,
    /// Nothing may be changed here.
    pub is_replica: bool,
    /// Nothing may grow.
    pub is_full: bool,
}

/// A command that may have changed something, and what it answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// Its words.
    pub words: Command,
    /// Its answer.
    pub reply: Reply,
    /// What stood under the keys of an `MSET`.
    pub before: Vec<Option<Vec<u8>>>,
}

pub(super) const READ_ONLY: &str = "READONLY You can't write against a read only replica.";
pub(super) const FULL: &str = "OOM command not allowed when used memory > 'maxmemory'.";

impl Vm {
    /// One that knows no scripts.
    #[must_use]
    pub fn new() -> Self {
        let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH;
        let lua = Lua::new_with(libraries, LuaOptions::default()).expect("these libraries are safe");
        let running = Arc::new(Mutex::new(Running::default()));
        let guarded = prepare(&lua, running.clone()).expect("the prelude is well-formed");
        Self { lua, guarded, known: BTreeMap::new(), running }
    }

    /// Whether it has seen this script.
    #[must_use]
    pub fn knows(&self, digest: &str) -> bool {
        self.known.contains_key(digest)
    }

    /// Learns a script.
    ///
    /// # Errors
    /// It is not Lua.
    pub fn learn(&mut self, digest: &str, text: &str) -> Result<(), String> {
        let chunk = self.lua.load(text).set_name("@user_script").set_mode(mlua::ChunkMode::Text);
        let script = chunk.into_function().map_err(|error| {
            let said = error.to_string();
            let said = said
                .strip_prefix("syntax error: ")
                .unwrap_or(&said)
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned();
            format!("ERR Error compiling script (new function): {said}")
        })?;
        self.known.insert(digest.to_owned(), script);
        Ok(())
    }

    /// Forgets all scripts.
    pub fn forget(&mut self) {
        self.known.clear();
    }

    /// Runs a script that it knows; answers what it answers, and what it changed.
    pub fn run(
        &mut self,
        digest: &str,
        data: &mut Data,
        terms: Terms,
        keys: &[Vec<u8>],
        args: &[Vec<u8>],
    ) -> (Reply, Vec<Write>) {
        *self.running.lock() = Running { data: std::mem::take(data), terms, writes: Vec::new() };
        let answer = self.called(digest, keys, args);
        let mut running = self.running.lock();
        *data = std::mem::take(&mut running.data);
        (answer, std::mem::take(&mut running.writes))
    }

    fn called(&self, digest: &str, keys: &[Vec<u8>], args: &[Vec<u8>]) -> Reply {
        let called = || -> mlua::Result<Reply> {
            let globals = self.lua.globals();
            for (name, values) in [("KEYS", keys), ("ARGV", args)] {
                let list = self.lua.create_table_with_capacity(values.len(), 0)?;
                for (place, value) in values.iter().enumerate() {
                    list.raw_set(place + 1, self.lua.create_string(value)?)?;
                }
                globals.raw_set(name, list)?;
            }
            let script = self.known[digest].clone();
            let (is_done, answer): (bool, Value) = self.guarded.call(script)?;
            Ok(if is_done { reply(&answer)? } else { failure(digest, &answer)? })
        };
        called().unwrap_or_else(|error| Reply::Error(format!("ERR {error}")))
    }
}

impl Default for Vm {
    fn default() -> Self {
        Self::new()
    }
}

fn prepare(lua: &Lua, running: Arc<Mutex<Running>>) -> mlua::Result<Function> {
    let raw = lua.create_function(move |lua, words: Variadic<Value>| {
        let answer = running.lock().call(&words);
        value(lua, answer)
    })?;
    let sha1 = lua.create_function(|_, text: mlua::String| Ok(digest(&text.to_string_lossy())))?;
    lua.load(PRELUDE).set_name("=redis").call((raw, sha1))
}

/// SHA-1 in hexadecimal digits: by what Redis knows a script.
#[must_use]
pub fn digest(text: &str) -> String {
    redis::Script::new(text).get_hash().to_owned()
}

impl Running {
    /// `redis.pcall`.
    fn call(&mut self, words: &[Value]) -> Reply {
        self.answer(words).unwrap_or_else(Reply::Error)
    }

    fn answer(&mut self, words: &[Value]) -> Result<Reply, String> {
        if words.is_empty() {
            return Err("ERR Please specify at least one argument for this redis lib call".to_owned());
        }
        let words: Option<Command> = words.iter().map(argument).collect();
        let words = words.ok_or("ERR Lua redis lib command arguments must be strings or integers")?;
        if let Some(answer) = without_keys(&words, self.terms) {
            return Ok(answer);
        }
        let spec = commands::find(&words[0]).ok_or("ERR Unknown Redis command called from script")?;
        if !spec.takes(words.len()) {
            return Err("ERR Wrong number of args calling Redis command from script".to_owned());
        }
        self.may(spec)?;
        let before = if spec.name == "mset" { before(&self.data, &words) } else { Vec::new() };
        let reply = spec.run(&mut self.data, &words)?;
        if spec.writes() {
            self.writes.push(Write { words, reply: reply.clone(), before });
        }
        Ok(reply)
    }

    /// A script that has begun to write goes on: it would be left half done.
    fn may(&self, spec: &Spec) -> Result<(), String> {
        if self.terms.is_replica && spec.writes() {
            return Err(READ_ONLY.to_owned());
        }
        if self.terms.is_full && spec.effect == Effect::Grows && self.writes.is_empty() {
            return Err(FULL.to_owned());
        }
        Ok(())
    }
}

/// What stands under the keys that an `MSET` is about to set.
fn before(data: &Data, words: &[Vec<u8>]) -> Vec<Option<Vec<u8>>> {
    words[1..].chunks(2).map(|pair| data.text(&pair[0]).cloned()).collect()
}

/// What a server answers without looking at a key, in and outside of scripts.
pub(super) fn without_keys(words: &[Vec<u8>], terms: Terms) -> Option<Reply> {
    match (words[0].to_ascii_lowercase().as_slice(), words.len()) {
        (b"time", 1) => {
            let (seconds, micros) = (terms.now_us.div_euclid(1_000_000), terms.now_us.rem_euclid(1_000_000));
            Some(Reply::Array(vec![Reply::text(seconds.to_string()), Reply::text(micros.to_string())]))
        }
        (b"ping", 1) => Some(Reply::Status("PONG".to_owned())),
        (b"ping" | b"echo", 2) => Some(Reply::Bulk(words[1].clone())),
        _ => None,
    }
}

/// A word of a command.
fn argument(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Integer(whole) => Some(whole.to_string().into_bytes()),
        Value::Number(float) => Some(number(*float).into_bytes()),
        _ => None,
    }
}

/// An answer of a command, as a script sees it.
fn value(lua: &Lua, answer: Reply) -> mlua::Result<Value> {
    let named = |name: &str, text: String| -> mlua::Result<Value> {
        let table = lua.create_table()?;
        table.raw_set(name, text)?;
        Ok(Value::Table(table))
    };
    match answer {
        Reply::Status(text) => named("ok", text),
        Reply::Error(text) => named("err", text),
        #[expect(clippy::cast_precision_loss, reason = "numbers of Lua are doubles")]
        Reply::Int(whole) => Ok(Value::Number(whole as f64)),
        Reply::Nil => Ok(Value::Boolean(false)),
        Reply::Bulk(bytes) => Ok(Value::String(lua.create_string(bytes)?)),
        Reply::Array(items) => {
            let table = lua.create_table_with_capacity(items.len(), 0)?;
            for (place, item) in items.into_iter().enumerate() {
                table.raw_set(place + 1, value(lua, item)?)?;
            }
            Ok(Value::Table(table))
        }
    }
}

/// An answer of a script, as its client sees it.
fn reply(answer: &Value) -> mlua::Result<Reply> {
    Ok(match answer {
        Value::String(text) => Reply::Bulk(text.as_bytes().to_vec()),
        Value::Integer(whole) => Reply::Int(*whole),
        #[expect(clippy::cast_possible_truncation, reason = "as Redis does it")]
        Value::Number(float) => Reply::Int(*float as i64),
        Value::Boolean(true) => Reply::Int(1),
        Value::Table(table) => return of_table(table),
        _ => Reply::Nil,
    })
}

fn of_table(table: &Table) -> mlua::Result<Reply> {
    if let Value::String(text) = table.raw_get("err")? {
        return Ok(Reply::Error(text.to_string_lossy()));
    }
    if let Value::String(text) = table.raw_get("ok")? {
        return Ok(Reply::Status(text.to_string_lossy()));
    }
    let mut items = Vec::new();
    for place in 1.. {
        match table.raw_get(place)? {
            Value::Nil => break,
            item => items.push(reply(&item)?),
        }
    }
    Ok(Reply::Array(items))
}

/// What a script raised.
fn failure(digest: &str, raised: &Value) -> mlua::Result<Reply> {
    let Value::Table(raised) = raised else { return Ok(Reply::Error("ERR unknown error".to_owned())) };
    let said = match raised.raw_get("err")? {
        Value::String(text) => text.to_string_lossy(),
        _ => "ERR unknown error".to_owned(),
    };
    let line: Option<i64> = raised.raw_get("line")?;
    let place = line.map_or(String::new(), |line| format!(", on @user_script:{line}."));
    Ok(Reply::Error(format!("{said} script: {digest}{place}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str, args: &[&str]) -> Reply {
        let mut vm = Vm::new();
        vm.learn("x", text).expect("it is Lua");
        let args: Vec<_> = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
        let terms = Terms { now_us: 1_767_225_600_123_456, ..Terms::default() };
        vm.run("x", &mut Data::default(), terms, &[b"k".to_vec()], &args).0
    }

    #[test]
    fn answers_of_scripts_are_turned_over_as_redis_does_it() {
        let list = |items: &[Reply]| Reply::Array(items.to_vec());
        for (text, expected) in [
            ("return 3.99", Reply::Int(3)),
            ("return -3.99", Reply::Int(-3)),
            ("return '3.99'", Reply::text("3.99")),
            ("return nil", Reply::Nil),
            ("return false", Reply::Nil),
            ("return true", Reply::Int(1)),
            ("return {1, nil, 3}", list(&[Reply::Int(1)])),
            ("return {1, false, 3}", list(&[Reply::Int(1), Reply::Nil, Reply::Int(3)])),
            ("return {ok = 'fine'}", Reply::Status("fine".to_owned())),
            ("return {err = 'MY bad'}", Reply::Error("MY bad".to_owned())),
            ("return {'a', {}}", list(&[Reply::text("a"), list(&[])])),
            ("return ARGV[1] .. KEYS[1] .. #ARGV", Reply::text("7k1")),
            ("return redis.call('TIME')", list(&[Reply::text("1767225600"), Reply::text("123456")])),
            ("return redis.call('GET', 'none')", Reply::Nil),
            ("return type(redis.call('HMGET', 'none', 'a')[1])", Reply::text("boolean")),
            (
                "redis.call('SET', 'n', 2^53 + 0.0) return redis.call('GET', 'n')",
                Reply::text("9007199254740992"),
            ),
            ("redis.call('SET', 'n', 0.1) return redis.call('GET', 'n')", Reply::text("0.10000000000000001")),
            (
                "return redis.pcall('GET').err",
                Reply::text("ERR Wrong number of args calling Redis command from script"),
            ),
        ] {
            assert_eq!(run(text, &["7"]), expected, "{text}");
        }
    }

    #[test]
    fn errors_say_where_they_were_raised() {
        for (text, expected) in [
            (
                "redis.call('SET', 'n', 1)\nreturn redis.call('HGET', 'n', 'f') or 1",
                "WRONGTYPE Operation against a key holding the wrong kind of value script: x, on @user_script:2.",
            ),
            (
                "return nobody",
                "ERR user_script:1: Script attempted to access nonexistent global variable 'nobody' script: x, on @user_script:1.",
            ),
            (
                "\n\nlocal n = nil + 1",
                "ERR user_script:3: attempt to perform arithmetic on a nil value script: x, on @user_script:3.",
            ),
        ] {
            assert_eq!(run(text, &[]), Reply::Error(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_full_or_second_server_refuses_the_first_write_and_a_script_that_has_written_goes_on() {
        let mut vm = Vm::new();
        vm.learn("grows", "redis.call('SET', 'a', 1) return redis.call('SET', 'b', 1)").unwrap();
        vm.learn("shrinks", "redis.call('DEL', 'a') return redis.call('SET', 'b', 1)").unwrap();
        let mut data = Data::default();
        let full = Terms { is_full: true, ..Terms::default() };
        let (answer, writes) = vm.run("grows", &mut data, full, &[], &[]);
        assert!(matches!(answer, Reply::Error(text) if text.starts_with("OOM ")));
        assert!(writes.is_empty() && data.is_empty());
        assert_eq!(vm.run("shrinks", &mut data, full, &[], &[]).0, Reply::ok());
        let replica = Terms { is_replica: true, ..Terms::default() };
        let (answer, _) = vm.run("shrinks", &mut data, replica, &[], &[]);
        assert!(matches!(answer, Reply::Error(text) if text.starts_with("READONLY ")));
    }
}
