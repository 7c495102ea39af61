-- Facts from agents: what is known already, and the rows that readings, passages and scans become.

-- name: lift_decompression_limit
-- TimescaleDB stops a transaction that unpacks more than 100 000 rows; a gateway that replays an old month needs more. Elsewhere
-- the name means nothing and does no harm.
SELECT set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true)

-- name: open_lives
INSERT INTO received_batches (site, agent, boot, updated_at)
SELECT site, agent, boot, %(now)s FROM unnest(%(sites)s::text[], %(agents)s::text[], %(boots)s::text[]) AS life (site, agent, boot)
ORDER BY site, agent, boot
ON CONFLICT DO NOTHING

-- name: lock_lives
-- What is known between the first and the last number asked for; the rows stay locked, in an order every hub shares.
SELECT received.site, received.agent, received.boot,
       received.seqs * int8multirange(int8range(life.first, life.last, '[]')) AS known
FROM unnest(%(sites)s::text[], %(agents)s::text[], %(boots)s::text[], %(firsts)s::int8[], %(lasts)s::int8[])
     AS life (site, agent, boot, first, last)
JOIN received_batches received USING (site, agent, boot)
ORDER BY received.site, received.agent, received.boot
FOR UPDATE OF received

-- name: mark_received
UPDATE received_batches received SET seqs = received.seqs + life.seqs::int8multirange, updated_at = %(now)s
FROM unnest(%(sites)s::text[], %(agents)s::text[], %(boots)s::text[], %(seqs)s::text[]) AS life (site, agent, boot, seqs)
WHERE (received.site, received.agent, received.boot) = (life.site, life.agent, life.boot)

-- name: series_ids
SELECT site, device, quantity, series_id
FROM unnest(%(sites)s::text[], %(devices)s::text[], %(quantities)s::text[]) AS asked (site, device, quantity)
JOIN series USING (site, device, quantity)

-- name: add_devices
INSERT INTO device (site, device, state)
SELECT DISTINCT site, device, 'online' FROM unnest(%(sites)s::text[], %(devices)s::text[]) AS told (site, device)
ORDER BY site, device
ON CONFLICT DO NOTHING

-- name: add_series
INSERT INTO series (site, device, quantity)
SELECT site, device, quantity FROM unnest(%(sites)s::text[], %(devices)s::text[], %(quantities)s::text[]) AS told (site, device, quantity)
ORDER BY site, device, quantity
ON CONFLICT DO NOTHING

-- name: ensure_partitions
SELECT ensure_partitions(%(moment)s, %(moment)s)

-- name: copy_readings
COPY reading (series_id, at, value) FROM STDIN (FORMAT binary)

-- name: make_stage
CREATE TEMPORARY TABLE IF NOT EXISTS staged_reading (
    n integer NOT NULL, series_id integer NOT NULL, at timestamptz NOT NULL, value double precision NOT NULL
) ON COMMIT DELETE ROWS

-- name: empty_stage
DELETE FROM staged_reading

-- name: copy_staged
COPY staged_reading (n, series_id, at, value) FROM STDIN (FORMAT binary)

-- name: insert_staged
-- The first of each moment becomes a reading where none stands yet; what comes back are the numbers of all others.
WITH first AS MATERIALIZED (
    SELECT DISTINCT ON (series_id, at) n, series_id, at, value FROM staged_reading ORDER BY series_id, at, n
), kept AS (
    INSERT INTO reading (series_id, at, value) SELECT series_id, at, value FROM first ORDER BY series_id, at
    ON CONFLICT DO NOTHING
    RETURNING series_id, at
)
SELECT staged.n FROM staged_reading staged
WHERE NOT EXISTS (SELECT FROM first JOIN kept USING (series_id, at) WHERE first.n = staged.n)

-- name: missing_staged
-- Rows that neither came in nor stood there before: none, unless the store lets rows fall.
SELECT count(*) FROM staged_reading staged
WHERE NOT EXISTS (SELECT FROM reading WHERE reading.series_id = staged.series_id AND reading.at = staged.at)

-- name: keep_conflicts
INSERT INTO reading_conflict (series_id, at, value, recorded_at)
SELECT DISTINCT staged.series_id, staged.at, staged.value, %(now)s::timestamptz
FROM staged_reading staged JOIN reading USING (series_id, at)
WHERE reading.value <> staged.value
  AND NOT EXISTS (SELECT FROM reading_conflict known
                  WHERE (known.series_id, known.at, known.value) = (staged.series_id, staged.at, staged.value))

-- name: move_latest
-- Also returns the series whose readings here begin later after their newest, or earlier before their first, than any rule lets pass.
WITH told AS MATERIALIZED (
    SELECT series_id, value, timestamptz 'epoch' + at_us * interval '1 microsecond' AS at,
           timestamptz 'epoch' + first_us * interval '1 microsecond' AS first_at
    FROM unnest(%(series)s::int[], %(first_us)s::int8[], %(at_us)s::int8[], %(values)s::float8[]) AS newest (series_id, first_us, at_us, value)
), moved AS (
    INSERT INTO series_latest AS latest (series_id, at, value, recorded_at, first_at)
    SELECT series_id, at, value, %(now)s, first_at FROM told ORDER BY series_id
    ON CONFLICT (series_id) DO UPDATE
    SET at = greatest(latest.at, excluded.at),
        value = CASE WHEN excluded.at > latest.at THEN excluded.value ELSE latest.value END,
        recorded_at = CASE WHEN excluded.at > latest.at THEN excluded.recorded_at ELSE latest.recorded_at END,
        first_at = least(latest.first_at, excluded.first_at)
    WHERE excluded.at > latest.at OR excluded.first_at < latest.first_at
)
SELECT series_id FROM told JOIN series_latest before USING (series_id)
WHERE told.first_at > before.at + make_interval(secs => (SELECT min(max_gap_s) FROM limit_rule)) OR told.first_at < before.first_at

-- name: add_passage
INSERT INTO passage (agent, boot, seq, item, site, portal, epc_hex, direction, first_seen, last_seen, reads, peak_rssi_dbm,
                     confidence, tag_group, recorded_at)
VALUES (%(agent)s, %(boot)s, %(seq)s, %(item)s, %(site)s, %(portal)s, %(epc_hex)s, %(direction)s, %(first_seen)s, %(last_seen)s,
        %(reads)s, %(peak_rssi_dbm)s, %(confidence)s, %(tag_group)s, %(now)s)

-- name: add_scan
INSERT INTO barcode_scan (agent, boot, seq, item, site, read_point, scanned, at, recorded_at)
VALUES (%(agent)s, %(boot)s, %(seq)s, %(item)s, %(site)s, %(read_point)s, %(scanned)s, %(at)s, %(now)s)

-- name: add_mirror_lines
INSERT INTO mirror_queue (lines) SELECT unnest(%(lines)s::bytea[])
