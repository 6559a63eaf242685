-- Queues that have other than the usual numbers.
CREATE TABLE queues (
    name       TEXT    NOT NULL PRIMARY KEY,
    revision   BIGINT  NOT NULL,
    definition TEXT    NOT NULL
);
