-- Times are milliseconds since 1970 by the store's clock. Names and states are text, so that a person
-- with a database shell can read the tables.
--
-- MySQL commits after each statement that makes a table, so this step may stop in its middle: each can be repeated.
-- Names are compared byte by byte (utf8mb4_bin), as the program does. What an index holds has a length.

CREATE TABLE IF NOT EXISTS nodes (
    node           VARCHAR(128) NOT NULL PRIMARY KEY,
    generation     BIGINT NOT NULL,
    addr           VARCHAR(64) NOT NULL,
    last_seen      BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS functions (
    name           VARCHAR(128) NOT NULL PRIMARY KEY,
    revision       BIGINT NOT NULL,
    definition     LONGTEXT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS schedules (
    name           VARCHAR(128) NOT NULL PRIMARY KEY,
    revision       BIGINT NOT NULL,
    times_revision BIGINT NOT NULL,
    enabled        BIGINT NOT NULL,
    definition     LONGTEXT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- The fence and the cursor of each schedule; stays when the schedule is deleted, so that a later
-- schedule of the same name cannot fire what this one has fired.
CREATE TABLE IF NOT EXISTS schedule_states (
    schedule       VARCHAR(128) NOT NULL PRIMARY KEY,
    revision       BIGINT NOT NULL,
    enabled        BIGINT NOT NULL,
    due_up_to      BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- The ledger: every due time ends here, once. A line with count > 1 stands for a run of skipped ones.
CREATE TABLE IF NOT EXISTS ticks (
    schedule       VARCHAR(128) NOT NULL,
    due            BIGINT NOT NULL,
    due_from       BIGINT NOT NULL,
    due_count      BIGINT NOT NULL,
    revision       BIGINT NOT NULL,
    skipped        VARCHAR(32),
    task           VARCHAR(36),
    committed_at   BIGINT NOT NULL,
    node           VARCHAR(128) NOT NULL,
    PRIMARY KEY (schedule, due),
    INDEX ticks_by_age (committed_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- phase: 0 waits for its time, 1 may be claimed, 2 is leased, 3 has ended.
-- wake_at: in phase 0 when it may be claimed, in 1 since when, in 2 when its lease runs out, in 3 when
-- it ended. One index on both serves promotion, lease expiry and retention.
CREATE TABLE IF NOT EXISTS tasks (
    id             VARCHAR(36) NOT NULL PRIMARY KEY,
    phase          BIGINT NOT NULL,
    wake_at        BIGINT NOT NULL,
    state          VARCHAR(16) NOT NULL,
    queue          VARCHAR(128) NOT NULL,
    urgency        BIGINT NOT NULL, -- the priority negated: ascending order is the order of claims
    function_name  VARCHAR(128) NOT NULL,
    attempt        BIGINT NOT NULL,
    failures       BIGINT NOT NULL,
    lost_leases    BIGINT NOT NULL,
    retries        BIGINT NOT NULL,
    node           VARCHAR(128),
    reply_to       VARCHAR(128) NOT NULL,
    origin         LONGTEXT NOT NULL,
    schedule       VARCHAR(128),
    created_at     BIGINT NOT NULL,
    ready_at       BIGINT NOT NULL,
    expires_at     BIGINT,
    started_at     BIGINT,
    finished_at    BIGINT,
    content_type   LONGTEXT NOT NULL,
    output_type    LONGTEXT,
    error          LONGTEXT,
    log_tail       LONGTEXT,
    input          LONGBLOB NOT NULL,
    output         LONGBLOB,
    INDEX tasks_to_wake (phase, wake_at),
    -- With function and expiry, so that tasks that a claim leaves out are passed over within the index.
    INDEX tasks_to_claim (phase, queue, urgency, wake_at, function_name, expires_at),
    INDEX tasks_by_age (created_at),
    INDEX tasks_of_schedule (schedule, phase),
    INDEX tasks_to_expire (expires_at, phase)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
