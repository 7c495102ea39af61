-- Alerts: one uncleared row per cause, by a partial unique index.

-- name: open
INSERT INTO alert (kind, source, rule, severity, site, location, opened_at, recorded_at, cleared_at, details)
VALUES (%(kind)s, %(source)s, %(rule)s, %(severity)s, %(site)s, %(location)s, %(opened_at)s, %(now)s, %(cleared_at)s, %(details)s)
ON CONFLICT (source, rule) WHERE state <> 'resolved' AND cleared_at IS NULL
DO UPDATE SET details = alert.details || excluded.details, opened_at = least(alert.opened_at, excluded.opened_at)
RETURNING id, (xmax = 0) AS is_new

-- name: clear
UPDATE alert
SET cleared_at = %(cleared_at)s,
    details = details || %(details)s,
    state = CASE WHEN state = 'acknowledged' THEN 'resolved' ELSE state END,
    resolved_at = CASE WHEN state = 'acknowledged' THEN %(now)s::timestamptz ELSE resolved_at END
WHERE source = %(source)s AND rule = %(rule)s AND state <> 'resolved' AND cleared_at IS NULL
RETURNING id, kind, severity, site, state

-- name: correct
WITH before AS (SELECT id, cleared_at FROM alert WHERE id = %(id)s FOR UPDATE)
UPDATE alert
SET opened_at = coalesce(%(opened_at)s::timestamptz, opened_at),
    cleared_at = coalesce(%(cleared_at)s::timestamptz, alert.cleared_at),
    details = details || %(details)s::jsonb,
    state = CASE WHEN state = 'acknowledged' AND %(cleared_at)s::timestamptz IS NOT NULL THEN 'resolved' ELSE state END,
    resolved_at = CASE WHEN state = 'acknowledged' AND %(cleared_at)s::timestamptz IS NOT NULL
                       THEN %(now)s::timestamptz ELSE resolved_at END
FROM before
WHERE alert.id = before.id
RETURNING kind, severity, site, state, before.cleared_at, alert.cleared_at

-- name: lock
SELECT id, kind, severity, site, state, source, rule, cleared_at FROM alert WHERE id = %(id)s FOR UPDATE

-- name: acknowledge
UPDATE alert
SET state = CASE WHEN cleared_at IS NULL THEN 'acknowledged' ELSE 'resolved' END,
    resolved_at = CASE WHEN cleared_at IS NULL THEN NULL ELSE %(now)s::timestamptz END,
    acknowledged_at = %(now)s, acknowledged_by = %(person)s, acknowledge_reason = %(reason)s
WHERE id = %(id)s
RETURNING state

-- name: is_watched
-- Does a rule still watch, at the alert's place, what the alert is about? Then only readings can clear it.
SELECT EXISTS (
           SELECT FROM series JOIN device USING (site, device)
           JOIN limit_rule ON limit_rule.location = device.location AND limit_rule.quantity = series.quantity
           WHERE alert.source = 'series:' || series.site || '.' || series.device || '.' || series.quantity
             AND limit_rule.location = alert.location AND (alert.kind = 'silence' OR limit_rule.rule = alert.rule))
    OR EXISTS (SELECT FROM limit_rule WHERE alert.source = 'rule:' || limit_rule.rule AND limit_rule.location = alert.location)
FROM alert WHERE id = %(id)s

-- name: resolve
-- What nobody watches any more is over when a person says so; of other kinds whether the cause stands is not known here.
UPDATE alert
SET state = 'resolved', resolved_at = %(now)s, details = details || %(details)s,
    cleared_at = CASE WHEN kind IN ('excursion', 'silence') THEN coalesce(cleared_at, %(now)s) ELSE cleared_at END
WHERE id = %(id)s

-- name: list
SELECT alert.id, kind, source, rule, severity, alert.site, alert.location,
       location.name_zh AS location_name_zh, location.name_en AS location_name_en,
       vehicle.name_zh AS vehicle_name_zh, vehicle.name_en AS vehicle_name_en,
       destination.name_zh AS destination_name_zh, destination.name_en AS destination_name_en,
       alert.state, opened_at, recorded_at, cleared_at, acknowledged_at, acknowledged_by, acknowledge_reason, resolved_at, details,
       coalesce((
           SELECT jsonb_agg(jsonb_build_object(
               'gtin', stock.gtin, 'name_zh', product.name_zh, 'name_en', product.name_en,
               'lot', stock.lot, 'expiry', lot.expiry, 'quantity', stock.quantity, 'unit', product.unit) ORDER BY product.name_en, stock.lot)
           FROM stock JOIN product USING (gtin) JOIN lot USING (gtin, lot)
           WHERE stock.location = alert.location AND stock.quantity > 0
       ), '[]'::jsonb) AS stock
FROM alert
LEFT JOIN location USING (location)
LEFT JOIN vehicle ON alert.source = 'vehicle:' || vehicle.vehicle
LEFT JOIN delivery_order ON alert.kind = 'lateness' AND delivery_order.id = details ->> 'order'
LEFT JOIN destination ON destination.destination = delivery_order.destination
WHERE (%(id)s::bigint IS NULL OR alert.id = %(id)s)
  AND (%(state)s::text IS NULL OR alert.state = %(state)s)
ORDER BY alert.state = 'resolved', array_position(ARRAY['critical', 'major', 'minor', 'warning'], severity), opened_at DESC
LIMIT %(limit)s
