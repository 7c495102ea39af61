-- Limit rules over series, their states and excursions.

-- name: heads
-- What a group of readings must be judged against: the version of the rules, the series whose fold has a run going, those with an
-- excursion that ended after the group's first reading, the gaps these readings may lie in, and the series that are silent until now.
WITH gap AS MATERIALIZED (
    SELECT series_id, (extract(epoch FROM started_at) * 1000000)::bigint AS started_us,
           (extract(epoch FROM ended_at) * 1000000)::bigint AS ended_us
    FROM data_gap WHERE ended_at > %(first)s AND started_at < %(last)s
)
SELECT (SELECT version FROM rule_book),
       ARRAY(SELECT DISTINCT series_id FROM rule_state WHERE state <> 'null'),
       ARRAY(SELECT DISTINCT series_id FROM excursion WHERE ended_at >= %(first)s),
       (SELECT array_agg(series_id) FROM gap), (SELECT array_agg(started_us) FROM gap), (SELECT array_agg(ended_us) FROM gap),
       ARRAY(SELECT series_id FROM data_gap WHERE ended_at IS NULL)

-- name: rules
-- Each rule on each series: where the device stands now, and where it stood.
SELECT series.series_id, series.site, series.device, limit_rule.location, limit_rule.rule, limit_rule.quantity, lower, upper,
       inclusive, delay_s, hysteresis, max_gap_s, severity, placed.placed_after, placed.until
FROM series
JOIN (SELECT site, device, location, placed_after, NULL::timestamptz AS until FROM device
      UNION ALL
      SELECT site, device, location, placed_after, until FROM device_stay) placed USING (site, device)
JOIN limit_rule ON limit_rule.location = placed.location AND limit_rule.quantity = series.quantity
ORDER BY series_id, rule, until

-- name: lock_series
SELECT pg_advisory_xact_lock(%(class)s, %(series_id)s)

-- name: state
SELECT state, upto, coalesce(placed_after, 'epoch') FROM rule_state WHERE rule = %(rule)s AND series_id = %(series_id)s

-- name: readings_between
SELECT (extract(epoch FROM at) * 1000000)::bigint, value FROM reading
WHERE series_id = %(series_id)s AND at > %(after)s AND at <= %(until)s
ORDER BY at LIMIT %(limit)s

-- name: save_state
INSERT INTO rule_state (rule, series_id, state, upto, placed_after)
VALUES (%(rule)s, %(series_id)s, %(state)s, %(upto)s, nullif(%(placed_after)s, timestamptz 'epoch'))
ON CONFLICT (rule, series_id) DO UPDATE SET state = excluded.state, upto = excluded.upto, placed_after = excluded.placed_after

-- name: forget_state
DELETE FROM rule_state WHERE rule = %(rule)s AND series_id = %(series_id)s

-- name: unwatched_states
-- Folds that stand where no rule watches the series any more, or from before its device was moved.
SELECT rule, series_id, upto FROM rule_state
WHERE NOT EXISTS (
    SELECT FROM series JOIN device USING (site, device)
    JOIN limit_rule ON limit_rule.location = device.location AND limit_rule.quantity = series.quantity
    WHERE series.series_id = rule_state.series_id AND limit_rule.rule = rule_state.rule
      AND device.placed_after IS NOT DISTINCT FROM rule_state.placed_after)
ORDER BY series_id, rule

-- name: last_clear_before
SELECT at FROM reading
WHERE series_id = %(series_id)s AND at < %(before)s AND value > %(low)s AND value < %(high)s
ORDER BY at DESC LIMIT 1

-- name: first_clear_after
SELECT at FROM reading
WHERE series_id = %(series_id)s AND at > %(after)s AND value > %(low)s AND value < %(high)s
ORDER BY at LIMIT 1

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
