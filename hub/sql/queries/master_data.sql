-- Master data: each upsert touches only rows that differ, so that rowcount tells what changed.

-- name: lock
SELECT pg_advisory_xact_lock(%(lock)s)

-- name: lock_places
-- Places before shipments: the order in which receipts lock them.
SELECT location FROM location WHERE location = ANY(%(names)s) ORDER BY location COLLATE "C" FOR NO KEY UPDATE

-- name: keys
SELECT 'sites' AS of, site AS key FROM site
UNION ALL SELECT 'locations', location FROM location
UNION ALL SELECT 'gates', location FROM location WHERE role = 'gate'
UNION ALL SELECT 'destinations', destination FROM destination
UNION ALL SELECT 'products', gtin FROM product WHERE gtin = ANY(%(gtins)s)

-- name: lot_expiries
SELECT lot.gtin, lot.lot, lot.expiry
FROM lot JOIN unnest(%(gtins)s::text[], %(lots)s::text[]) AS asked (gtin, lot) USING (gtin, lot)

-- name: trackers
SELECT tracker_site, tracker, vehicle FROM vehicle

-- name: openings
SELECT key, quantity FROM movement WHERE key = ANY(%(keys)s)

-- name: shipments_known
SELECT s.shipment, s.supplier, s.gate, s.due_from, s.due_until,
       s.state = 'expected' AND NOT EXISTS (SELECT FROM receipt AS r WHERE r.shipment = s.shipment) AS free,
       coalesce((SELECT jsonb_agg(jsonb_build_array(line.gtin, line.lot, line.expiry, line.quantity) ORDER BY line.line)
                 FROM shipment_line AS line WHERE line.shipment = s.shipment), '[]') AS lines
FROM shipment AS s WHERE s.shipment = ANY(%(names)s)
FOR UPDATE OF s

-- name: orders_known
SELECT o.id, o.site, o.destination, o.window_from, o.window_until, o.service_s, o.demand, o.needs_cold_box, o.priority,
       o.state = 'planned_for' AND NOT EXISTS (SELECT FROM plan_stop WHERE order_id = o.id) AS free,
       coalesce((SELECT jsonb_agg(jsonb_build_array(line.gtin, line.quantity) ORDER BY line.line)
                 FROM delivery_order_line AS line WHERE line.order_id = o.id), '[]') AS lines
FROM delivery_order AS o WHERE o.id = ANY(%(names)s)
FOR UPDATE OF o

-- name: put_sites
INSERT INTO site AS old (site, name_zh, name_en, time_zone, latitude, longitude)
VALUES (%(site)s, %(name_zh)s, %(name_en)s, %(time_zone)s, %(latitude)s, %(longitude)s)
ON CONFLICT (site) DO UPDATE SET name_zh = excluded.name_zh, name_en = excluded.name_en, time_zone = excluded.time_zone,
    latitude = excluded.latitude, longitude = excluded.longitude
WHERE old IS DISTINCT FROM excluded

-- name: put_locations
INSERT INTO location AS old (location, site, parent, role, storage_class, name_zh, name_en, receives_into, quarantines_into)
VALUES (%(location)s, %(site)s, %(parent)s, %(role)s, %(storage_class)s, %(name_zh)s, %(name_en)s, %(receives_into)s,
        %(quarantines_into)s)
ON CONFLICT (location) DO UPDATE SET site = excluded.site, parent = excluded.parent, role = excluded.role,
    storage_class = excluded.storage_class, name_zh = excluded.name_zh, name_en = excluded.name_en,
    receives_into = excluded.receives_into, quarantines_into = excluded.quarantines_into
WHERE old IS DISTINCT FROM excluded

-- name: put_products
INSERT INTO product AS old (gtin, name_zh, name_en, unit, storage_class, short_dated_days)
VALUES (%(gtin)s, %(name_zh)s, %(name_en)s, %(unit)s, %(storage_class)s, %(short_dated_days)s)
ON CONFLICT (gtin) DO UPDATE SET name_zh = excluded.name_zh, name_en = excluded.name_en, unit = excluded.unit,
    storage_class = excluded.storage_class, short_dated_days = excluded.short_dated_days
WHERE old IS DISTINCT FROM excluded

-- name: put_lots
INSERT INTO lot AS old (gtin, lot, expiry) VALUES (%(gtin)s, %(lot)s, %(expiry)s)
ON CONFLICT (gtin, lot) DO UPDATE SET expiry = excluded.expiry WHERE old.expiry IS NULL AND excluded.expiry IS NOT NULL

-- name: put_shipments
INSERT INTO shipment AS old (shipment, supplier, gate, due_from, due_until)
VALUES (%(shipment)s, %(supplier)s, %(gate)s, %(due_from)s, %(due_until)s)
ON CONFLICT (shipment) DO UPDATE SET supplier = excluded.supplier, gate = excluded.gate, due_from = excluded.due_from,
    due_until = excluded.due_until

-- name: drop_shipment_lines
DELETE FROM shipment_line WHERE shipment = ANY(%(names)s)

-- name: put_shipment_lines
INSERT INTO shipment_line (shipment, line, gtin, lot, expiry, quantity)
VALUES (%(shipment)s, %(line)s, %(gtin)s, %(lot)s, %(expiry)s, %(quantity)s)

-- name: put_limit_rules
INSERT INTO limit_rule AS old (rule, location, quantity, lower, upper, inclusive, delay_s, hysteresis, max_gap_s, severity,
                              known_at)
VALUES (%(rule)s, %(location)s, %(quantity)s, %(lower)s, %(upper)s, %(inclusive)s, %(delay_s)s, %(hysteresis)s, %(max_gap_s)s,
        %(severity)s, %(now)s)
ON CONFLICT (rule) DO UPDATE SET location = excluded.location, quantity = excluded.quantity, lower = excluded.lower,
    upper = excluded.upper, inclusive = excluded.inclusive, delay_s = excluded.delay_s, hysteresis = excluded.hysteresis,
    max_gap_s = excluded.max_gap_s, severity = excluded.severity
WHERE (old.location, old.quantity, old.lower, old.upper, old.inclusive, old.delay_s, old.hysteresis, old.max_gap_s, old.severity)
    IS DISTINCT FROM (excluded.location, excluded.quantity, excluded.lower, excluded.upper, excluded.inclusive, excluded.delay_s,
                      excluded.hysteresis, excluded.max_gap_s, excluded.severity)

-- name: put_devices
INSERT INTO device AS old (site, device, location) VALUES (%(site)s, %(device)s, %(location)s)
ON CONFLICT (site, device) DO UPDATE SET location = excluded.location WHERE old.location IS DISTINCT FROM excluded.location

-- name: put_vehicles
INSERT INTO vehicle AS old (vehicle, site, name_zh, name_en, tracker_site, tracker, capacity, cold_box, speed_mps, shift_from,
                            shift_until)
VALUES (%(vehicle)s, %(site)s, %(name_zh)s, %(name_en)s, %(tracker_site)s, %(tracker)s, %(capacity)s, %(cold_box)s, %(speed_mps)s,
        %(shift_from)s, %(shift_until)s)
ON CONFLICT (vehicle) DO UPDATE SET site = excluded.site, name_zh = excluded.name_zh, name_en = excluded.name_en,
    tracker_site = excluded.tracker_site, tracker = excluded.tracker, capacity = excluded.capacity, cold_box = excluded.cold_box,
    speed_mps = excluded.speed_mps, shift_from = excluded.shift_from, shift_until = excluded.shift_until
WHERE (old.site, old.name_zh, old.name_en, old.tracker_site, old.tracker, old.capacity, old.cold_box, old.speed_mps, old.shift_from,
       old.shift_until)
      IS DISTINCT FROM (excluded.site, excluded.name_zh, excluded.name_en, excluded.tracker_site, excluded.tracker, excluded.capacity,
                        excluded.cold_box, excluded.speed_mps, excluded.shift_from, excluded.shift_until)

-- name: put_destinations
INSERT INTO destination AS old (destination, name_zh, name_en, latitude, longitude)
VALUES (%(destination)s, %(name_zh)s, %(name_en)s, %(latitude)s, %(longitude)s)
ON CONFLICT (destination) DO UPDATE SET name_zh = excluded.name_zh, name_en = excluded.name_en, latitude = excluded.latitude,
    longitude = excluded.longitude
WHERE old IS DISTINCT FROM excluded

-- name: put_orders
INSERT INTO delivery_order AS old (id, site, destination, window_from, window_until, service_s, demand, needs_cold_box, priority,
                                   created_at)
VALUES (%(id)s, %(site)s, %(destination)s, %(window_from)s, %(window_until)s, %(service_s)s, %(demand)s, %(needs_cold_box)s,
        %(priority)s, %(now)s)
ON CONFLICT (id) DO UPDATE SET site = excluded.site, destination = excluded.destination, window_from = excluded.window_from,
    window_until = excluded.window_until, service_s = excluded.service_s, demand = excluded.demand,
    needs_cold_box = excluded.needs_cold_box, priority = excluded.priority

-- name: drop_order_lines
DELETE FROM delivery_order_line WHERE order_id = ANY(%(names)s)

-- name: put_order_lines
INSERT INTO delivery_order_line (order_id, line, gtin, quantity) VALUES (%(id)s, %(line)s, %(gtin)s, %(quantity)s)
