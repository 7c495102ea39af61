-- Excursions as stored, and the alert of each.

-- name: began_between
SELECT id, started_at, ended_at FROM excursion
WHERE rule = %(rule)s AND series_id = %(series_id)s AND started_at > %(after)s AND started_at <= %(until)s

-- name: save
INSERT INTO excursion (rule, series_id, started_at, alarmed_at, ended_at, peak, area, recorded_at)
VALUES (%(rule)s, %(series_id)s, %(started_at)s, %(alarmed_at)s, %(ended_at)s, %(peak)s, %(area)s, %(now)s)
ON CONFLICT (rule, series_id, started_at) DO UPDATE
SET alarmed_at = excluded.alarmed_at, ended_at = excluded.ended_at, peak = excluded.peak, area = excluded.area
RETURNING id

-- name: forget
DELETE FROM excursion WHERE id = ANY(%(ids)s)

-- name: end_unwatched
UPDATE excursion SET ended_at = greatest(alarmed_at, %(upto)s)
FROM series
WHERE excursion.series_id = series.series_id AND excursion.rule = %(rule)s AND excursion.series_id = %(series_id)s AND ended_at IS NULL
RETURNING id, site, device, quantity

-- name: alert_of
-- The newest alert that belongs to an excursion.
SELECT id, cleared_at FROM alert
WHERE source = %(source)s AND rule = %(rule)s AND kind = 'excursion' AND details->>'excursion' = %(id)s::bigint::text
  AND NOT details ? 'retracted'
ORDER BY id DESC LIMIT 1
FOR UPDATE
