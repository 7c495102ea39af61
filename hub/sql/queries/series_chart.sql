-- A series over a span of time, for a chart.

-- name: series
-- The quantity, and the shortest pause that is a gap where its device stands or ever stood.
SELECT quantity,
       (SELECT min(max_gap_s)
        FROM (SELECT site, device, location FROM device UNION SELECT site, device, location FROM device_stay) placed
        JOIN limit_rule USING (location)
        WHERE (placed.site, placed.device, limit_rule.quantity) = (series.site, series.device, series.quantity))
FROM series WHERE series_id = %(series_id)s

-- name: readings_of
SELECT extract(epoch FROM at)::double precision, value FROM reading
WHERE series_id = %(series_id)s AND at >= %(from)s AND at <= %(until)s
ORDER BY at LIMIT %(limit)s

-- name: hours_of
SELECT extract(epoch FROM hour)::double precision, mean_value, min_value, max_value FROM reading_hourly
WHERE series_id = %(series_id)s AND hour > %(from)s::timestamptz - interval '1 hour' AND hour <= %(until)s
ORDER BY hour LIMIT %(limit)s

-- name: days_of
SELECT extract(epoch FROM date_trunc('day', hour, 'UTC'))::double precision AS day,
       sum(mean_value * readings) / sum(readings), min(min_value), max(max_value)
FROM reading_hourly
WHERE series_id = %(series_id)s AND hour > %(from)s::timestamptz - interval '1 hour' AND hour <= %(until)s
GROUP BY day ORDER BY day LIMIT %(limit)s
