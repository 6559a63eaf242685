-- Tasks with an order key. One that is ready but has others of its key before it is in phase 4, where no claim sees it.
-- order_at_once: how many of its line may run when it starts.
-- order_line, line_place: the line that it stands in and its place there, see queue/order.rs; NULL before it joins and
-- after it has left.
--
-- MySQL knows no "if not exists" for columns, and this step may have stopped after any statement.
SET @step = IF(
    (SELECT COUNT(*) FROM information_schema.columns
     WHERE table_schema = DATABASE() AND table_name = 'tasks' AND column_name = 'line_place') = 0,
    'ALTER TABLE tasks
        ADD COLUMN order_key VARCHAR(256),
        ADD COLUMN order_at_once BIGINT,
        ADD COLUMN order_line VARCHAR(32),
        ADD COLUMN line_place BIGINT,
        ADD INDEX tasks_in_line (order_line, line_place)',
    'DO 0'
);
PREPARE step FROM @step;
EXECUTE step;
DEALLOCATE PREPARE step;
-- Who decides about a line locks the row of its slot; nothing is ever written there.
CREATE TABLE IF NOT EXISTS order_locks (
    slot           BIGINT NOT NULL PRIMARY KEY
) ENGINE = InnoDB;
INSERT IGNORE INTO order_locks
WITH RECURSIVE slots (slot) AS (SELECT 0 UNION ALL SELECT slot + 1 FROM slots WHERE slot < 511)
SELECT slot FROM slots;
