-- Limit rules over series, their states and excursions.

-- name: heads
-- What a group of readings must be judged against: the version of the rules, the series whose fold has a run going, and those
-- with an excursion that ended after the group's first reading.
SELECT (SELECT version FROM rule_book),
       ARRAY(SELECT DISTINCT series_id FROM rule_state WHERE state <> 'null'),
       ARRAY(SELECT DISTINCT series_id FROM excursion WHERE ended_at >= %(first)s)

-- name: rules
SELECT series.series_id, series.site, series.device, limit_rule.location, limit_rule.rule, limit_rule.quantity, lower, upper,
       inclusive, delay_s, hysteresis, max_gap_s, severity
FROM series
JOIN device USING (site, device)
JOIN limit_rule ON limit_rule.location = device.location AND limit_rule.quantity = series.quantity
ORDER BY series_id, rule

-- name: lock_series
SELECT pg_advisory_xact_lock(%(class)s, %(series_id)s)

-- name: state
SELECT state, upto FROM rule_state WHERE rule = %(rule)s AND series_id = %(series_id)s

-- name: last_clear_before
SELECT at FROM reading
WHERE series_id = %(series_id)s AND at < %(before)s AND value > %(low)s AND value < %(high)s
ORDER BY at DESC LIMIT 1

-- name: first_clear_after
SELECT at FROM reading
WHERE series_id = %(series_id)s AND at > %(after)s AND value > %(low)s AND value < %(high)s
ORDER BY at LIMIT 1

-- name: readings_between
SELECT (extract(epoch FROM at) * 1000000)::bigint, value FROM reading
WHERE series_id = %(series_id)s AND at > %(after)s AND at <= %(until)s
ORDER BY at

-- name: save_state
INSERT INTO rule_state (rule, series_id, state, upto) VALUES (%(rule)s, %(series_id)s, %(state)s, %(upto)s)
ON CONFLICT (rule, series_id) DO UPDATE SET state = excluded.state, upto = excluded.upto

-- name: silent
-- Series under a rule whose newest reading is older than the rule allows a pause to be, and no alert says so yet.
SELECT series.series_id, series.site, series.device, series.quantity, limit_rule.location, series_latest.at,
       min(limit_rule.max_gap_s) AS max_gap_s
FROM series
JOIN device USING (site, device)
JOIN limit_rule ON limit_rule.location = device.location AND limit_rule.quantity = series.quantity
JOIN series_latest USING (series_id)
WHERE series_latest.at + make_interval(secs => limit_rule.max_gap_s) < %(now)s
  AND NOT EXISTS (
      SELECT FROM alert
      WHERE alert.source = 'series:' || series.site || '.' || series.device || '.' || series.quantity
        AND alert.rule = 'silence' AND alert.state <> 'resolved' AND alert.cleared_at IS NULL)
GROUP BY series.series_id, limit_rule.location, series_latest.at

-- name: heard_again
-- Heard of lately enough: a late reading of long ago ends no silence.
SELECT DISTINCT alert.source, series_latest.at
FROM alert
JOIN series ON alert.source = 'series:' || series.site || '.' || series.device || '.' || series.quantity
JOIN series_latest USING (series_id)
JOIN device ON (device.site, device.device) = (series.site, series.device)
JOIN limit_rule ON limit_rule.location = device.location AND limit_rule.quantity = series.quantity
WHERE alert.rule = 'silence' AND alert.state <> 'resolved' AND alert.cleared_at IS NULL
  AND series_latest.at > alert.opened_at
  AND series_latest.at + make_interval(secs => limit_rule.max_gap_s) >= %(now)s

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

-- name: cold_rooms
SELECT location.location, location.site, location.name_zh, location.name_en,
       (SELECT coalesce(jsonb_agg(jsonb_build_object(
            'rule', rule, 'quantity', quantity, 'lower', lower, 'upper', upper, 'severity', severity,
            'max_gap_s', max_gap_s) ORDER BY rule), '[]'::jsonb)
        FROM limit_rule WHERE limit_rule.location = location.location) AS rules,
       (SELECT coalesce(jsonb_agg(jsonb_build_object(
            'series_id', series_id, 'device', device.device, 'quantity', quantity, 'value', value, 'at', series_latest.at)
            ORDER BY device.device, quantity), '[]'::jsonb)
        FROM device JOIN series USING (site, device) LEFT JOIN series_latest USING (series_id)
        WHERE device.location = location.location) AS series,
       EXISTS (SELECT FROM alert WHERE alert.location = location.location AND alert.kind = 'excursion'
               AND alert.cleared_at IS NULL AND alert.state <> 'resolved') AS in_alarm,
       EXISTS (SELECT FROM rule_state JOIN limit_rule USING (rule)
               WHERE limit_rule.location = location.location AND rule_state.state <> 'null') AS outside
FROM location
WHERE location.role IN ('cold_room', 'refrigerator', 'vehicle')
  AND EXISTS (SELECT FROM limit_rule WHERE limit_rule.location = location.location)
ORDER BY location.site, location.location

-- name: series
SELECT series_id, site, device, quantity FROM series WHERE series_id = %(series_id)s

-- name: readings_of
SELECT extract(epoch FROM at)::double precision, value FROM reading
WHERE series_id = %(series_id)s AND at >= %(from)s AND at <= %(until)s
ORDER BY at LIMIT %(limit)s
