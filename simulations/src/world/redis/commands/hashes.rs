//! Hashes.

use std::collections::BTreeMap;

use super::{Answer, Spec, grows, integer, is_word, reads, shrinks};
use crate::world::redis::data::Data;
use crate::world::redis::resp::Reply;

type Hash = BTreeMap<Vec<u8>, Vec<u8>>;

pub(super) const ALL: &[Spec] = &[
    reads("hget", 3, hget),
    grows("hset", -4, hset),
    grows("hmset", -4, hmset),
    grows("hsetnx", 4, hsetnx),
    reads("hmget", -3, hmget),
    shrinks("hdel", -3, hdel),
    reads("hexists", 3, hexists),
    reads("hlen", 2, hlen),
    reads("hgetall", 2, hgetall),
    reads("hkeys", 2, hkeys),
    reads("hvals", 2, hvals),
    grows("hincrby", 4, hincrby),
    reads("hscan", -3, hscan),
];

fn hget(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    let hash = data.read::<Hash>(&args[0])?;
    Ok(Reply::or_nil(hash.and_then(|hash| hash.get(&args[1]))))
}

fn put(data: &mut Data, args: &[Vec<u8>], name: &str) -> Result<usize, String> {
    if args.len().is_multiple_of(2) {
        return Err(format!("ERR wrong number of arguments for '{name}' command"));
    }
    data.change(&args[0], |hash: &mut Hash| {
        let pairs = args[1..].chunks_exact(2);
        pairs.filter(|pair| hash.insert(pair[0].clone(), pair[1].clone()).is_none()).count()
    })
}

fn hset(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    put(data, args, "hset").map(Reply::count)
}

fn hmset(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    put(data, args, "hmset").map(|_| Reply::ok())
}

fn hsetnx(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    data.change(&args[0], |hash: &mut Hash| {
        let is_new = !hash.contains_key(&args[1]);
        if is_new {
            hash.insert(args[1].clone(), args[2].clone());
        }
        Reply::Int(i64::from(is_new))
    })
}

fn hmget(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    let hash = data.read::<Hash>(&args[0])?;
    let value = |field| Reply::or_nil(hash.and_then(|hash| hash.get(field)));
    Ok(Reply::Array(args[1..].iter().map(value).collect()))
}

fn hdel(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    data.change(&args[0], |hash: &mut Hash| {
        Reply::count(args[1..].iter().filter(|field| hash.remove(*field).is_some()).count())
    })
}

fn hexists(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    let hash = data.read::<Hash>(&args[0])?;
    Ok(Reply::Int(hash.is_some_and(|hash| hash.contains_key(&args[1])).into()))
}

fn hlen(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    Ok(Reply::count(data.read::<Hash>(&args[0])?.map_or(0, BTreeMap::len)))
}

fn listed(data: &Data, key: &[u8], fields: bool, values: bool) -> Answer {
    let hash = data.read::<Hash>(key)?;
    let items = hash.into_iter().flatten().flat_map(|(field, value)| {
        let field = fields.then(|| Reply::Bulk(field.clone()));
        field.into_iter().chain(values.then(|| Reply::Bulk(value.clone())))
    });
    Ok(Reply::Array(items.collect()))
}

fn hgetall(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    listed(data, &args[0], true, true)
}

fn hkeys(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    listed(data, &args[0], true, false)
}

fn hvals(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    listed(data, &args[0], false, true)
}

fn hincrby(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    let by = integer(&args[2])?;
    data.change(&args[0], |hash: &mut Hash| {
        let known = hash.get(&args[1]).map_or(Ok(0), |bytes| integer(bytes));
        let known = known.map_err(|_| "ERR hash value is not an integer".to_owned())?;
        let sum = known.checked_add(by).ok_or("ERR increment or decrement would overflow")?;
        hash.insert(args[1].clone(), sum.to_string().into_bytes());
        Ok(Reply::Int(sum))
    })?
}

/// All at once, as Redis does it with a hash that is small: how many it gives at a time is only a wish.
fn hscan(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    let cursor = std::str::from_utf8(&args[1]).ok().and_then(|text| text.parse::<u64>().ok());
    if cursor.is_none() {
        return Err("ERR invalid cursor".to_owned());
    }
    if data.read::<Hash>(&args[0])?.is_none() {
        return Ok(Reply::Array(vec![Reply::text("0"), Reply::Array(Vec::new())]));
    }
    for option in args[2..].chunks(2) {
        match option {
            [name, count] if is_word(name, "COUNT") && integer(count)? >= 1 => {}
            _ => return Err(super::SYNTAX.to_owned()),
        }
    }
    let items = listed(data, &args[0], true, true)?;
    Ok(Reply::Array(vec![Reply::text("0"), items]))
}
