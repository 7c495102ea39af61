-- What moves all the time and is shown as it is now, not as events.

-- name: vehicles_since
SELECT vehicle, at, latitude, longitude, speed_mps, course_deg, recorded_at
FROM vehicle_live WHERE recorded_at >= %(since)s
ORDER BY vehicle

-- name: readings_since
SELECT series_id, at, value, recorded_at
FROM series_latest WHERE recorded_at >= %(since)s
ORDER BY series_id
