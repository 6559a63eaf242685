//! Sets. Redis gives members in the order of its hash table; here they come in the order of their bytes.

use std::collections::BTreeSet;

use super::{Answer, Spec, grows, reads, shrinks};
use crate::world::redis::data::Data;
use crate::world::redis::resp::Reply;

type Set = BTreeSet<Vec<u8>>;

pub(super) const ALL: &[Spec] = &[
    grows("sadd", -3, sadd),
    shrinks("srem", -3, srem),
    shrinks("smove", 4, smove),
    reads("scard", 2, scard),
    reads("sismember", 3, sismember),
    reads("smembers", 2, smembers),
    reads("sscan", -3, sscan),
];

fn sadd(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    data.change(&args[0], |set: &mut Set| {
        Reply::count(args[1..].iter().filter(|member| set.insert((*member).clone())).count())
    })
}

fn srem(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    data.change(&args[0], |set: &mut Set| {
        Reply::count(args[1..].iter().filter(|member| set.remove(*member)).count())
    })
}

fn smove(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    let (from, to, member) = (&args[0], &args[1], &args[2]);
    let has = |data: &Data| Ok::<_, String>(data.read::<Set>(from)?.is_some_and(|set| set.contains(member)));
    if data.get(from).is_none() {
        return Ok(Reply::Int(0));
    }
    let is_there = has(data)?;
    data.read::<Set>(to)?;
    if is_there && from != to {
        data.change(from, |set: &mut Set| set.remove(member))?;
        data.change(to, |set: &mut Set| set.insert(member.clone()))?;
    }
    Ok(Reply::Int(is_there.into()))
}

fn scard(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    Ok(Reply::count(data.read::<Set>(&args[0])?.map_or(0, BTreeSet::len)))
}

fn sismember(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    let set = data.read::<Set>(&args[0])?;
    Ok(Reply::Int(set.is_some_and(|set| set.contains(&args[1])).into()))
}

fn smembers(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    let members = data.read::<Set>(&args[0])?.into_iter().flatten();
    Ok(Reply::Array(members.cloned().map(Reply::Bulk).collect()))
}

/// All at once: how many Redis gives at a time is only a wish, and of few it gives all unless less is wished for.
fn sscan(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    let is_there = data.read::<Set>(&args[0])?.is_some();
    super::walk(&args[1], if is_there { &args[2..] } else { &[] })?;
    Ok(Reply::Array(vec![Reply::text("0"), smembers(data, &args[..1])?]))
}
