//! Sorted sets.

use super::{Answer, SYNTAX, Spec, float, grows, integer, is_word, reads, shrinks, span};
use crate::world::redis::data::{Data, SortedSet, number};
use crate::world::redis::resp::Reply;

pub(super) const ALL: &[Spec] = &[
    grows("zadd", -4, zadd),
    shrinks("zrem", -3, zrem),
    reads("zscore", 3, zscore),
    reads("zcard", 2, zcard),
    reads("zcount", 4, zcount),
    reads("zrank", 3, zrank),
    grows("zincrby", 4, zincrby),
    reads("zrange", -4, zrange),
    reads("zrevrange", -4, zrevrange),
    reads("zrangebyscore", -4, zrangebyscore),
    reads("zrevrangebyscore", -4, zrevrangebyscore),
    reads("zrangebylex", -4, zrangebylex),
    reads("zrevrangebylex", -4, zrevrangebylex),
    shrinks("zremrangebyscore", 4, zremrangebyscore),
    shrinks("zremrangebyrank", 4, zremrangebyrank),
    shrinks("zremrangebylex", 4, zremrangebylex),
    shrinks("zpopmin", -2, zpopmin),
    reads("zscan", -3, zscan),
];

/// A member with its score.
type Entry = (Vec<u8>, f64);

fn zadd(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    let (mut only_new, mut only_known, mut greater, mut less, mut changed) =
        (false, false, false, false, false);
    let mut at = 1;
    while let Some(word) = args.get(at) {
        match word {
            word if is_word(word, "NX") => only_new = true,
            word if is_word(word, "XX") => only_known = true,
            word if is_word(word, "GT") => greater = true,
            word if is_word(word, "LT") => less = true,
            word if is_word(word, "CH") => changed = true,
            _ => break,
        }
        at += 1;
    }
    let pairs = &args[at..];
    if pairs.is_empty() || !pairs.len().is_multiple_of(2) {
        return Err(SYNTAX.to_owned());
    }
    if only_new && only_known {
        return Err("ERR XX and NX options at the same time are not compatible".to_owned());
    }
    if (greater && less) || (only_new && (greater || less)) {
        return Err("ERR GT, LT, and/or NX options at the same time are not compatible".to_owned());
    }
    let pairs: Vec<_> =
        pairs.chunks_exact(2).map(|pair| Ok((float(&pair[0])?, &pair[1]))).collect::<Result<_, String>>()?;
    data.change(&args[0], |set: &mut SortedSet| {
        let mut count = 0;
        for (score, member) in pairs {
            let before = set.score(member);
            let wanted = match before {
                None => !only_known,
                Some(before) => !only_new && (!greater || score > before) && (!less || score < before),
            };
            if wanted {
                set.insert(member.clone(), score);
                count += usize::from(before.is_none() || (changed && before != Some(score)));
            }
        }
        Reply::count(count)
    })
}

fn zrem(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    data.change(&args[0], |set: &mut SortedSet| {
        Reply::count(args[1..].iter().filter(|member| set.remove(member).is_some()).count())
    })
}

fn zscore(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    let score = data.read::<SortedSet>(&args[0])?.and_then(|set| set.score(&args[1]));
    Ok(score.map_or(Reply::Nil, |score| Reply::text(number(score))))
}

/// All at once, as Redis does it with a set that is small.
fn zscan(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    let is_there = data.read::<SortedSet>(&args[0])?.is_some();
    super::walk(&args[1], if is_there { &args[2..] } else { &[] })?;
    let set = data.read::<SortedSet>(&args[0])?.into_iter().flat_map(SortedSet::iter);
    let items = set.flat_map(|(member, score)| [Reply::Bulk(member.clone()), Reply::text(number(score))]);
    Ok(Reply::Array(vec![Reply::text("0"), Reply::Array(items.collect())]))
}

fn zcard(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    Ok(Reply::count(data.read::<SortedSet>(&args[0])?.map_or(0, SortedSet::len)))
}

fn zrank(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    let set = data.read::<SortedSet>(&args[0])?;
    let rank = set.and_then(|set| set.iter().position(|(member, _)| *member == args[1]));
    Ok(rank.map_or(Reply::Nil, Reply::count))
}

fn zincrby(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    let by = float(&args[1])?;
    data.change(&args[0], |set: &mut SortedSet| {
        let sum = set.score(&args[2]).map_or(by, |score| score + by);
        if sum.is_nan() {
            return Err("ERR resulting score is not a number (NaN)".to_owned());
        }
        set.insert(args[2].clone(), sum);
        Ok(Reply::text(number(sum)))
    })?
}

/// One end of a range.
#[derive(Clone, Copy)]
struct Bound<T> {
    value: T,
    is_open: bool,
}

fn score_bound(bytes: &[u8]) -> Result<Bound<f64>, String> {
    let (rest, is_open) = bytes.strip_prefix(b"(").map_or((bytes, false), |rest| (rest, true));
    // C reads a zero where nothing stands.
    let value =
        if rest.is_empty() { 0.0 } else { float(rest).map_err(|_| "ERR min or max is not a float")? };
    Ok(Bound { value, is_open })
}

/// Those between two scores, in order.
fn by_score(set: &SortedSet, min: &[u8], max: &[u8]) -> Result<Vec<Entry>, String> {
    let (min, max) = (score_bound(min)?, score_bound(max)?);
    let behind_min = |score: f64| if min.is_open { score > min.value } else { score >= min.value };
    let before_max = |score: f64| if max.is_open { score < max.value } else { score <= max.value };
    let found = set.from_score(min.value).skip_while(|(_, score)| !behind_min(*score));
    Ok(found.take_while(|(_, score)| before_max(*score)).map(owned).collect())
}

fn owned((member, score): (&Vec<u8>, f64)) -> Entry {
    (member.clone(), score)
}

/// Where a range by bytes begins or ends.
enum Lex<'a> {
    Least,
    Most,
    At(Bound<&'a [u8]>),
}

impl Lex<'_> {
    fn of(bytes: &[u8]) -> Result<Lex<'_>, String> {
        match bytes {
            b"-" => Ok(Lex::Least),
            b"+" => Ok(Lex::Most),
            [b'[', rest @ ..] => Ok(Lex::At(Bound { value: rest, is_open: false })),
            [b'(', rest @ ..] => Ok(Lex::At(Bound { value: rest, is_open: true })),
            _ => Err("ERR min or max not valid string range item".to_owned()),
        }
    }

    fn is_before(&self, member: &[u8]) -> bool {
        match self {
            Self::Least => true,
            Self::Most => false,
            Self::At(Bound { value, is_open }) => {
                if *is_open {
                    member > *value
                } else {
                    member >= *value
                }
            }
        }
    }

    fn is_behind(&self, member: &[u8]) -> bool {
        match self {
            Self::Least => false,
            Self::Most => true,
            Self::At(Bound { value, is_open }) => {
                if *is_open {
                    member < *value
                } else {
                    member <= *value
                }
            }
        }
    }
}

fn by_lex(set: &SortedSet, min: &[u8], max: &[u8]) -> Result<Vec<Entry>, String> {
    let (min, max) = (Lex::of(min)?, Lex::of(max)?);
    let within = |member: &[u8]| min.is_before(member) && max.is_behind(member);
    Ok(set.iter().filter(|(member, _)| within(member)).map(owned).collect())
}

/// How the ends of a range are meant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Place,
    Score,
    Lex,
}

/// What a range asks for.
struct Range<'a> {
    by: By,
    is_reversed: bool,
    with_scores: bool,
    limit: Option<(i64, i64)>,
    first: &'a [u8],
    last: &'a [u8],
}

impl<'a> Range<'a> {
    /// Reads options; `zrange` alone says by words what the others say by their names.
    fn read(args: &'a [Vec<u8>], by: By, is_reversed: bool, may_choose: bool) -> Result<Self, String> {
        let mut range =
            Self { by, is_reversed, with_scores: false, limit: None, first: &args[1], last: &args[2] };
        let mut at = 3;
        while let Some(word) = args.get(at) {
            match word {
                word if is_word(word, "WITHSCORES") && range.by != By::Lex => range.with_scores = true,
                word if is_word(word, "LIMIT") && args.len() > at + 2 => {
                    range.limit = Some((integer(&args[at + 1])?, integer(&args[at + 2])?));
                    at += 2;
                }
                word if may_choose && is_word(word, "BYSCORE") => range.by = By::Score,
                word if may_choose && is_word(word, "BYLEX") => range.by = By::Lex,
                word if may_choose && is_word(word, "REV") => range.is_reversed = true,
                _ => return Err(SYNTAX.to_owned()),
            }
            at += 1;
        }
        if range.limit.is_some() && range.by == By::Place {
            return Err(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX"
                    .to_owned(),
            );
        }
        if range.with_scores && range.by == By::Lex {
            return Err("ERR syntax error, WITHSCORES not supported in combination with BYLEX".to_owned());
        }
        Ok(range)
    }

    fn find(&self, data: &Data, key: &[u8]) -> Result<Vec<Entry>, String> {
        // Ends are looked at before the key is.
        let nothing = SortedSet::default();
        let (min, max) = if self.is_reversed { (self.last, self.first) } else { (self.first, self.last) };
        let of = |set: &SortedSet| match self.by {
            By::Score => by_score(set, min, max),
            By::Lex => by_lex(set, min, max),
            By::Place => {
                let span = span(integer(self.first)?, integer(self.last)?, set.len());
                let (skipped, taken) = (span.start, span.len());
                Ok(if self.is_reversed {
                    set.iter().rev().skip(skipped).take(taken).map(owned).collect()
                } else {
                    set.iter().skip(skipped).take(taken).map(owned).collect()
                })
            }
        };
        of(&nothing)?;
        let mut found = of(data.read::<SortedSet>(key)?.unwrap_or(&nothing))?;
        if self.is_reversed && self.by != By::Place {
            found.reverse();
        }
        if let Some((offset, count)) = self.limit {
            let Ok(offset) = usize::try_from(offset) else { return Ok(Vec::new()) };
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            found = found.into_iter().skip(offset).take(count).collect();
        }
        Ok(found)
    }
}

fn answer(found: Vec<Entry>, with_scores: bool) -> Reply {
    let items = found.into_iter().flat_map(|(member, score)| {
        [Some(Reply::Bulk(member)), with_scores.then(|| Reply::text(number(score)))].into_iter().flatten()
    });
    Reply::Array(items.collect())
}

fn ranged(data: &Data, args: &[Vec<u8>], by: By, is_reversed: bool, may_choose: bool) -> Answer {
    let range = Range::read(args, by, is_reversed, may_choose)?;
    Ok(answer(range.find(data, &args[0])?, range.with_scores))
}

fn zrange(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    ranged(data, args, By::Place, false, true)
}

fn zrevrange(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    ranged(data, args, By::Place, true, false)
}

fn zrangebyscore(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    ranged(data, args, By::Score, false, false)
}

fn zrevrangebyscore(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    ranged(data, args, By::Score, true, false)
}

fn zrangebylex(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    ranged(data, args, By::Lex, false, false)
}

fn zrevrangebylex(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    ranged(data, args, By::Lex, true, false)
}

fn zcount(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    let range = Range::read(args, By::Score, false, false)?;
    Ok(Reply::count(range.find(data, &args[0])?.len()))
}

fn removed(data: &mut Data, args: &[Vec<u8>], by: By) -> Answer {
    let found = Range::read(args, by, false, false)?.find(data, &args[0])?;
    data.change(&args[0], |set: &mut SortedSet| {
        Reply::count(found.iter().filter(|(member, _)| set.remove(member).is_some()).count())
    })
}

fn zremrangebyscore(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    removed(data, args, By::Score)
}

fn zremrangebyrank(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    removed(data, args, By::Place)
}

fn zremrangebylex(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    removed(data, args, By::Lex)
}

fn zpopmin(data: &mut Data, args: &[Vec<u8>]) -> Answer {
    let count = match args {
        [_] => 1,
        [_, count] => {
            usize::try_from(integer(count)?).map_err(|_| "ERR value is out of range, must be positive")?
        }
        _ => return Err(SYNTAX.to_owned()),
    };
    let set = data.read::<SortedSet>(&args[0])?;
    let found: Vec<_> = set.into_iter().flat_map(SortedSet::iter).take(count).map(owned).collect();
    data.change(&args[0], |set: &mut SortedSet| {
        for (member, _) in &found {
            set.remove(member);
        }
    })?;
    Ok(answer(found, true))
}
