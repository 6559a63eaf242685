//! What only several settings together can get wrong.

use std::time::Duration;

use super::error::Problem;
use super::queue_url::QueueUrl;
use super::settings::Settings;
use super::source::Origin;
use super::words::Durability;

/// A lease is renewed every third of it; shorter ones lapse whenever a machine is busy. Guess.
const SHORTEST_LEASE: Duration = Duration::from_secs(1);

/// Who enqueued a task asks for its result, and may ask again when an answer was lost. Guess.
const SHORTEST_KEEP: Duration = Duration::from_secs(60);

/// Stand-ins closer than this try at the same time as the Beat itself and only fight over the store.
const SHORTEST_STANDBY_DELAY: Duration = Duration::from_millis(50);

/// Adds what is wrong to `problems`; `origin` tells where a setting was given, if it was.
pub(super) fn check(
    settings: &Settings,
    origin: impl Fn(&str) -> Option<Origin>,
    problems: &mut Vec<Problem>,
) {
    let mut complain = |setting: &str, message: String| {
        problems.push(Problem { origin: origin(setting), setting: setting.to_owned(), message });
    };
    let listen = &settings.listen;
    if !listen.http.ip().is_loopback() && settings.security.api_keys_file.is_none() {
        complain(
            "listen.http",
            format!(
                "`{}` can be reached from other machines, and without keys anybody there could run \
                 functions here; set security.api_keys_file, or listen on 127.0.0.1",
                listen.http
            ),
        );
    }
    if let Some(advertise) = listen.advertise {
        if advertise.ip().is_unspecified() {
            complain(
                "listen.advertise",
                format!("`{advertise}` is not an address that others can dial; write this machine's own"),
            );
        } else if advertise.port() == 0 {
            complain(
                "listen.advertise",
                format!("`{advertise}`: others cannot dial port 0; write the real one"),
            );
        }
    } else if listen.mesh.ip().is_unspecified() {
        complain(
            "listen.mesh",
            format!(
                "`{}` takes packets on every address, so others must be told which one to dial; set \
                 listen.advertise, for example \"10.0.0.5:{}\"",
                listen.mesh,
                listen.mesh.port()
            ),
        );
    }
    if let QueueUrl::Sql(url) = &settings.queue.url
        && *url != settings.seeds.database
    {
        complain(
            "queue.url",
            format!(
                "`{url}` is not the database `{}`; in SQL, tasks are kept beside the catalogue: leave it out, or name a Redis",
                settings.seeds.database
            ),
        );
    }
    if settings.queue.durability != Durability::Fast && settings.queue.url.redis().is_none() {
        complain(
            "queue.durability",
            format!(
                "`{}` is a promise about Redis, and tasks are in `{}`, which writes each of them to disk in any \
                 case; leave it out",
                settings.queue.durability.as_str(),
                settings.queue.url
            ),
        );
    }
    if settings.queue.lease.0 < SHORTEST_LEASE {
        complain("queue.lease", format!("`{}` is too short: the least is 1s", settings.queue.lease));
    }
    if settings.queue.keep_tasks.0 < SHORTEST_KEEP {
        complain(
            "queue.keep_tasks",
            format!(
                "`{}` is too short: the least is 1m, or tasks are forgotten before anybody has asked for \
                 their results",
                settings.queue.keep_tasks
            ),
        );
    }
    if settings.beat.standby_delay.0 < SHORTEST_STANDBY_DELAY {
        complain(
            "beat.standby_delay",
            format!("`{}` is too short: the least is 50ms", settings.beat.standby_delay),
        );
    }
}
