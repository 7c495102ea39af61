-- Receipts at gates. Whoever changes the receipts of a gate holds the lock on the gate's location row.

-- name: lock_gates
SELECT l.location, l.site, site.time_zone
FROM location AS l JOIN site USING (site)
WHERE l.site = %(site)s AND l.location = ANY(%(names)s) AND l.role = 'gate'
  AND l.receives_into IS NOT NULL AND l.quarantines_into IS NOT NULL
ORDER BY l.location COLLATE "C"
FOR NO KEY UPDATE OF l

-- name: receipts_near
-- Receipts of a gate that were going on within some seconds of a span of event time.
SELECT id, shipment, state, opened_at, last_passage_at
FROM receipt
WHERE gate = %(gate)s
  AND opened_at <= %(until)s + make_interval(secs => %(gap_s)s)
  AND last_passage_at >= %(from)s - make_interval(secs => %(gap_s)s)
ORDER BY last_passage_at, id

-- name: open_after
SELECT id, shipment, state, opened_at, last_passage_at
FROM receipt WHERE gate = %(gate)s AND state = 'open' AND opened_at > %(moment)s
ORDER BY last_passage_at, id

-- name: items
SELECT code, epc_hex, gtin, serial, lot, carried_lot, carried_expiry, finding, seen_at, confidence, inbound
FROM receipt_item WHERE receipt = %(receipt)s ORDER BY code

-- name: choose_shipment
-- Which shipment the goods of a session at a gate belong to: one that is due and of which, when the session began, something was
-- still to come. Inside its window first, then the one that lists most of the products seen, then the nearest, then by name.
SELECT s.shipment
FROM shipment AS s
CROSS JOIN LATERAL (SELECT count(DISTINCT line.gtin) AS products FROM shipment_line AS line
                    WHERE line.shipment = s.shipment
                      AND (line.gtin = ANY(%(gtins)s)
                           OR line.gtin IN (SELECT gtin FROM receipt_item WHERE receipt = ANY(%(session)s)))) AS listed
CROSS JOIN LATERAL (SELECT greatest(s.due_from - %(at)s, %(at)s - s.due_until, interval '0') AS away) AS distance
WHERE s.gate = %(gate)s AND s.state <> 'cancelled' AND distance.away <= make_interval(secs => %(tolerance_s)s)
  AND EXISTS (
      SELECT FROM shipment_line AS line
      WHERE line.shipment = s.shipment
      GROUP BY line.gtin, line.lot
      HAVING sum(line.quantity) > (
          SELECT count(*) FROM receipt AS r JOIN receipt_item AS i ON i.receipt = r.id
          WHERE r.shipment = s.shipment AND r.last_passage_at < %(at)s
            AND i.gtin = line.gtin AND i.lot = line.lot AND i.serial IS NOT NULL AND i.finding IN ('expected', 'expired')))
ORDER BY distance.away = interval '0' DESC, listed.products DESC, distance.away, s.due_from, s.shipment
LIMIT 1

-- name: open_receipt
INSERT INTO receipt (gate, opened_at, last_passage_at, recorded_at)
VALUES (%(gate)s, %(opened_at)s, %(last_passage_at)s, %(now)s)
RETURNING id

-- name: stretch_receipt
UPDATE receipt SET opened_at = %(opened_at)s, last_passage_at = %(last_passage_at)s, recorded_at = %(now)s
WHERE id = %(id)s

-- name: set_receipt_shipment
UPDATE receipt SET shipment = %(shipment)s WHERE id = %(id)s

-- name: drop_receipt
-- One that was never posted, and is part of another.
WITH items AS (DELETE FROM receipt_item WHERE receipt = %(id)s)
DELETE FROM receipt WHERE id = %(id)s AND state = 'open'

-- name: delete_items
DELETE FROM receipt_item WHERE receipt = %(receipt)s AND code = ANY(%(codes)s)

-- name: put_item
INSERT INTO receipt_item (receipt, code, epc_hex, gtin, lot, serial, carried_lot, carried_expiry, finding, seen_at, confidence,
                          inbound)
VALUES (%(receipt)s, %(code)s, %(epc_hex)s, %(gtin)s, %(lot)s, %(serial)s, %(carried_lot)s, %(carried_expiry)s, %(finding)s,
        %(seen_at)s, %(confidence)s, %(inbound)s)
ON CONFLICT (receipt, code) DO UPDATE SET
    epc_hex = excluded.epc_hex, gtin = excluded.gtin, lot = excluded.lot, serial = excluded.serial,
    carried_lot = excluded.carried_lot, carried_expiry = excluded.carried_expiry, finding = excluded.finding,
    seen_at = excluded.seen_at, confidence = excluded.confidence, inbound = excluded.inbound

-- name: told_lately
-- Units of which a receipt of the gate told within some time of the moment they are seen now.
SELECT DISTINCT i.gtin, i.serial
FROM unnest(%(gtins)s::text[], %(serials)s::text[], %(ats)s::timestamptz[]) AS seen (gtin, serial, at)
JOIN receipt_item AS i ON i.gtin = seen.gtin AND i.serial = seen.serial
JOIN receipt AS r ON r.id = i.receipt
WHERE r.gate = %(gate)s AND i.seen_at BETWEEN seen.at - make_interval(secs => %(within_s)s)
                                          AND seen.at + make_interval(secs => %(within_s)s)

-- name: lines
SELECT gtin, lot, expiry, quantity FROM shipment_line WHERE shipment = %(shipment)s ORDER BY line

-- name: came_before
-- What earlier receipts of a shipment brought (all of its receipts when `receipt` is null): they count in the order in which they
-- were posted, or will be.
SELECT i.gtin, i.lot, count(*) AS units
FROM receipt AS r JOIN receipt_item AS i ON i.receipt = r.id
WHERE r.shipment = %(shipment)s
  AND (%(receipt)s::bigint IS NULL
       OR (coalesce(r.posted_at, 'infinity'), r.last_passage_at, r.id)
          < (SELECT coalesce(posted_at, 'infinity'), last_passage_at, id FROM receipt WHERE id = %(receipt)s))
  AND i.serial IS NOT NULL AND i.lot IS NOT NULL AND i.finding IN ('expected', 'expired')
GROUP BY i.gtin, i.lot

-- name: known_units
SELECT item.gtin, item.serial, item.epc, item.lot, item.location
FROM item JOIN unnest(%(gtins)s::text[], %(serials)s::text[]) AS seen (gtin, serial) USING (gtin, serial)

-- name: set_shipment_state
UPDATE shipment AS s SET state = CASE WHEN %(complete)s THEN 'received'
                                      WHEN EXISTS (SELECT FROM receipt WHERE receipt.shipment = s.shipment) THEN 'receiving'
                                      ELSE 'expected' END
WHERE s.shipment = %(shipment)s AND s.state <> 'cancelled'

-- name: try_posting_lock
SELECT pg_try_advisory_xact_lock(%(lock)s)

-- name: lock_quiet_gates
-- A gate that ingest is busy with is not quiet: it is left for the next time.
SELECT location FROM location
WHERE EXISTS (SELECT FROM receipt WHERE receipt.gate = location.location AND receipt.state = 'open'
              AND receipt.last_passage_at <= %(over_since)s AND receipt.recorded_at <= %(quiet_since)s)
ORDER BY location COLLATE "C"
FOR NO KEY UPDATE SKIP LOCKED

-- name: quiet_receipts
-- Those that are over, but for those with an earlier one at their gate that is still being told of.
SELECT r.id, r.gate, r.shipment, r.state, r.opened_at, r.last_passage_at, l.site, site.time_zone, l.receives_into, l.quarantines_into,
       r.posting_failed_at
FROM receipt AS r JOIN location AS l ON l.location = r.gate JOIN site USING (site)
WHERE r.state = 'open' AND r.gate = ANY(%(gates)s) AND r.last_passage_at <= %(over_since)s AND r.recorded_at <= %(quiet_since)s
  AND (r.posting_failed_at IS NULL OR r.posting_failed_at <= %(retry_before)s)
  AND NOT EXISTS (SELECT FROM receipt AS earlier
                  WHERE earlier.gate = r.gate AND earlier.state = 'open' AND earlier.last_passage_at < r.last_passage_at
                    AND earlier.recorded_at > %(quiet_since)s)
ORDER BY r.last_passage_at, r.gate COLLATE "C", r.id
LIMIT %(limit)s

-- name: known_products
SELECT gtin FROM product WHERE gtin = ANY(%(gtins)s)

-- name: put_lot
INSERT INTO lot (gtin, lot, expiry) VALUES (%(gtin)s, %(lot)s, %(expiry)s)
ON CONFLICT (gtin, lot) DO UPDATE SET expiry = excluded.expiry WHERE lot.expiry IS NULL AND excluded.expiry IS NOT NULL

-- name: put_item_on_record
-- A unit that left and returns is of the lot it is now taken for.
INSERT INTO item (epc, gtin, serial, lot) VALUES (%(epc)s, %(gtin)s, %(serial)s, %(lot)s)
ON CONFLICT (gtin, serial) DO UPDATE SET lot = excluded.lot WHERE item.location IS NULL AND item.lot <> excluded.lot

-- name: post_receipt
UPDATE receipt SET state = 'posted', verdict = %(verdict)s, posted_at = %(now)s, posting_failed_at = NULL, posting_problem = NULL
WHERE id = %(id)s

-- name: set_posting_problem
UPDATE receipt SET posting_failed_at = %(now)s, posting_problem = %(problem)s WHERE id = %(id)s

-- name: still_open
SELECT EXISTS (SELECT FROM receipt WHERE shipment = %(shipment)s AND state = 'open')

-- name: receipt_shown
-- The newest open receipt of a gate, else the newest posted.
SELECT r.id, r.shipment, s.supplier, r.state, r.verdict, r.opened_at, r.last_passage_at, r.posted_at
FROM receipt AS r LEFT JOIN shipment AS s USING (shipment)
WHERE r.gate = %(gate)s
ORDER BY r.state = 'open' DESC, r.opened_at DESC, r.id DESC
LIMIT 1

-- name: list_receipts
SELECT r.id, r.gate, l.site, r.shipment, s.supplier, r.state, r.verdict, r.opened_at, r.last_passage_at, r.posted_at,
       (SELECT count(*) FROM receipt_item AS i WHERE i.receipt = r.id AND i.finding = 'expected' AND i.serial IS NOT NULL) AS received,
       (SELECT count(*) FROM receipt_item AS i WHERE i.receipt = r.id AND i.finding <> 'expected') AS discrepancies
FROM receipt AS r JOIN location AS l ON l.location = r.gate LEFT JOIN shipment AS s USING (shipment)
WHERE %(gate)s::text IS NULL OR r.gate = %(gate)s
ORDER BY r.id DESC
LIMIT %(limit)s

-- name: product_names
SELECT gtin, name_zh, name_en FROM product WHERE gtin = ANY(%(gtins)s)

-- name: gate
SELECT location AS gate, site, name_zh, name_en FROM location WHERE location = %(gate)s AND role = 'gate'

-- name: gates
SELECT location AS gate, site, name_zh, name_en FROM location WHERE role = 'gate' ORDER BY site, location

-- name: shipments
SELECT s.shipment, s.supplier, s.gate, s.due_from, s.due_until, s.state,
       coalesce((SELECT jsonb_agg(jsonb_build_object('gtin', line.gtin, 'name_zh', p.name_zh, 'name_en', p.name_en, 'lot', line.lot,
                                                     'expiry', line.expiry, 'quantity', line.quantity) ORDER BY line.line)
                 FROM shipment_line AS line JOIN product AS p USING (gtin) WHERE line.shipment = s.shipment), '[]') AS lines
FROM shipment AS s
WHERE (%(state)s::text IS NULL OR s.state = %(state)s) AND (%(shipment)s::text IS NULL OR s.shipment = %(shipment)s)
ORDER BY s.due_from DESC, s.shipment
LIMIT %(limit)s

-- name: insert_shipment
INSERT INTO shipment (shipment, supplier, gate, due_from, due_until)
VALUES (%(shipment)s, %(supplier)s, %(gate)s, %(due_from)s, %(due_until)s)
ON CONFLICT (shipment) DO NOTHING

-- name: insert_shipment_line
INSERT INTO shipment_line (shipment, line, gtin, lot, expiry, quantity)
VALUES (%(shipment)s, %(line)s, %(gtin)s, %(lot)s, %(expiry)s, %(quantity)s)
