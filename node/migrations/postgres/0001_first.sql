-- Times are milliseconds since 1970 by the store's clock. Names and states are text, so that a person
-- with a database shell can read the tables.
--
-- Names are compared byte by byte (COLLATE "C"), as the program does: whatever order the database was made with,
-- the turn of queues goes by it.

CREATE TABLE nodes (
    node           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    generation     BIGINT NOT NULL,
    addr           TEXT NOT NULL,
    last_seen      BIGINT NOT NULL
);

CREATE TABLE functions (
    name           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    revision       BIGINT NOT NULL,
    definition     TEXT NOT NULL
);

CREATE TABLE schedules (
    name           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    revision       BIGINT NOT NULL,
    times_revision BIGINT NOT NULL,
    enabled        BIGINT NOT NULL,
    definition     TEXT NOT NULL
);

-- The fence and the cursor of each schedule; stays when the schedule is deleted, so that a later
-- schedule of the same name cannot fire what this one has fired.
CREATE TABLE schedule_states (
    schedule       TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    revision       BIGINT NOT NULL,
    enabled        BIGINT NOT NULL,
    due_up_to      BIGINT NOT NULL
);

-- The ledger: every due time ends here, once. A line with count > 1 stands for a run of skipped ones.
CREATE TABLE ticks (
    schedule       TEXT COLLATE "C" NOT NULL,
    due            BIGINT NOT NULL,
    due_from       BIGINT NOT NULL,
    due_count      BIGINT NOT NULL,
    revision       BIGINT NOT NULL,
    skipped        TEXT,
    task           TEXT COLLATE "C",
    committed_at   BIGINT NOT NULL,
    node           TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (schedule, due)
);
CREATE INDEX ticks_by_age ON ticks (committed_at);

-- phase: 0 waits for its time, 1 may be claimed, 2 is leased, 3 has ended.
-- wake_at: in phase 0 when it may be claimed, in 1 since when, in 2 when its lease runs out, in 3 when
-- it ended. One index on both serves promotion, lease expiry and retention.
CREATE TABLE tasks (
    id             TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    phase          BIGINT NOT NULL,
    wake_at        BIGINT NOT NULL,
    state          TEXT NOT NULL,
    queue          TEXT COLLATE "C" NOT NULL,
    urgency        BIGINT NOT NULL, -- the priority negated: ascending order is the order of claims
    function_name  TEXT COLLATE "C" NOT NULL,
    attempt        BIGINT NOT NULL,
    failures       BIGINT NOT NULL,
    lost_leases    BIGINT NOT NULL,
    retries        BIGINT NOT NULL,
    node           TEXT COLLATE "C",
    reply_to       TEXT NOT NULL,
    origin         TEXT NOT NULL,
    schedule       TEXT COLLATE "C",
    created_at     BIGINT NOT NULL,
    ready_at       BIGINT NOT NULL,
    expires_at     BIGINT,
    started_at     BIGINT,
    finished_at    BIGINT,
    content_type   TEXT NOT NULL,
    output_type    TEXT,
    error          TEXT,
    log_tail       TEXT,
    input          BYTEA NOT NULL,
    output         BYTEA
);
CREATE INDEX tasks_to_wake ON tasks (phase, wake_at);
-- With function and expiry, so that tasks that a claim leaves out are passed over within the index.
CREATE INDEX tasks_to_claim ON tasks (phase, queue, urgency, wake_at, function_name, expires_at);
CREATE INDEX tasks_by_age ON tasks (created_at);
CREATE INDEX tasks_of_schedule ON tasks (schedule, phase);
CREATE INDEX tasks_to_expire ON tasks (expires_at, phase);
