-- What this hub says of itself.

-- name: last_ingest
SELECT max(last_batch_at) FROM agent
