-- name: trackers
SELECT tracker, tracker_id, vehicle FROM vehicle WHERE tracker_site = %(site)s AND tracker = ANY(%(trackers)s)

-- name: ensure_partitions
SELECT ensure_partitions(%(first)s, %(last)s)

-- name: add_positions
INSERT INTO position (tracker_id, at, latitude, longitude, speed_mps, course_deg, accuracy_m, coordinate_system, told_latitude,
                      told_longitude)
SELECT * FROM unnest(%(tracker_ids)s::integer[], %(ats)s::timestamptz[], %(latitudes)s::double precision[],
                     %(longitudes)s::double precision[], %(speeds)s::double precision[], %(courses)s::double precision[],
                     %(accuracies)s::double precision[], %(systems)s::text[], %(told_latitudes)s::double precision[],
                     %(told_longitudes)s::double precision[])
ON CONFLICT DO NOTHING
RETURNING tracker_id, at

-- name: recent_fixes
--- Fixes whose tracker says that they are worse than `radius` are kept, and judge nothing.
SELECT v.vehicle, p.at, p.latitude, p.longitude, p.speed_mps, p.course_deg
FROM vehicle v
CROSS JOIN LATERAL (
    SELECT at, latitude, longitude, speed_mps, course_deg FROM position
    WHERE tracker_id = v.tracker_id AND (accuracy_m IS NULL OR accuracy_m <= %(radius)s) ORDER BY at DESC LIMIT %(many)s
) p
WHERE v.vehicle = ANY(%(vehicles)s)
ORDER BY v.vehicle, p.at

-- name: move_live
INSERT INTO vehicle_live (vehicle, at, latitude, longitude, speed_mps, course_deg, recorded_at)
SELECT vehicle, at, latitude, longitude, speed_mps, course_deg, %(now)s
FROM unnest(%(vehicles)s::text[], %(ats)s::timestamptz[], %(latitudes)s::double precision[], %(longitudes)s::double precision[],
            %(speeds)s::double precision[], %(courses)s::double precision[])
     AS fix (vehicle, at, latitude, longitude, speed_mps, course_deg)
ORDER BY vehicle
ON CONFLICT (vehicle) DO UPDATE SET at = excluded.at, latitude = excluded.latitude, longitude = excluded.longitude,
    speed_mps = excluded.speed_mps, course_deg = excluded.course_deg, recorded_at = excluded.recorded_at
WHERE vehicle_live.at < excluded.at

-- name: hold_routes
-- While fixes are followed no plan of the vehicles' depots comes into force: `lock_site` waits, and is waited for. A lock of its
-- own, not of rows, so that whoever holds it waits for nobody who changes sites or orders.
SELECT pg_advisory_xact_lock_shared(hashtext('site_plans'), hashtext(depot.site))
FROM (SELECT DISTINCT site FROM vehicle WHERE vehicle = ANY(%(vehicles)s) ORDER BY site) AS depot

-- name: followed_stops
-- The running route of each vehicle, done stops included, with the depot it left. `bound_from`: goods told to this vehicle
-- by a plan that replaced another cannot have left with it before that plan was in force.
SELECT s.vehicle, o.id, d.latitude, d.longitude, o.state, o.arrived_at, o.delivered_at, o.site,
       site.latitude, site.longitude, v.shift_from,
       CASE WHEN p.replaces IS NULL THEN o.created_at ELSE greatest(o.created_at, coalesce(p.decided_at, p.made_at)) END AS bound_from,
       o.created_at
FROM plan p
JOIN plan_stop s ON s.plan = p.id
JOIN vehicle v ON v.vehicle = s.vehicle
JOIN delivery_order o ON o.id = s.order_id
JOIN destination d ON d.destination = o.destination
JOIN site ON site.site = p.site
WHERE p.state = 'active' AND s.vehicle = ANY(%(vehicles)s) AND o.state <> 'cancelled'
ORDER BY s.vehicle, s.place

-- name: trail
-- The newest fixes of a vehicle from `first` on, and the last one before, so that it is known where it came from.
(SELECT p.at, p.latitude, p.longitude, p.speed_mps, p.course_deg FROM position p JOIN vehicle v ON v.tracker_id = p.tracker_id
 WHERE v.vehicle = %(vehicle)s AND p.at < %(first)s AND (p.accuracy_m IS NULL OR p.accuracy_m <= %(radius)s)
 ORDER BY p.at DESC LIMIT 1)
UNION ALL
(SELECT p.at, p.latitude, p.longitude, p.speed_mps, p.course_deg FROM position p JOIN vehicle v ON v.tracker_id = p.tracker_id
 WHERE v.vehicle = %(vehicle)s AND p.at >= %(first)s AND (p.accuracy_m IS NULL OR p.accuracy_m <= %(radius)s)
 ORDER BY p.at DESC LIMIT %(many)s)
ORDER BY at

-- name: last_fix_before
SELECT p.at FROM position p JOIN vehicle v ON v.tracker_id = p.tracker_id
WHERE v.vehicle = %(vehicle)s AND p.at < %(first)s AND (p.accuracy_m IS NULL OR p.accuracy_m <= %(radius)s)
ORDER BY p.at DESC LIMIT 1

-- name: set_order_progress
UPDATE delivery_order SET state = %(state)s, arrived_at = %(arrived_at)s, delivered_at = %(delivered_at)s
WHERE id = %(order)s AND state <> 'cancelled'
  AND (state, arrived_at, delivered_at) IS DISTINCT FROM (%(state)s, %(arrived_at)s::timestamptz, %(delivered_at)s::timestamptz)
RETURNING (SELECT old.state FROM delivery_order old WHERE old.id = delivery_order.id)

-- name: site
SELECT latitude, longitude FROM site WHERE site = %(site)s

-- name: fleet
SELECT v.vehicle, v.capacity, v.cold_box, v.speed_mps, v.shift_from, v.shift_until,
       l.at, l.latitude, l.longitude, l.speed_mps, l.course_deg
FROM vehicle v LEFT JOIN vehicle_live l USING (vehicle)
WHERE v.site = %(site)s ORDER BY v.vehicle

-- name: open_orders
SELECT o.id, d.latitude, d.longitude, o.window_from, o.window_until, o.service_s, o.demand, o.needs_cold_box, o.priority, o.state,
       o.arrived_at
FROM delivery_order o JOIN destination d USING (destination)
WHERE o.site = %(site)s AND o.state IN ('planned_for', 'loaded', 'arrived') AND o.window_from < %(until)s
ORDER BY o.id

-- name: plan_head
SELECT id, made_at, reasons, unserved FROM plan WHERE site = %(site)s AND state = %(state)s

-- name: plan_orders
SELECT s.vehicle, s.order_id, s.arrival_at, s.start_at, s.departure_at, s.lateness_s, o.state, o.arrived_at, o.delivered_at
FROM plan_stop s JOIN delivery_order o ON o.id = s.order_id
WHERE s.plan = %(plan)s ORDER BY s.vehicle, s.place

-- name: lock_site
-- Whoever changes which plan of a site is in force or proposed goes alone, and not while fixes are followed (`hold_routes`).
SELECT pg_advisory_xact_lock(hashtext('site_plans'), hashtext(%(site)s))

-- name: begin_watch
SELECT pg_try_advisory_lock(hashtext('site_watch'), hashtext(%(site)s))

-- name: end_watch
SELECT pg_advisory_unlock(hashtext('site_watch'), hashtext(%(site)s))

-- name: set_aside_proposal
UPDATE plan SET state = 'superseded', decided_at = %(now)s WHERE site = %(site)s AND state = 'proposed' RETURNING id

-- name: supersede_active
UPDATE plan SET state = 'superseded' WHERE site = %(site)s AND state = 'active' RETURNING id

-- name: add_plan
INSERT INTO plan (site, state, trigger, replaces, reasons, engine, elapsed_s, distance_m, unserved, made_at, decided_at, decided_by)
VALUES (%(site)s, %(state)s, %(trigger)s, %(replaces)s, %(reasons)s, %(engine)s, %(elapsed_s)s, %(distance_m)s, %(unserved)s,
        %(now)s, %(decided_at)s, %(decided_by)s)
RETURNING id

-- name: add_stop
INSERT INTO plan_stop (plan, vehicle, place, order_id, arrival_at, start_at, departure_at, lateness_s)
VALUES (%(plan)s, %(vehicle)s, %(place)s, %(order)s, %(arrival_at)s, %(start_at)s, %(departure_at)s, %(lateness_s)s)

-- name: plan_for_decision
SELECT site, state, trigger, replaces FROM plan WHERE id = %(plan)s

-- name: decide
UPDATE plan SET state = %(state)s, decided_at = %(now)s, decided_by = %(person)s WHERE id = %(plan)s

-- name: misplaced_cargo
-- Cargo that is on another vehicle than the proposal says, or that left without being in it.
SELECT a.order_id, a.vehicle
FROM plan_stop a
JOIN plan active ON active.id = a.plan AND active.site = %(site)s AND active.state = 'active'
JOIN delivery_order o ON o.id = a.order_id AND o.state IN ('loaded', 'arrived')
LEFT JOIN plan_stop b ON b.plan = %(plan)s AND b.order_id = a.order_id
WHERE b.vehicle IS DISTINCT FROM a.vehicle
ORDER BY a.order_id

-- name: sites_with_active_plan
SELECT DISTINCT site FROM plan WHERE state = 'active' ORDER BY site

-- name: last_told_lateness
-- Per vehicle, the lateness told by the newest re-planning of the plan in force, whatever became of the proposal.
SELECT DISTINCT ON (r.reason->>'vehicle') r.reason->>'vehicle', (r.reason->>'late_s')::integer
FROM plan p CROSS JOIN LATERAL jsonb_array_elements(p.reasons) AS r (reason)
WHERE p.replaces = %(active)s AND r.reason->>'code' = 'vehicle_late'
ORDER BY r.reason->>'vehicle', p.id DESC

-- name: last_tries
-- When a site was last planned again for lateness, and when that last failed.
SELECT max(made_at) FILTER (WHERE trigger = 'lateness'), max(made_at) FILTER (WHERE engine = 'none') FROM plan WHERE site = %(site)s

-- name: pending_changes
-- Open orders no plan has dealt with since they came, and cancelled ones still on a running route that no plan has left out.
SELECT 'new_order', o.id FROM delivery_order o
WHERE o.site = %(site)s AND o.state = 'planned_for' AND o.window_from < %(until)s
  AND NOT EXISTS (
      SELECT 1 FROM plan p
      WHERE p.site = o.site AND p.id >= %(active)s
        AND (EXISTS (SELECT 1 FROM plan_stop s WHERE s.plan = p.id AND s.order_id = o.id)
             OR p.unserved @> jsonb_build_array(jsonb_build_object('order', o.id))))
UNION ALL
SELECT 'order_cancelled', o.id FROM plan_stop s JOIN delivery_order o ON o.id = s.order_id
WHERE s.plan = %(active)s AND o.state = 'cancelled'
  AND NOT EXISTS (
      SELECT 1 FROM plan p WHERE p.replaces = %(active)s
         AND p.reasons @> jsonb_build_array(jsonb_build_object('code', 'order_cancelled', 'order', o.id)))
ORDER BY 1, 2

-- name: standing_alerts
SELECT source FROM alert WHERE kind = 'lateness' AND site = %(site)s AND rule = %(rule)s AND state <> 'resolved' AND cleared_at IS NULL

-- name: destination_exists
SELECT 1 FROM destination WHERE destination = %(destination)s

-- name: known_products
SELECT gtin FROM product WHERE gtin = ANY(%(gtins)s)

-- name: largest_vehicle
SELECT max(capacity), max(capacity) FILTER (WHERE cold_box) FROM vehicle WHERE site = %(site)s

-- name: add_order
INSERT INTO delivery_order (id, site, destination, window_from, window_until, service_s, demand, needs_cold_box, priority, created_at)
VALUES (%(id)s, %(site)s, %(destination)s, %(window_from)s, %(window_until)s, %(service_s)s, %(demand)s, %(needs_cold_box)s,
        %(priority)s, %(now)s)
ON CONFLICT (id) DO NOTHING
RETURNING id

-- name: add_order_line
INSERT INTO delivery_order_line (order_id, line, gtin, quantity) VALUES (%(order)s, %(line)s, %(gtin)s, %(quantity)s)

-- name: order_state
SELECT state, site FROM delivery_order WHERE id = %(order)s FOR NO KEY UPDATE

-- name: cancel_order
UPDATE delivery_order SET state = 'cancelled' WHERE id = %(order)s

-- name: vehicles
SELECT v.vehicle, v.site, v.name_zh, v.name_en, v.capacity, v.cold_box,
       CASE WHEN l.at IS NOT NULL THEN jsonb_build_object('at', l.at, 'latitude', l.latitude, 'longitude', l.longitude,
            'speed_mps', l.speed_mps, 'course_deg', l.course_deg) END AS live
FROM vehicle v LEFT JOIN vehicle_live l USING (vehicle) ORDER BY v.vehicle

-- name: vehicle_exists
SELECT 1 FROM vehicle WHERE vehicle = %(vehicle)s

-- name: track
SELECT p.at, p.latitude, p.longitude, p.speed_mps, p.course_deg
FROM position p JOIN vehicle v ON v.tracker_id = p.tracker_id
WHERE v.vehicle = %(vehicle)s AND p.at >= %(first)s AND p.at < %(last)s
  AND (p.accuracy_m IS NULL OR p.accuracy_m <= %(radius)s)
ORDER BY p.at DESC LIMIT %(many)s

-- name: plans
SELECT id, site, state, trigger, replaces, reasons, engine, elapsed_s, distance_m, unserved, made_at, decided_at, decided_by
FROM plan
WHERE (%(plan)s::bigint IS NULL OR id = %(plan)s) AND (%(site)s::text IS NULL OR site = %(site)s)
  AND (%(state)s::text IS NULL OR state = %(state)s)
ORDER BY id DESC LIMIT %(many)s

-- name: plan_view_stops
SELECT s.plan, s.vehicle, o.id AS "order", o.destination, d.name_zh, d.name_en, d.latitude, d.longitude, o.window_from,
       o.window_until, s.arrival_at, s.start_at, s.departure_at, s.lateness_s, o.state, o.service_s, o.arrived_at, o.delivered_at
FROM plan_stop s
JOIN delivery_order o ON o.id = s.order_id
JOIN destination d USING (destination)
WHERE s.plan = ANY(%(plans)s) ORDER BY s.plan, s.vehicle, s.place

-- name: orders
SELECT o.id, o.site, o.destination, d.name_zh, d.name_en, o.window_from, o.window_until, o.service_s, o.demand, o.needs_cold_box,
       o.priority, o.state, o.arrived_at, o.delivered_at, o.created_at,
       coalesce((SELECT jsonb_agg(jsonb_build_object('gtin', l.gtin, 'quantity', l.quantity) ORDER BY l.line)
                 FROM delivery_order_line l WHERE l.order_id = o.id), '[]') AS lines
FROM delivery_order o JOIN destination d USING (destination)
WHERE (%(site)s::text IS NULL OR o.site = %(site)s) AND (%(state)s::text IS NULL OR o.state = %(state)s)
  AND (%(order)s::text IS NULL OR o.id = %(order)s)
ORDER BY o.window_until DESC, o.id LIMIT %(many)s

-- name: destinations
SELECT destination, name_zh, name_en, latitude, longitude FROM destination ORDER BY destination
