-- What the recipes work on: README.md's table with :rows rows, and one whose names need quotes.
SET client_min_messages = warning;
DROP TABLE IF EXISTS "order", event CASCADE;
CREATE TABLE event (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                    created_at timestamptz NOT NULL, kind int NOT NULL, name text);
INSERT INTO event (created_at, kind, name)
SELECT timestamptz '2025-01-01' + i / 4 * interval '1 minute', i % 10, 'event ' || i FROM generate_series(1, :rows) i;
CREATE INDEX ON event (created_at, id);
CREATE TABLE "order" (id bigint PRIMARY KEY, event_id bigint NOT NULL REFERENCES event, "position" int NOT NULL);
INSERT INTO "order" SELECT i, i * 2, -i FROM generate_series(1, :rows / 10) i;
CREATE INDEX ON "order" (event_id);
VACUUM ANALYZE event;
VACUUM ANALYZE "order";
