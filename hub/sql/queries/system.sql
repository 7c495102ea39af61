-- What this hub says of itself.

-- name: last_ingest
SELECT max(last_batch_at) FROM agent

-- name: write_status
INSERT INTO hub_status (hub, started_at, at, counts) VALUES (%(hub)s, %(started_at)s, %(now)s, %(counts)s)
ON CONFLICT (hub) DO UPDATE SET started_at = excluded.started_at, at = excluded.at, counts = excluded.counts

-- name: forget_hubs
-- A hub that was renamed or taken away.
DELETE FROM hub_status WHERE at < %(before)s

-- name: hubs
SELECT hub, started_at, at, counts FROM hub_status ORDER BY hub

-- name: kept
SELECT (SELECT count(*) FROM rejected_message) AS rejected_messages,
       (SELECT coalesce(sum(octet_length(payload)), 0)::bigint FROM rejected_message) AS rejected_bytes,
       (SELECT coalesce(sum(facts), 0)::bigint FROM set_aside_size) AS set_aside_facts,
       (SELECT coalesce(sum(bytes), 0)::bigint FROM set_aside_size) AS set_aside_bytes,
       (SELECT coalesce(max(bytes), 0) FROM set_aside_size) AS set_aside_largest_bytes,
       (SELECT count(*) FROM reading_conflict) AS reading_conflicts,
       (SELECT count(*) FROM receipt WHERE state = 'open' AND posting_failed_at IS NOT NULL) AS receipts_not_posted
