-- Upkeep of the store.

-- name: schema
SELECT to_regclass('received_batches') IS NOT NULL AND to_regclass('reading') IS NOT NULL

-- name: trim_outgoing
DELETE FROM outgoing WHERE id <= (SELECT max(id) FROM outgoing) - %(kept)s::bigint
