//! Definitions of schedules, their ledgers, and what can be done with them by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use beatmesh_mesh::env::UnixMs;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::functions::with_revision;
use super::reply::{self, ApiError, Named, Parameters, expected_revision, in_range};
use super::tasks::store_task;
use super::{Gateway, NO_CONTENT};
use crate::beat::jitter::Moments;
use crate::beat::timetable::Timetable;
use crate::catalogue::entry::{ScheduleEntry, Switch};
use crate::catalogue::name::ScheduleName;
use crate::catalogue::schedule::Schedule;
use crate::problem::Problem;
use crate::queue::order::Order;
use crate::queue::task::{NewTask, Origin};
use crate::queue::tick::TickRecord;
use crate::store::EditError;
use crate::units::Span;

/// `GET /v1/schedules`.
pub(super) async fn list(State(gateway): State<Arc<Gateway>>) -> Result<Response, ApiError> {
    let states = gateway.queue.schedule_states().await?;
    let catalogue = gateway.catalogue.current();
    let now = gateway.env.clock.wall();
    let cursors: BTreeMap<&ScheduleName, UnixMs> =
        states.iter().map(|state| (&state.schedule, state.cursor)).collect();
    let cursor = |entry: &ScheduleEntry| cursors.get(&entry.name).copied();
    let shown: Vec<_> = catalogue.schedules.values().map(|entry| shown(entry, cursor(entry), now)).collect();
    Ok(reply::json(StatusCode::OK, &json!({ "schedules": shown })))
}

/// `GET /v1/schedules/{name}`.
pub(super) async fn get(
    State(gateway): State<Arc<Gateway>>,
    Named(name): Named<ScheduleName>,
) -> Result<Response, ApiError> {
    let entry = find(&gateway, &name).await?;
    answer(&gateway, &entry, None).await
}

/// `PUT /v1/schedules/{name}`: creates or replaces; an equal definition changes nothing.
pub(super) async fn put(
    State(gateway): State<Arc<Gateway>>,
    Named(name): Named<ScheduleName>,
    headers: HeaderMap,
    definition: Body,
) -> Result<Response, ApiError> {
    let expected = expected_revision(&headers)?;
    let definition: Schedule = gateway.bodies.definition(&headers, definition).await?;
    definition.validate().map_err(|error| Problem::invalid(error.to_string()))?;
    lies_ahead(&gateway, &name, &definition).await?;
    let edited = gateway.store.put_schedule(&name, &definition, expected).await;
    let (entry, changed) = edited.map_err(|error| match error {
        // The schedule's own name is not at fault: its definition is.
        EditError::NotFound { what: "function", name } => ApiError(Problem::invalid(format!(
            "`function` = \"{name}\": there is no function of this name; deploy it first"
        ))),
        other => other.into(),
    })?;
    if changed {
        gateway.catalogue_changed().await;
    }
    answer(&gateway, &entry, Some(changed)).await
}

/// A single moment is so far ahead when it is put in: the store must know it before it comes.
const LEAST_AHEAD: Duration = Duration::from_secs(1);

/// Refuses a single moment that has passed: it would never fire, and nobody would be told. A schedule that has
/// this moment already may be sent again, and edited, after its firing too.
async fn lies_ahead(gateway: &Gateway, name: &ScheduleName, definition: &Schedule) -> Result<(), ApiError> {
    let Some(due) = timetable(definition)?.only() else { return Ok(()) };
    if gateway.queue.now().await?.plus(LEAST_AHEAD) < due {
        return Ok(());
    }
    gateway.catalogue.refresh().await?;
    let catalogue = gateway.catalogue.current();
    if catalogue.schedules.get(name).is_some_and(|known| known.definition.same_times(definition)) {
        return Ok(());
    }
    let (at, due) = (definition.at.as_deref().unwrap_or_default(), reply::time(due));
    let function = &definition.function;
    Err(ApiError(Problem::invalid(format!(
        "`at` = \"{at}\" ({due}) lies in the past, or less than a second ahead; write a later time, or run the function now with POST /v1/functions/{function}/tasks"
    ))))
}

/// `DELETE /v1/schedules/{name}`: its ledger stays.
pub(super) async fn delete(
    State(gateway): State<Arc<Gateway>>,
    Named(name): Named<ScheduleName>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    gateway.store.delete_schedule(&name, expected_revision(&headers)?).await?;
    gateway.catalogue_changed().await;
    Ok(NO_CONTENT.into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pause {
    until: Option<String>,
}

/// `POST /v1/schedules/{name}/pause?until=`: a time, or a span from now on; without it until it is resumed.
pub(super) async fn pause(
    State(gateway): State<Arc<Gateway>>,
    Named(name): Named<ScheduleName>,
    Parameters(pause): Parameters<Pause>,
) -> Result<Response, ApiError> {
    let until = match &pause.until {
        // By the clock that ends it.
        Some(text) => Some(ending(text, gateway.queue.now().await?)?),
        None => None,
    };
    switch(&gateway, &name, Switch::Pause { until }).await
}

/// When a pause ends, as a client has written it.
fn ending(text: &str, now: UnixMs) -> Result<UnixMs, Problem> {
    let until = match (text.parse::<jiff::Timestamp>(), text.parse::<Span>()) {
        (Ok(time), _) => UnixMs(time.as_millisecond()),
        (_, Ok(span)) => now.plus(span.0),
        _ => {
            return Err(Problem::bad_request(format!(
                "until: `{text}` is neither a span like \"2h\" nor a time like \"2026-01-31T12:00:00Z\" (in a URL, + is written %2B)"
            )));
        }
    };
    if until <= now {
        return Err(Problem::bad_request(format!("until: `{text}` has passed; it must lie in the future")));
    }
    Ok(until)
}

/// `POST /v1/schedules/{name}/resume`: due times during the pause are owed to nobody.
pub(super) async fn resume(
    State(gateway): State<Arc<Gateway>>,
    Named(name): Named<ScheduleName>,
) -> Result<Response, ApiError> {
    switch(&gateway, &name, Switch::Resume).await
}

async fn switch(gateway: &Gateway, name: &ScheduleName, switch: Switch) -> Result<Response, ApiError> {
    let entry = gateway.store.switch_schedule(name, switch).await?;
    gateway.catalogue_changed().await;
    answer(gateway, &entry, None).await
}

/// `POST /v1/schedules/{name}/trigger`: runs it once, now, besides its due times.
pub(super) async fn trigger(
    State(gateway): State<Arc<Gateway>>,
    Named(name): Named<ScheduleName>,
) -> Result<Response, ApiError> {
    let entry = find(&gateway, &name).await?;
    let function = gateway.catalogue.function(&entry.definition.function, 0).await?;
    let function = function.ok_or_else(|| Problem::no_function(&entry.definition.function))?;
    let input = input_of(&entry.definition);
    let task = NewTask {
        id: gateway.fresh_id(),
        function: function.name,
        queue: function.definition.queue.clone(),
        priority: 0,
        content_type: if input.is_empty() { String::new() } else { "application/json".to_owned() },
        input,
        delay: Duration::ZERO,
        expires: None,
        retries: function.definition.retries.max,
        origin: Origin::Trigger { schedule: name },
        reply_to: gateway.me.to_string(),
        order: entry
            .definition
            .order_key
            .clone()
            .map(|key| Order::new(key, function.definition.per_order_key)),
    };
    store_task(&gateway, task).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Range {
    limit: Option<u32>,
    since: Option<jiff::Timestamp>,
    until: Option<jiff::Timestamp>,
}

/// `GET /v1/schedules/{name}/ticks`: the ledger, newest first.
pub(super) async fn ticks(
    State(gateway): State<Arc<Gateway>>,
    Named(name): Named<ScheduleName>,
    Parameters(range): Parameters<Range>,
) -> Result<Response, ApiError> {
    let limit = in_range("limit", range.limit.unwrap_or(100), 1..=10_000)?;
    let at = |time: Option<jiff::Timestamp>, otherwise| {
        UnixMs(time.map_or(otherwise, jiff::Timestamp::as_millisecond))
    };
    let (since, until) = (at(range.since, i64::MIN), at(range.until, i64::MAX));
    let ticks = gateway.queue.ticks(&name, since, until, limit).await?;
    // A deleted schedule still has its ledger; a name that never was has none.
    if ticks.is_empty() {
        find(&gateway, &name).await?;
    }
    let catalogue = gateway.catalogue.current();
    let present = catalogue.schedules.get(&name);
    let timetable = present.and_then(|entry| entry.definition.times().timetable().ok());
    let jitter = |tick: &TickRecord| {
        // A line does not say how far it was put off: of an earlier definition that is not known.
        let entry = present.filter(|entry| entry.revision == tick.revision && tick.count == 1)?;
        let moments = moments(entry, timetable.as_ref()?)?;
        Some(moments.of(tick.due).millis_since(tick.due))
    };
    let ticks: Vec<_> = ticks.iter().map(|line| tick(line, jitter(line))).collect();
    Ok(reply::json(StatusCode::OK, &json!({ "ticks": ticks })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Preview {
    n: Option<u32>,
}

/// `GET /v1/schedules/{name}/preview?n=`: the next due times.
pub(super) async fn preview(
    State(gateway): State<Arc<Gateway>>,
    Named(name): Named<ScheduleName>,
    Parameters(preview): Parameters<Preview>,
) -> Result<Response, ApiError> {
    let n = in_range("n", preview.n.unwrap_or(5), 1..=1_000)?;
    let entry = find(&gateway, &name).await?;
    let timetable = timetable(&entry.definition)?;
    let due = timetable.upcoming(gateway.env.clock.wall(), n as usize);
    let mut answer = json!({ "due": due.iter().map(|due| reply::time(*due)).collect::<Vec<_>>() });
    if let Some(moments) = moments(&entry, &timetable) {
        answer["fires_at"] = due.iter().map(|due| reply::time(moments.of(*due))).collect();
    }
    Ok(reply::json(StatusCode::OK, &answer))
}

/// When the due times of a schedule with a jitter are fired.
fn moments<'a>(entry: &'a ScheduleEntry, timetable: &'a Timetable) -> Option<Moments<'a>> {
    let jitter = entry.definition.jitter;
    (!jitter.is_zero()).then_some(Moments { schedule: &entry.name, timetable, jitter: jitter.0 })
}

/// The input of every firing, as bytes.
fn input_of(definition: &Schedule) -> Bytes {
    definition.input.as_ref().map_or_else(Bytes::new, |input| input.to_string().into())
}

fn timetable(definition: &Schedule) -> Result<Timetable, ApiError> {
    definition.times().timetable().map_err(|error| Problem::invalid(error.to_string()).into())
}

async fn find(gateway: &Gateway, name: &ScheduleName) -> Result<ScheduleEntry, ApiError> {
    if let Some(entry) = gateway.catalogue.current().schedules.get(name) {
        return Ok(entry.clone());
    }
    gateway.catalogue.refresh().await?;
    let entry = gateway.catalogue.current().schedules.get(name).cloned();
    let missing = || EditError::NotFound { what: "schedule", name: name.to_string() };
    entry.ok_or_else(|| missing().into())
}

async fn answer(
    gateway: &Gateway,
    entry: &ScheduleEntry,
    changed: Option<bool>,
) -> Result<Response, ApiError> {
    let cursor = gateway.queue.schedule_state(&entry.name).await?.map(|state| state.cursor);
    let mut answer = shown(entry, cursor, gateway.env.clock.wall());
    if let Some(changed) = changed {
        answer["changed"] = changed.into();
    }
    Ok(with_revision(entry.revision, reply::json(StatusCode::OK, &answer)))
}

fn shown(entry: &ScheduleEntry, cursor: Option<UnixMs>, now: UnixMs) -> Value {
    let timetable = entry.definition.times().timetable().ok();
    // What nobody has decided yet.
    let undecided = timetable.as_ref().and_then(|timetable| timetable.next_after(cursor.unwrap_or(now)));
    let next = timetable.as_ref().and_then(|timetable| timetable.next_after(now)).or(undecided);
    let state = match (entry.enabled, &timetable, undecided) {
        (false, ..) => "paused",
        (true, Some(_), None) => "done",
        (true, ..) => "active",
    };
    json!({
        "name": entry.name,
        "revision": entry.revision,
        "definition": *entry.definition,
        "enabled": entry.enabled,
        "state": state,
        "paused_until": entry.pause_ends().map(reply::time),
        "cursor": cursor.map(reply::time),
        "next": next.filter(|_| entry.enabled).map(reply::time),
    })
}

fn tick(tick: &TickRecord, jitter_ms: Option<i64>) -> Value {
    let mut shown = json!({
        "due": reply::time(tick.due),
        "state": if tick.skipped.is_some() { "skipped" } else { "fired" },
        "committed_at": reply::time(tick.committed_at),
        "node": tick.node,
        "lateness_ms": tick.committed_at.millis_since(tick.due),
        "revision": tick.revision,
        "count": tick.count,
    });
    if let Some(jitter_ms) = jitter_ms {
        shown["jitter_ms"] = jitter_ms.into();
    }
    if let Some(reason) = &tick.skipped {
        shown["reason"] = reason.as_str().into();
    }
    if let Some(task) = tick.task {
        shown["task_id"] = task.to_string().into();
    }
    if tick.count > 1 {
        shown["from"] = reply::time(tick.from).into();
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_at_a_time_or_after_a_span_and_not_in_the_past() {
        let now = UnixMs(1_767_225_600_000);
        for (text, ms) in [("2h", 7_200_000), ("1.5s", 1_500), ("2026-01-01T01:00:00+00:30", 1_800_000)] {
            assert_eq!(ending(text, now).map(|until| until.millis_since(now)).ok(), Some(ms), "{text}");
        }
        for (text, part) in [
            ("tomorrow", "`tomorrow` is neither"),
            ("90", "neither"),
            ("0s", "has passed"),
            ("2026-01-01T00:00:00Z", "has passed"),
        ] {
            let problem = ending(text, now).expect_err(text);
            assert!(problem.status == 400 && problem.detail.contains(part), "{text}: {problem:?}");
        }
    }
}
