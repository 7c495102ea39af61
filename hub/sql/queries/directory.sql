-- Master data, devices and rejections as lists.

-- name: sites
SELECT site, name_zh, name_en, time_zone, latitude, longitude FROM site ORDER BY site

-- name: locations
SELECT location, site, parent, role, storage_class, name_zh, name_en, receives_into, quarantines_into
FROM location
WHERE (%(site)s::text IS NULL OR site = %(site)s) AND (%(role)s::text IS NULL OR role = %(role)s)
ORDER BY site, location

-- name: products
SELECT gtin, name_zh, name_en, unit, storage_class, short_dated_days
FROM product
WHERE %(q)s::text IS NULL OR strpos(lower(concat_ws(' ', gtin, name_zh, name_en)), lower(%(q)s)) > 0
ORDER BY gtin
LIMIT %(limit)s OFFSET %(offset)s

-- name: devices
SELECT device.site, device.device, device.location, device.state, device.state_at, device.detail, device.counts,
       coalesce((SELECT jsonb_agg(jsonb_build_object('series_id', series.series_id, 'quantity', series.quantity,
                                                     'value', latest.value, 'at', latest.at) ORDER BY series.quantity)
                 FROM series LEFT JOIN series_latest AS latest USING (series_id)
                 WHERE (series.site, series.device) = (device.site, device.device)), '[]'::jsonb) AS series,
       coalesce((SELECT jsonb_agg(jsonb_build_object('input', newest.input, 'on', newest.is_on, 'at', newest.at) ORDER BY newest.input)
                 FROM (SELECT DISTINCT ON (input) input, is_on, at FROM device_state
                       WHERE (device_state.site, device_state.device) = (device.site, device.device)
                       ORDER BY input, at DESC) AS newest), '[]'::jsonb) AS inputs,
       (SELECT count(*) FROM series JOIN reading_conflict USING (series_id)
        WHERE (series.site, series.device) = (device.site, device.device)) AS conflicts
FROM device
WHERE %(site)s::text IS NULL OR device.site = %(site)s
ORDER BY device.site, device.device

-- name: agents
SELECT site, agent, online, status_at, boot, version, outbox_batches, outbox_bytes, health, last_batch_at, clock_skew_s
FROM agent
WHERE %(site)s::text IS NULL OR site = %(site)s
ORDER BY site, agent

-- name: rejections
SELECT id, topic, reason, site, agent, boot, seq, received_at, coalesce(size, octet_length(payload)) AS size, substring(payload FROM 1 FOR %(shown)s) AS start
FROM rejected_message
ORDER BY id DESC
LIMIT %(limit)s
