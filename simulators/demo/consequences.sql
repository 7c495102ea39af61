-- What the hub made of the story: to be held against what the simulated world did.

-- name: receipts
SELECT gate, coalesce(shipment, ''), state, coalesce(verdict, ''), count(*) FROM receipt GROUP BY gate, shipment, state, verdict;

-- name: receipts_without_their_alert
SELECT coalesce('receipt:' || receipt.id, alert.source), receipt.verdict, count(alert.id)
FROM (SELECT id, verdict FROM receipt WHERE state = 'posted') AS receipt
FULL JOIN (SELECT id, source FROM alert WHERE kind = 'receipt') AS alert ON alert.source = 'receipt:' || receipt.id
GROUP BY receipt.id, receipt.verdict, alert.source
HAVING count(alert.id) <> CASE WHEN receipt.verdict = 'discrepancy' THEN 1 ELSE 0 END;

-- name: excursions
SELECT excursion.rule, series.site, series.device, excursion.started_at, excursion.ended_at,
       (SELECT count(*) FROM alert
        WHERE alert.kind = 'excursion' AND alert.rule = excursion.rule
          AND alert.source = 'series:' || series.site || '.' || series.device || '.' || series.quantity) AS alerts
FROM excursion JOIN series USING (series_id)
WHERE series.quantity = 'celsius'
ORDER BY excursion.started_at;

-- name: late_vehicles
SELECT source, count(*) FROM alert WHERE kind = 'lateness' GROUP BY source;

-- name: plans
SELECT site, trigger,
       ARRAY(SELECT reason ->> 'vehicle' FROM jsonb_array_elements(reasons) AS reason WHERE reason ->> 'code' = 'vehicle_late'),
       ARRAY(SELECT order_id FROM plan_stop WHERE plan_stop.plan = plan.id)
       || ARRAY(SELECT unserved_order ->> 'order' FROM jsonb_array_elements(unserved) AS unserved_order)
FROM plan WHERE state IN ('active', 'superseded');
