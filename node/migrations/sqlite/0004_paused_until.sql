-- When a pause ends by itself, in milliseconds since 1970; NULL for those that do not.
ALTER TABLE schedules ADD COLUMN paused_until BIGINT;
