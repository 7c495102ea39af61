-- Upkeep of the store.

-- name: schema
SELECT to_regclass('received_batches') IS NOT NULL AND to_regclass('reading') IS NOT NULL

-- name: trim_rejections
-- The newest of each sender stay. What has no known sender counts as of one.
DELETE FROM rejected_message WHERE id IN (
    SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY site, agent ORDER BY id DESC) AS place FROM rejected_message) AS ranked
    WHERE place > %(kept)s)

-- name: trim_outgoing
DELETE FROM outgoing WHERE id <= (SELECT max(id) FROM outgoing) - %(kept)s::bigint
