-- The ledger of stock and its sums.

-- name: unknown_lots
SELECT gtin, lot FROM unnest(%(gtins)s::text[], %(lots)s::text[]) AS asked (gtin, lot)
EXCEPT SELECT gtin, lot FROM lot
ORDER BY gtin, lot
LIMIT 1

-- name: unknown_locations
SELECT location FROM unnest(%(locations)s::text[]) AS asked (location)
EXCEPT SELECT location FROM location
ORDER BY location
LIMIT 1

-- name: insert_movements
INSERT INTO movement (key, gtin, lot, epc, quantity, from_location, to_location, biz_step, disposition, reason, actor, event_time,
                      record_time)
SELECT m.*, %(now)s
FROM unnest(%(key)s::text[], %(gtin)s::text[], %(lot)s::text[], %(epc)s::text[], %(quantity)s::integer[],
            %(from_location)s::text[], %(to_location)s::text[], %(biz_step)s::text[], %(disposition)s::text[], %(reason)s::text[],
            %(actor)s::text[], %(event_time)s::timestamptz[]) AS m
ON CONFLICT (key) DO NOTHING
RETURNING key

-- name: movements_by_key
SELECT key, gtin, lot, quantity, from_location, to_location, biz_step, disposition, actor, event_time, epc, reason
FROM movement WHERE key = ANY(%(keys)s)

-- name: lock_movement
SELECT key, gtin, lot, quantity, from_location, to_location, biz_step, disposition, actor, event_time, epc, reason
FROM movement WHERE id = %(id)s FOR UPDATE

-- name: movement_ids
SELECT key, id FROM movement WHERE key = ANY(%(keys)s)

-- name: make_sums
INSERT INTO stock (location, gtin, lot, quantity)
SELECT location, gtin, lot, 0
FROM unnest(%(locations)s::text[], %(gtins)s::text[], %(lots)s::text[]) AS place (location, gtin, lot)
ORDER BY location COLLATE "C", gtin COLLATE "C", lot COLLATE "C"
ON CONFLICT DO NOTHING

-- name: lock_sums
SELECT stock.location, stock.gtin, stock.lot, stock.quantity
FROM stock
JOIN unnest(%(locations)s::text[], %(gtins)s::text[], %(lots)s::text[]) AS place (location, gtin, lot) USING (location, gtin, lot)
ORDER BY stock.location COLLATE "C", stock.gtin COLLATE "C", stock.lot COLLATE "C"
FOR UPDATE OF stock

-- name: write_sums
UPDATE stock SET quantity = place.quantity
FROM unnest(%(locations)s::text[], %(gtins)s::text[], %(lots)s::text[], %(quantities)s::bigint[])
     AS place (location, gtin, lot, quantity)
WHERE (stock.location, stock.gtin, stock.lot) = (place.location, place.gtin, place.lot)

-- name: lock_items
SELECT epc, gtin, lot, location FROM item WHERE epc = ANY(%(epcs)s) ORDER BY epc COLLATE "C" FOR UPDATE

-- name: place_items
UPDATE item SET location = moved.location
FROM unnest(%(epcs)s::text[], %(locations)s::text[]) AS moved (epc, location)
WHERE item.epc = moved.epc

-- name: sites_of
SELECT location, site FROM location WHERE location = ANY(%(locations)s)

-- name: put_lot
-- A lot's expiry is written once: what the first document said stays, an unknown one is filled in.
INSERT INTO lot (gtin, lot, expiry) VALUES (%(gtin)s, %(lot)s, %(expiry)s)
ON CONFLICT (gtin, lot) DO UPDATE SET expiry = excluded.expiry WHERE lot.expiry IS NULL AND excluded.expiry IS NOT NULL

-- name: lot_expiry
SELECT expiry FROM lot WHERE gtin = %(gtin)s AND lot = %(lot)s

-- name: list
WITH RECURSIVE inside AS (
    SELECT location FROM location WHERE location = %(location)s
    UNION
    SELECT child.location FROM location AS child JOIN inside ON child.parent = inside.location
)
SELECT s.location, place.name_zh AS location_name_zh, place.name_en AS location_name_en,
       s.gtin, p.name_zh, p.name_en, p.unit, s.lot, lot.expiry, s.quantity
FROM stock AS s
JOIN location AS place USING (location)
JOIN product AS p USING (gtin)
JOIN lot USING (gtin, lot)
WHERE s.quantity > 0
  AND (%(location)s::text IS NULL OR s.location IN (SELECT location FROM inside))
  AND (%(site)s::text IS NULL OR place.site = %(site)s)
  AND (%(q)s::text IS NULL OR strpos(lower(concat_ws(' ', s.gtin, s.lot, p.name_zh, p.name_en, s.location)), lower(%(q)s)) > 0)
ORDER BY s.location, s.gtin, lot.expiry NULLS LAST, s.lot
LIMIT %(limit)s OFFSET %(offset)s

-- name: count
WITH RECURSIVE inside AS (
    SELECT location FROM location WHERE location = %(location)s
    UNION
    SELECT child.location FROM location AS child JOIN inside ON child.parent = inside.location
)
SELECT count(*)
FROM stock AS s
JOIN location AS place USING (location)
JOIN product AS p USING (gtin)
WHERE s.quantity > 0
  AND (%(location)s::text IS NULL OR s.location IN (SELECT location FROM inside))
  AND (%(site)s::text IS NULL OR place.site = %(site)s)
  AND (%(q)s::text IS NULL OR strpos(lower(concat_ws(' ', s.gtin, s.lot, p.name_zh, p.name_en, s.location)), lower(%(q)s)) > 0)

-- name: lot_on_hand
SELECT s.location, s.gtin, s.lot, lot.expiry, s.quantity
FROM stock AS s JOIN location AS place USING (location) JOIN lot USING (gtin, lot)
WHERE s.quantity > 0 AND s.gtin = %(gtin)s AND place.site = %(site)s AND place.role <> 'quarantine'

-- name: movements_of_lot
SELECT m.id, m.key, m.gtin, m.lot, m.epc, m.quantity, m.from_location, m.to_location, m.biz_step, m.disposition, m.reason, m.actor,
       m.event_time, m.record_time, substring(m.key FROM '^correction:([0-9]+)$')::bigint AS corrects, c.id AS corrected_by
FROM movement AS m LEFT JOIN movement AS c ON c.key = 'correction:' || m.id
WHERE m.gtin = %(gtin)s AND m.lot = %(lot)s
ORDER BY m.id DESC LIMIT %(limit)s

-- name: movement_with_key
SELECT m.id, m.key, m.gtin, m.lot, m.epc, m.quantity, m.from_location, m.to_location, m.biz_step, m.disposition, m.reason, m.actor,
       m.event_time, m.record_time, substring(m.key FROM '^correction:([0-9]+)$')::bigint AS corrects, c.id AS corrected_by
FROM movement AS m LEFT JOIN movement AS c ON c.key = 'correction:' || m.id
WHERE m.key = %(key)s

-- name: differences
-- Where the kept sums are not what the ledger adds up to.
WITH ledger AS (
    SELECT location, gtin, lot, sum(change)::bigint AS quantity
    FROM (SELECT to_location AS location, gtin, lot, quantity AS change FROM movement WHERE to_location IS NOT NULL
          UNION ALL
          SELECT from_location, gtin, lot, -quantity FROM movement WHERE from_location IS NOT NULL) AS change
    GROUP BY location, gtin, lot
)
SELECT location, gtin, lot, coalesce(ledger.quantity, 0) AS ledger, coalesce(stock.quantity, 0) AS stock
FROM ledger FULL JOIN stock USING (location, gtin, lot)
WHERE coalesce(ledger.quantity, 0) <> coalesce(stock.quantity, 0) OR ledger.quantity < 0
ORDER BY location, gtin, lot
