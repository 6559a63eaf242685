-- Tasks with an order key. One that is ready but has others of its key before it is in phase 4, where no claim sees it.
-- order_at_once: how many of its line may run when it starts.
-- order_line, line_place: the line that it stands in and its place there, see queue/order.rs; NULL before it joins and
-- after it has left.
ALTER TABLE tasks ADD COLUMN order_key TEXT;
ALTER TABLE tasks ADD COLUMN order_at_once BIGINT;
ALTER TABLE tasks ADD COLUMN order_line TEXT;
ALTER TABLE tasks ADD COLUMN line_place BIGINT;
CREATE INDEX tasks_in_line ON tasks (order_line, line_place) WHERE order_line IS NOT NULL;
