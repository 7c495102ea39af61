-- Gaps in the data of watched series, and silence that goes on.

-- name: neighbours
-- The readings next to [first, last], and the newest of the series.
SELECT (SELECT at FROM reading WHERE series_id = %(series_id)s AND at < %(first)s ORDER BY at DESC LIMIT 1),
       (SELECT at FROM reading WHERE series_id = %(series_id)s AND at > %(last)s ORDER BY at LIMIT 1),
       (SELECT at FROM series_latest WHERE series_id = %(series_id)s)

-- name: next_after
SELECT at FROM reading WHERE series_id = %(series_id)s AND at > %(at)s ORDER BY at LIMIT 1

-- name: pauses
SELECT at, next_at
FROM (SELECT at, lead(at) OVER (ORDER BY at) AS next_at FROM reading
      WHERE series_id = %(series_id)s AND at BETWEEN %(since)s AND %(until)s) pair
WHERE next_at - at > make_interval(secs => %(shortest_s)s)
ORDER BY at

-- name: known
SELECT id, started_at, ended_at FROM data_gap
WHERE series_id = %(series_id)s AND (ended_at IS NULL OR started_at BETWEEN %(since)s AND %(last)s)
ORDER BY started_at

-- name: add
INSERT INTO data_gap (series_id, started_at, ended_at, recorded_at) VALUES (%(series_id)s, %(started_at)s, %(ended_at)s, %(now)s)
ON CONFLICT DO NOTHING
RETURNING id

-- name: move
UPDATE data_gap SET started_at = %(started_at)s, ended_at = %(ended_at)s WHERE id = %(id)s

-- name: forget
DELETE FROM data_gap WHERE id = %(id)s

-- name: alert_of_gap
SELECT id, cleared_at FROM alert
WHERE source = %(source)s AND rule = 'silence' AND details->>'gap' = %(id)s::bigint::text
ORDER BY id DESC LIMIT 1
FOR UPDATE

-- name: unwatched
-- Silence alerts about a place that no rule watches any more, or from which the device went.
SELECT alert.source, (alert.details->>'gap')::bigint FROM alert
WHERE alert.rule = 'silence' AND alert.state <> 'resolved' AND alert.cleared_at IS NULL
  AND NOT EXISTS (
      SELECT FROM series JOIN device USING (site, device)
      JOIN limit_rule ON limit_rule.location = device.location AND limit_rule.quantity = series.quantity
      WHERE alert.source = 'series:' || series.site || '.' || series.device || '.' || series.quantity
        AND limit_rule.location = alert.location)
  AND NOT EXISTS (SELECT FROM limit_rule WHERE alert.source = 'rule:' || limit_rule.rule AND limit_rule.location = alert.location)
ORDER BY alert.source

-- name: forget_unwatched
DELETE FROM data_gap
WHERE ended_at IS NULL
  AND NOT EXISTS (
      SELECT FROM series JOIN device USING (site, device)
      JOIN limit_rule ON limit_rule.location = device.location AND limit_rule.quantity = series.quantity
      WHERE series.series_id = data_gap.series_id)

-- name: heard_again
-- Silent series that were heard meanwhile, or whose rules now allow the pause, with the span to look over.
SELECT data_gap.series_id, data_gap.started_at, series_latest.at
FROM data_gap
JOIN series USING (series_id)
JOIN series_latest USING (series_id)
JOIN device USING (site, device)
JOIN limit_rule ON limit_rule.location = device.location AND limit_rule.quantity = series.quantity
WHERE data_gap.ended_at IS NULL
GROUP BY data_gap.id, series_latest.at
HAVING series_latest.at > data_gap.started_at OR series_latest.at + make_interval(secs => min(max_gap_s)) >= %(now)s
ORDER BY data_gap.series_id

-- name: silent
-- Series under a rule whose newest reading is older than the rule allows a pause to be, and no gap says so yet.
SELECT DISTINCT series.series_id, series_latest.at
FROM series
JOIN device USING (site, device)
JOIN limit_rule ON limit_rule.location = device.location AND limit_rule.quantity = series.quantity
JOIN series_latest USING (series_id)
WHERE series_latest.at + make_interval(secs => limit_rule.max_gap_s) < %(now)s
  AND NOT EXISTS (SELECT FROM data_gap WHERE data_gap.series_id = series.series_id AND ended_at IS NULL)
ORDER BY series.series_id

-- name: never_heard
-- Rooms under a rule of whose quantity nothing was ever heard, for longer than the rule allows a pause to be.
SELECT limit_rule.rule, location.site, location.location, limit_rule.quantity, limit_rule.known_at, limit_rule.max_gap_s
FROM limit_rule JOIN location USING (location)
WHERE limit_rule.known_at + make_interval(secs => limit_rule.max_gap_s) < %(now)s
  AND NOT EXISTS (
      SELECT FROM device JOIN series USING (site, device) JOIN series_latest USING (series_id)
      WHERE device.location = limit_rule.location AND series.quantity = limit_rule.quantity)
  AND NOT EXISTS (
      SELECT FROM alert WHERE alert.source = 'rule:' || limit_rule.rule AND alert.rule = 'silence'
        AND alert.state <> 'resolved' AND alert.cleared_at IS NULL)

-- name: first_heard
SELECT alert.source, min(series_latest.recorded_at)
FROM alert
JOIN limit_rule ON alert.source = 'rule:' || limit_rule.rule
JOIN device ON device.location = limit_rule.location
JOIN series ON (series.site, series.device, series.quantity) = (device.site, device.device, limit_rule.quantity)
JOIN series_latest USING (series_id)
WHERE alert.rule = 'silence' AND alert.state <> 'resolved' AND alert.cleared_at IS NULL
GROUP BY alert.source
