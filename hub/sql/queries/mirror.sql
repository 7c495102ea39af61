-- Readings on their way to InfluxDB.

-- name: oldest
SELECT id, lines FROM mirror_queue ORDER BY id LIMIT %(limit)s

-- name: delete
DELETE FROM mirror_queue WHERE id = ANY(%(ids)s)

-- name: backlog
SELECT count(*) AS rows, coalesce(sum(octet_length(lines)), 0)::bigint AS bytes FROM mirror_queue

-- name: refuse
INSERT INTO rejected_message (topic, payload, reason, received_at) VALUES ('mirror', %(lines)s, %(reason)s, %(now)s)
