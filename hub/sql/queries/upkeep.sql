-- Upkeep of the store.

-- name: schema
SELECT to_regclass('received_batches') IS NOT NULL AND to_regclass('reading') IS NOT NULL

-- name: trim_outgoing
-- What a reader has not seen yet stays for it.
DELETE FROM outgoing
WHERE id <= (SELECT max(id) FROM outgoing) - %(kept)s::bigint
  AND NOT EXISTS (SELECT 1 FROM outgoing_reader WHERE outgoing_reader.place < outgoing.place)

-- name: trim_notifications
DELETE FROM notification WHERE outgoing < (SELECT min(id) FROM outgoing)
