-- Readings on their way to InfluxDB.

-- name: oldest
SELECT id, lines FROM mirror_queue ORDER BY id LIMIT %(limit)s

-- name: delete
DELETE FROM mirror_queue WHERE id = ANY(%(ids)s)

-- name: backlog
SELECT count(*) AS rows, coalesce(sum(octet_length(lines)), 0)::bigint AS bytes FROM mirror_queue

-- name: drop_oldest
-- What is beyond either bound, counted from the newest, goes; one transaction at a time looks.
WITH beyond AS (
    SELECT id FROM (SELECT id, row_number() OVER newest AS place, sum(octet_length(lines)) OVER newest AS bytes
                    FROM mirror_queue WINDOW newest AS (ORDER BY id DESC)) AS ranked
    WHERE place > %(max_rows)s OR bytes > %(max_bytes)s
), dropped AS (
    DELETE FROM mirror_queue WHERE id IN (SELECT id FROM beyond) RETURNING octet_length(lines) AS bytes
), summed AS (
    SELECT count(*) AS rows, coalesce(sum(bytes), 0)::bigint AS bytes FROM dropped
)
UPDATE mirror_loss SET dropped_rows = dropped_rows + summed.rows, dropped_bytes = dropped_bytes + summed.bytes,
                       dropped_at = %(now)s
FROM summed WHERE summed.rows > 0
RETURNING summed.rows, summed.bytes

-- name: loss
SELECT dropped_rows, dropped_bytes, dropped_at FROM mirror_loss

-- name: refuse
INSERT INTO rejected_message (topic, payload, size, sha256, reason, received_at)
SELECT 'mirror', substring(told.lines FROM 1 FOR %(kept)s), octet_length(told.lines), sha256(told.lines), %(reason)s, %(now)s
FROM (SELECT %(lines)s::bytea AS lines) AS told
