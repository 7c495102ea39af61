-- Inputs of two states at devices.

-- name: add_devices
INSERT INTO device (site, device)
SELECT %(site)s, device FROM unnest(%(devices)s::text[]) AS told (device) ORDER BY device
ON CONFLICT DO NOTHING

-- name: lock_newest
-- The newest state of every input of these devices; the devices are locked, so that of two hubs with the same news one finds it new.
WITH locked AS (
    SELECT device FROM device WHERE site = %(site)s AND device = ANY(%(devices)s) ORDER BY device FOR NO KEY UPDATE
)
SELECT DISTINCT ON (device, input) device, input, at, is_on
FROM device_state JOIN locked USING (device)
WHERE site = %(site)s
ORDER BY device, input, at DESC

-- name: keep
INSERT INTO device_state (site, device, input, at, is_on, recorded_at)
SELECT %(site)s, device, input, at, is_on, %(now)s
FROM unnest(%(devices)s::text[], %(inputs)s::text[], %(ats)s::timestamptz[], %(ons)s::boolean[]) AS told (device, input, at, is_on)
ON CONFLICT DO NOTHING
