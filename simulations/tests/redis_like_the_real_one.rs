//! The simulated Redis beside a real one: the same commands and scripts, and the same answers, word for word. Where they
//! differ, the simulated one is wrong.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use beatmesh_simulations::world::redis::resp::Reply;
use beatmesh_simulations::world::redis::server::Server;
use beatmesh_simulations::world::store::guards::Guards;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A real server, on a socket of its own directory.
struct Real {
    process: Child,
    dir: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Real {
    #[expect(clippy::disallowed_methods, reason = "a real process takes real time")]
    fn start(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("beatmesh-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let socket = dir.join("socket");
        let process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--unixsocket"])
            .arg(&socket)
            .arg("--dir")
            .arg(&dir)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed: tests/run does that");
        let connect = || {
            for _ in 0..1_000 {
                match UnixStream::connect(&socket) {
                    Ok(stream) => return stream,
                    Err(_) => std::thread::sleep(Duration::from_millis(20)),
                }
            }
            panic!("redis-server does not answer");
        };
        let stream = BufReader::new(connect());
        Self { process, dir, stream }
    }

    fn ask(&mut self, words: &[Vec<u8>]) -> Reply {
        let mut out = Vec::new();
        Reply::Array(words.iter().cloned().map(Reply::Bulk).collect()).write(&mut out);
        self.stream.get_mut().write_all(&out).expect("it takes commands");
        self.read()
    }

    fn read(&mut self) -> Reply {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).expect("it answers");
        let text = String::from_utf8_lossy(&line[1..line.len() - 2]).into_owned();
        let number = || text.parse::<i64>().expect("a number");
        match line[0] {
            b'+' => Reply::Status(text),
            b'-' => Reply::Error(text),
            b':' => Reply::Int(number()),
            b'$' | b'*' if number() < 0 => Reply::Nil,
            b'$' => {
                let mut bytes = vec![0; usize::try_from(number()).expect("a length") + 2];
                self.stream.read_exact(&mut bytes).expect("it sends what it says");
                bytes.truncate(bytes.len() - 2);
                Reply::Bulk(bytes)
            }
            b'*' => Reply::Array((0..number()).map(|_| self.read()).collect()),
            other => panic!("it does not speak RESP2: {other}"),
        }
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn words(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn pick<'a>(dice: &mut StdRng, from: &[&'a str]) -> &'a str {
    from[dice.random_range(0..from.len())]
}

/// Mostly commands as they should be, of few keys, so that they meet.
fn command(dice: &mut StdRng) -> Vec<Vec<u8>> {
    const COMMANDS: [(&str, &str); 68] = [
        ("get", "s"),
        ("set", "s v"),
        ("set", "s v o"),
        ("setnx", "s v"),
        ("mget", "s s h s"),
        ("mset", "s v s v"),
        ("getrange", "s i i"),
        ("incr", "s"),
        ("decr", "s"),
        ("incrby", "s i"),
        ("strlen", "s"),
        ("del", "k k"),
        ("unlink", "k"),
        ("exists", "k k"),
        ("type", "k"),
        ("hset", "h m v"),
        ("hset", "h m v m v"),
        ("hmset", "h m v"),
        ("hsetnx", "h m v"),
        ("hget", "h m"),
        ("hmget", "h m m m"),
        ("hdel", "h m m"),
        ("hexists", "h m"),
        ("hlen", "h"),
        ("hgetall", "h"),
        ("hkeys", "h"),
        ("hincrby", "h m i"),
        ("hscan", "h 0"),
        ("hscan", "h 0 COUNT i"),
        ("sadd", "u m m"),
        ("srem", "u m"),
        ("smove", "u u m"),
        ("scard", "u"),
        ("sismember", "u m"),
        ("smembers", "u"),
        ("zadd", "z f m"),
        ("zadd", "z f m f m"),
        ("zadd", "z o f m"),
        ("zadd", "z o o f m"),
        ("zrem", "z m m"),
        ("zscore", "z m"),
        ("zcard", "z"),
        ("zcount", "z b b"),
        ("zrank", "z m"),
        ("zincrby", "z f m"),
        ("zrange", "z i i"),
        ("zrange", "z i i WITHSCORES"),
        ("zrange", "z b b BYSCORE LIMIT i i"),
        ("zrange", "z b b BYSCORE REV"),
        ("zrange", "y l l BYLEX"),
        ("zrevrange", "z i i WITHSCORES"),
        ("zrangebyscore", "z b b WITHSCORES LIMIT i i"),
        ("zrangebyscore", "z b b"),
        ("zrevrangebyscore", "z b b"),
        ("zrangebylex", "y l l LIMIT i i"),
        ("zrevrangebylex", "y l l"),
        ("zremrangebyscore", "z b b"),
        ("zremrangebyrank", "z i i"),
        ("zremrangebylex", "y l l"),
        ("zadd", "y 0 m 0 m"),
        ("zadd", "y 0 m"),
        ("zpopmin", "z"),
        ("zscan", "z 0"),
        ("zscan", "z 0 COUNT i"),
        ("sscan", "u 0"),
        ("sscan", "u 0 COUNT 1000"),
        ("scan", "0 COUNT 1000"),
        ("rename", "s s"),
    ];
    let (name, shape) = COMMANDS[dice.random_range(0..COMMANDS.len())];
    let mut command = vec![name.to_owned()];
    for kind in shape.split(' ') {
        let word = match kind {
            "s" | "h" | "u" | "z" if dice.random_range(0..40) == 0 => {
                pick(dice, &["s1", "h1", "u1", "z1"]).to_owned()
            }
            // All of one score: of others nobody knows what a range by bytes is.
            "s" | "h" | "u" | "z" | "y" => format!("{kind}{}", dice.random_range(1..3)),
            "k" => pick(dice, &["s1", "s2", "h1", "u1", "z2", "none"]).to_owned(),
            "v" => pick(dice, &["", "1", "-7", "x", "9223372036854775807", "007", "\r\n"]).to_owned(),
            "m" => pick(dice, &["", "a", "b", "B", "aa", "ab", "\u{e4}", "z", "10"]).to_owned(),
            "i" => pick(dice, &["0", "1", "2", "-1", "-2", "5", "-100", "100", "x", "1.5"]).to_owned(),
            "f" => pick(
                dice,
                &["0", "1", "-1", "1.5", "0.1", "1767225600000", "inf", "-inf", "-0", "1e20", "nan", "x"],
            )
            .to_owned(),
            "b" => pick(dice, &["-inf", "+inf", "0", "(0", "1", "(1", "1.5", "(1767225600000", "x", "("])
                .to_owned(),
            "l" => pick(dice, &["-", "+", "[a", "(a", "[aa", "(b", "[", "(", "a"]).to_owned(),
            "o" => pick(dice, &["NX", "XX", "GT", "LT", "CH", "nx", "odd"]).to_owned(),
            word => word.to_owned(),
        };
        command.push(word);
    }
    // A word too few now and then.
    if dice.random_range(0..50) == 0 {
        command.pop();
    }
    command.into_iter().map(String::into_bytes).collect()
}

/// Hash tables have an order of their own, which nobody is promised.
fn in_order(name: &[u8], reply: Reply) -> Reply {
    let sorted = |items: Vec<Reply>, size: usize| {
        let mut parts: Vec<_> = items.chunks(size).map(<[Reply]>::to_vec).collect();
        parts.sort_by_key(|part| format!("{part:?}"));
        Reply::Array(parts.concat())
    };
    match (name, reply) {
        (b"smembers" | b"hkeys", Reply::Array(items)) => sorted(items, 1),
        (b"hgetall", Reply::Array(items)) => sorted(items, 2),
        (b"hscan" | b"zscan" | b"sscan" | b"scan", Reply::Array(parts)) => match parts.as_slice() {
            [cursor, Reply::Array(items)] => {
                let size = if matches!(name, b"hscan" | b"zscan") { 2 } else { 1 };
                Reply::Array(vec![cursor.clone(), sorted(items.clone(), size)])
            }
            _ => Reply::Array(parts),
        },
        (_, reply) => reply,
    }
}

#[test]
fn commands_are_answered_as_by_a_real_server() {
    let (mut real, mut simulated) = (Real::start("commands"), Server::new(Guards::default()));
    let mut dice = StdRng::seed_from_u64(20_260_101);
    let (mut errors, mut wrong) = (0, std::collections::BTreeMap::new());
    for round in 0..20_000 {
        let command = command(&mut dice);
        let expected = in_order(&command[0], real.ask(&command));
        let got = in_order(&command[0], simulated.execute(Duration::ZERO, &command).reply);
        errors += usize::from(got.is_error());
        let shown: Vec<_> = command.iter().map(|word| String::from_utf8_lossy(word)).collect();
        if got != expected {
            let said = format!("round {round}: {shown:?}\n  real:      {expected:?}\n  simulated: {got:?}");
            wrong.entry(command[0].clone()).or_insert(said);
        }
    }
    let wrong: Vec<_> = wrong.into_values().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!((500..15_000).contains(&errors), "{errors} errors: neither all nor none should be");
}

/// What is hard about scripts: what passes between Lua and Redis, and how errors read.
const SCRIPTS: [&str; 41] = [
    "return 3.99",
    "return -3.99",
    "return 1e15 + 0.5",
    "return '3.99'",
    "return nil",
    "return",
    "return true",
    "return false",
    "return {1, 2.9, 'three', {4, {5}}, true, false, 'end'}",
    "return {1, nil, 3}",
    "return {n = 1}",
    "return {ok = 'fine'}",
    "return {err = 'MY bad thing'}",
    "return redis.error_reply('MY bad thing')",
    "return redis.error_reply('bad')",
    "return redis.error_reply('-MY other thing')",
    "return redis.status_reply('fine')",
    "return {KEYS[1], ARGV[1], #KEYS, #ARGV, KEYS[2], ARGV[9]}",
    "return redis.call('SET', KEYS[1], 2^53)",
    "return redis.call('GET', KEYS[1])",
    "redis.call('SET', KEYS[1], 0.1) return redis.call('GET', KEYS[1])",
    "redis.call('SET', KEYS[1], 1e300) return redis.call('GET', KEYS[1])",
    "redis.call('SET', KEYS[1], -0.0) return redis.call('GET', KEYS[1])",
    "redis.call('SET', KEYS[1], 1767225600123 + 10) return redis.call('GET', KEYS[1])",
    "return redis.call('GET', 'none')",
    "return {redis.call('GET', 'none') == false, type(redis.call('HMGET', 'none', 'f')[1])}",
    "return redis.call('SET', KEYS[1], 1).ok",
    "return type(redis.call('ZCARD', 'none'))",
    "redis.call('ZADD', 'zz', 1.5, 'a', 1767225600000, 'b') return redis.call('ZRANGE', 'zz', 0, -1, 'WITHSCORES')",
    "redis.call('DEL', 'zz') return redis.call('EXISTS', 'zz')",
    "return redis.pcall('HGET', KEYS[1], 'f').err",
    "local x = redis.call('HGET', KEYS[1], 'f')\nreturn x",
    "\nlocal x = 1\nredis.call('NOSUCH')\nreturn x",
    "redis.call('GET')\nreturn 1",
    "redis.call()\nreturn 1",
    "redis.call('SET', KEYS[1], {})\nreturn 1",
    "redis.call('SET', KEYS[1], true)\nreturn 1",
    "\n\nlocal n = nil + 1",
    "undeclared = 1",
    "return undeclared",
    "error('by hand')",
];

#[test]
fn scripts_are_answered_as_by_a_real_server() {
    let (mut real, mut simulated) = (Real::start("scripts"), Server::new(Guards::default()));
    let mut wrong = Vec::new();
    for script in SCRIPTS {
        let command = words(&["EVAL", script, "1", "key", "7", "eight"]);
        let (expected, got) = (real.ask(&command), simulated.execute(Duration::ZERO, &command).reply);
        if got != expected {
            wrong.push(format!("{script:?}\n  real:      {expected:?}\n  simulated: {got:?}"));
        }
    }
    for texts in [
        &["EVAL", "return 1", "x"][..],
        &["EVAL", "return 1", "-1"],
        &["EVAL", "return 1", "2", "a"],
        &["EVAL", "return 1"],
        &["EVALSHA", "ffffffffffffffffffffffffffffffffffffffff", "0"],
        &["SCRIPT", "EXISTS", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", "x"],
        &["SCRIPT", "LOAD", "return 2"],
        &["EVALSHA", "7F923F79FE76194C868D7E1D0820DE36700EB649", "0"],
        &["ECHO", "a"],
        &["PING"],
        &["NOSUCH", "a", "b"],
        &["GET"],
        &["SET", "a"],
    ] {
        let command = words(texts);
        let (expected, got) = (real.ask(&command), simulated.execute(Duration::ZERO, &command).reply);
        if got != expected {
            wrong.push(format!("{texts:?}\n  real:      {expected:?}\n  simulated: {got:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
