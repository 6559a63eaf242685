//! Keys of any kind, and strings.

use super::{Answer, NOT_AN_INTEGER, SYNTAX, Spec, grows, integer, is_word, reads, shrinks};
use crate::world::redis::data::{Data, Value, WRONG_TYPE};
use crate::world::redis::resp::Reply;
use crate::world::redis::server::wrong_number;

pub(super) const ALL: &[Spec] = &[
    reads("get", 2, get),
    reads("mget", -2, mget),
    reads("getrange", 4, getrange),
    grows("set", -3, set),
    grows("mset", -3, mset),
    grows("setnx", 3, setnx),
    grows("incr", 2, incr),
    grows("incrby", 3, incrby),
    grows("decr", 2, decr),
    shrinks("del", -2, del),
    shrinks("unlink", -2, del),
    reads("exists", -2, exists),
    reads("type", 2, kind),
    reads("strlen", 2, strlen),
    reads("scan", -2, scan),
    grows("rename", 3, rename),
];

fn string<'a>(data: &'a Data, key: &[u8]) -> Result<Option<&'a Vec<u8>>, String> {
    match data.get(key) {
        None => Ok(None),
        Some(Value::String(bytes)) => Ok(Some(bytes)),
        Some(_) => Err(WRONG_TYPE.to_owned()),
    }
}

fn get(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    Ok(Reply::or_nil(string(data, &args[0])?))
}

/// What is of another kind counts as not there.
fn mget(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    let values = args.iter().map(|key| Reply::or_nil(string(data, key).unwrap_or(None)));
    Ok(Reply::Array(values.collect()))
}

/// An end that lies before the beginning of the text is its first byte, unlike in any other range.
fn getrange(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    let (from, to) = (integer(&args[1])?, integer(&args[2])?);
    let bytes = string(data, &args[0])?.map_or(&[][..], Vec::as_slice);
    if from < 0 && to < 0 && from > to {
        return Ok(Reply::Bulk(Vec::new()));
    }
    let len = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
    let to = if to < 0 { (len + to).max(0) } else { to };
    Ok(Reply::Bulk(bytes[super::span(from, to, bytes.len())].to_vec()))
}

fn mset(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    if !args.len().is_multiple_of(2) {
        return Err(wrong_number("mset"));
    }
    for pair in args.chunks_exact(2) {
        data.put(pair[0].clone(), Value::String(pair[1].clone()));
    }
    Ok(Reply::ok())
}

/// Without expiry: nothing here asks for it.
fn set(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    let (mut only_new, mut only_known) = (false, false);
    for option in &args[2..] {
        match option {
            word if is_word(word, "NX") && !only_known => only_new = true,
            word if is_word(word, "XX") && !only_new => only_known = true,
            _ => return Err(SYNTAX.to_owned()),
        }
    }
    let known = data.get(&args[0]).is_some();
    if (only_new && known) || (only_known && !known) {
        return Ok(Reply::Nil);
    }
    data.put(args[0].clone(), Value::String(args[1].clone()));
    Ok(Reply::ok())
}

fn setnx(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    let is_new = data.get(&args[0]).is_none();
    if is_new {
        data.put(args[0].clone(), Value::String(args[1].clone()));
    }
    Ok(Reply::Int(i64::from(is_new)))
}

fn add(data: &mut Data, key: &[u8], by: i64) -> Answer {
    let known = string(data, key)?.map_or(Ok(0), |bytes| integer(bytes))?;
    let sum = known.checked_add(by).ok_or("ERR increment or decrement would overflow")?;
    data.put(key.to_vec(), Value::String(sum.to_string().into_bytes()));
    Ok(Reply::Int(sum))
}

fn incr(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    add(data, &args[0], 1)
}

fn decr(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    add(data, &args[0], -1)
}

fn incrby(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    let by = integer(&args[1]).map_err(|_| NOT_AN_INTEGER)?;
    add(data, &args[0], by)
}

fn del(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    Ok(Reply::count(args.iter().filter(|key| data.remove(key)).count()))
}

fn exists(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    Ok(Reply::count(args.iter().filter(|key| data.get(key).is_some()).count()))
}

fn kind(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    let kind = match data.get(&args[0]) {
        None => "none",
        Some(Value::String(_)) => "string",
        Some(Value::Hash(_)) => "hash",
        Some(Value::Set(_)) => "set",
        Some(Value::Sorted(_)) => "zset",
    };
    Ok(Reply::Status(kind.to_owned()))
}

fn strlen(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    Ok(Reply::count(string(data, &args[0])?.map_or(0, Vec::len)))
}

/// All at once, as Redis does it with few keys: how many it gives at a time is only a wish.
fn scan(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    let options = super::walk(&args[0], &args[1..])?;
    let wanted = |key: &&Vec<u8>| options.as_ref().is_none_or(|beginning| key.starts_with(beginning));
    let keys = data.keys().filter(wanted).cloned().map(Reply::Bulk).collect();
    Ok(Reply::Array(vec![Reply::text("0"), Reply::Array(keys)]))
}

fn rename(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    let value = data.get(&args[0]).cloned().ok_or("ERR no such key")?;
    data.remove(&args[0]);
    data.put(args[1].clone(), value);
    Ok(Reply::ok())
}
