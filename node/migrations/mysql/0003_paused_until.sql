-- When a pause ends by itself, in milliseconds since 1970; NULL for those that do not. MySQL knows no "if not exists"
-- for columns, and this step may have stopped right after it.
SET @step = IF(
    (SELECT COUNT(*) FROM information_schema.columns
     WHERE table_schema = DATABASE() AND table_name = 'schedules' AND column_name = 'paused_until') = 0,
    'ALTER TABLE schedules ADD COLUMN paused_until BIGINT',
    'DO 0'
);
PREPARE step FROM @step;
EXECUTE step;
DEALLOCATE PREPARE step;
