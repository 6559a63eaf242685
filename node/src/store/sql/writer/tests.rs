//! Failures inside a batch: each caller hears what is true of its own change.

use std::time::Duration;

use futures_util::future::join_all;
use sqlx::{AssertSqlSafe, Row};

use crate::queue::task::{NewTask, TaskId};
use crate::queue::{StoreError, TaskQueue};
use crate::store::sql::SqlStore;
use crate::store::sql::scratch::{self, Scratch};

/// A store in a directory of its own with a table `notes`.
struct Bench {
    store: SqlStore,
    scratch: Scratch,
}

impl Bench {
    async fn new() -> Self {
        let scratch = Scratch::new();
        let store = scratch::open(&scratch.0).await;
        let bench = Self { store, scratch };
        bench.run("CREATE TABLE notes (n BIGINT NOT NULL UNIQUE)").await.unwrap();
        let late = "CREATE TABLE late (n BIGINT REFERENCES notes (n) DEFERRABLE INITIALLY DEFERRED)";
        bench.run(late).await.unwrap();
        bench
    }

    /// One change that runs one statement.
    async fn run(&self, statement: &str) -> Result<(), StoreError> {
        let statement = statement.to_owned();
        let ran = self.store.writer.run(move |tx| {
            let statement = statement.clone();
            Box::pin(async move {
                sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *tx.connection).await?;
                Ok(())
            })
        });
        ran.await
    }

    async fn note(&self, n: i64) -> Result<(), StoreError> {
        self.run(&format!("INSERT INTO notes VALUES ({n})")).await
    }

    async fn notes(&self) -> Vec<i64> {
        let rows =
            sqlx::query("SELECT n FROM notes ORDER BY n").fetch_all(&self.store.readers).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Forty notes and `poison` in their midst, all in one batch. Answers what the poison heard.
    async fn among_forty(&self, poison: impl Future<Output = Result<(), StoreError>>) -> StoreError {
        let before = join_all((0..20).map(|n| self.note(n)));
        let after = join_all((20..40).map(|n| self.note(n)));
        let (before, poisoned, after) = tokio::join!(before, poison, after);
        for outcome in before.into_iter().chain(after) {
            outcome.expect("its neighbours are not harmed");
        }
        assert_eq!(self.notes().await, (0..40).collect::<Vec<_>>(), "each is there, once");
        self.note(40).await.expect("the writer goes on");
        poisoned.unwrap_err()
    }
}

#[tokio::test]
async fn a_change_that_fails_harms_no_other() {
    for statement in [
        "INSERT INTO no_such_table VALUES (1)",
        "INSERT INTO notes VALUES (NULL)",
        "INSERT INTO notes VALUES (1); INSERT INTO notes VALUES (1)",
        // SQLite rolls the whole transaction back by itself, so that there is none left to roll back.
        "INSERT OR ROLLBACK INTO notes VALUES (NULL)",
    ] {
        let bench = Bench::new().await;
        let error = bench.among_forty(bench.run(statement)).await;
        assert!(matches!(error, StoreError::Refused(_)), "{statement}: {error:?}");
    }
}

#[tokio::test]
async fn a_change_that_panics_harms_no_other() {
    let bench = Bench::new().await;
    let panicking = bench.store.writer.run(|tx| {
        Box::pin(async move {
            sqlx::query("INSERT INTO notes VALUES (99)").execute(&mut *tx.connection).await?;
            panic!("a planted fault")
        })
    });
    let error = bench.among_forty(panicking).await;
    assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
}

#[tokio::test]
async fn an_error_at_the_commit_is_unknown_to_all_who_share_it() {
    let bench = Bench::new().await;
    // The reference is looked at when the transaction commits, and not before.
    let broken = "INSERT INTO late VALUES (-1)";
    let (one, broken, other) = tokio::join!(bench.note(1), bench.run(broken), bench.note(2));
    for outcome in [one, broken, other] {
        assert!(matches!(outcome, Err(StoreError::Unknown(_))), "{outcome:?}");
    }
    assert_eq!(bench.notes().await, [] as [i64; 0]);
    bench.note(3).await.expect("the next one gets a sound connection");
    assert_eq!(bench.notes().await, [3]);
}

#[tokio::test]
async fn a_change_whose_caller_has_gone_before_its_turn_is_not_run() {
    let bench = Bench::new().await;
    let mut gone = Box::pin(bench.note(1));
    // Handed in, not taken up: the writer has had no chance to run on this thread.
    assert!(futures_util::poll!(&mut gone).is_pending());
    drop(gone);
    bench.note(2).await.unwrap();
    assert_eq!(bench.notes().await, [2]);
}

#[tokio::test]
async fn a_change_whose_caller_goes_while_it_runs_is_whole_or_not_there() {
    let bench = Bench::new().await;
    for n in 0..60_i64 {
        let pair = format!("INSERT INTO notes VALUES ({}); INSERT INTO notes VALUES ({})", 2 * n, 2 * n + 1);
        let impatient = tokio::time::timeout(Duration::from_micros(n as u64 * 30), bench.run(&pair));
        let _ = tokio::join!(impatient, bench.note(1_000 + n));
    }
    let notes = bench.notes().await;
    let (pairs, others): (Vec<i64>, Vec<i64>) = notes.iter().partition(|n| **n < 1_000);
    assert_eq!(others.len(), 60, "nobody else is harmed");
    assert!(pairs.chunks(2).all(|pair| pair.len() == 2 && pair[0] + 1 == pair[1]), "{pairs:?}");
}

#[tokio::test]
async fn without_room_a_change_fails_and_a_smaller_one_beside_it_does_not() {
    let bench = Bench::new().await;
    bench.run("PRAGMA max_page_count = 60").await.unwrap();
    let large = NewTask::new(TaskId(uuid::Uuid::from_u128(1)), "f".parse().unwrap());
    let large = NewTask { input: vec![0; 500_000].into(), ..large };
    // The limit belongs to the connection, so it is gone when the large one is tried alone: what matters
    // is that the small ones get through, and that nobody is told something wrong.
    let (small, large, other) =
        tokio::join!(bench.note(1), bench.store.enqueue(vec![large.clone()]), bench.note(2));
    assert_eq!((small, large, other), (Ok(()), Ok(vec![]), Ok(())));
    bench.run("PRAGMA max_page_count = 60").await.unwrap();
    let error = bench.run("INSERT INTO tasks SELECT * FROM tasks").await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "a constraint: {error:?}");
    bench.run("PRAGMA max_page_count = 60").await.unwrap();
    let error = bench.run("CREATE TABLE blob AS SELECT zeroblob(900000) AS b").await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "no room: {error:?}");
    bench.note(3).await.expect("and again");
}

#[tokio::test]
async fn another_database_in_the_place_of_this_one_is_not_written_to() {
    let bench = Bench::new().await;
    bench.run("UPDATE beatmesh SET value = 'another' WHERE name = 'store_id'").await.unwrap();
    // An error makes it connect anew, and look.
    bench.run("nonsense").await.unwrap_err();
    let error = bench.note(1).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Unavailable(reason) if reason.contains("another database")),
        "{error:?}"
    );
    assert_eq!(bench.notes().await, [] as [i64; 0]);
}

#[tokio::test]
async fn a_change_during_which_the_file_is_taken_away_is_not_called_done() {
    let bench = Bench::new().await;
    let (home, aside) = (bench.scratch.0.join("mesh.db"), bench.scratch.0.join("aside.db"));
    let (from, to) = (home.clone(), aside.clone());
    let taken_away = bench.store.writer.run(move |tx| {
        // A repeated run finds it gone already.
        let _ = std::fs::rename(&from, &to);
        Box::pin(
            async move { sqlx::raw_sql("INSERT INTO notes VALUES (1)").execute(&mut *tx.connection).await },
        )
    });
    match taken_away.await {
        Err(StoreError::Unknown(reason)) => assert!(reason.contains("removed or replaced"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(bench.note(2).await, Err(StoreError::Unavailable(_))));
    std::fs::rename(aside, home).unwrap();
    bench.note(3).await.unwrap();
    assert!(bench.notes().await.ends_with(&[3]), "it may be there or not; the next one is");
}
