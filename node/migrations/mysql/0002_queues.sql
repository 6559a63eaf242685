-- Queues that have other than the usual numbers.
CREATE TABLE IF NOT EXISTS queues (
    name           VARCHAR(128) NOT NULL PRIMARY KEY,
    revision       BIGINT NOT NULL,
    definition     LONGTEXT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
