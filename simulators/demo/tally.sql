-- What the database holds, to be held against what the simulators say they did.

-- name: totals
SELECT (SELECT count(*) FROM reading)                                              AS readings_stored,
       (SELECT count(*) FROM passage)                                              AS passages,
       (SELECT count(*) FROM receipt WHERE state = 'posted')                       AS receipts_posted,
       (SELECT count(*) FROM receipt WHERE state = 'posted' AND verdict = 'discrepancy') AS receipts_with_discrepancy,
       (SELECT count(*) FROM excursion)                                            AS excursions,
       (SELECT count(*) FROM alert)                                                AS alerts,
       (SELECT count(*) FROM position)                                             AS positions,
       (SELECT count(*) FROM plan WHERE state IN ('active', 'superseded'))         AS plans,
       (SELECT count(*) FROM plan WHERE state IN ('active', 'superseded') AND trigger IN ('lateness', 'new_order')) AS replans;

-- name: readings
SELECT series.site, series.device, series.quantity, count(reading.at)
FROM series LEFT JOIN reading USING (series_id)
GROUP BY series.site, series.device, series.quantity;

-- name: conflicts
SELECT series.site, series.device, series.quantity, reading_conflict.at
FROM reading_conflict JOIN series USING (series_id)
ORDER BY reading_conflict.at;

-- name: rejected
SELECT reason FROM (SELECT reason, received_at AS at FROM rejected_message
                    UNION ALL SELECT reason, set_aside_at FROM set_aside_fact) AS refused
ORDER BY at LIMIT 10;

-- name: passages
SELECT site, portal, epc_hex, count(*) FROM passage GROUP BY site, portal, epc_hex;

-- name: fixes_not_stored
SELECT told.site, told.tracker, told.at
FROM unnest(%(site)s::text[], %(tracker)s::text[], %(at)s::timestamptz[]) AS told (site, tracker, at)
WHERE NOT EXISTS (SELECT 1 FROM position JOIN vehicle USING (tracker_id)
                  WHERE vehicle.tracker_site = told.site AND vehicle.tracker = told.tracker AND position.at = told.at);

-- name: fixes
SELECT vehicle.tracker_site, vehicle.tracker, count(*)
FROM position JOIN vehicle USING (tracker_id)
GROUP BY vehicle.tracker_site, vehicle.tracker;

-- name: scans
SELECT site, read_point, scanned, count(*) FROM barcode_scan GROUP BY site, read_point, scanned;

-- name: ledger_differences
WITH moved AS (
    SELECT location, gtin, lot, sum(quantity) AS quantity
    FROM (SELECT to_location AS location, gtin, lot, quantity FROM movement WHERE to_location IS NOT NULL
          UNION ALL
          SELECT from_location, gtin, lot, -quantity FROM movement WHERE from_location IS NOT NULL) AS leg
    GROUP BY location, gtin, lot)
SELECT coalesce(moved.location, stock.location), coalesce(moved.gtin, stock.gtin), coalesce(moved.lot, stock.lot),
       coalesce(moved.quantity, 0), coalesce(stock.quantity, 0)
FROM moved FULL JOIN stock ON (stock.location, stock.gtin, stock.lot) = (moved.location, moved.gtin, moved.lot)
WHERE coalesce(moved.quantity, 0) <> coalesce(stock.quantity, 0);
