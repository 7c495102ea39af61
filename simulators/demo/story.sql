-- What the hub made of the story, newest state of each thing that changed.

-- name: news
SELECT outgoing.id, outgoing.at, outgoing.kind, outgoing.subject,
       alert.kind, coalesce(alert.location, alert.source), alert.state, alert.cleared_at IS NOT NULL,
       receipt.gate, receipt.shipment, receipt.state, receipt.verdict,
       plan.site, plan.trigger, plan.state
FROM outgoing
LEFT JOIN alert   ON outgoing.kind = 'alert'   AND alert.id::text = outgoing.subject
LEFT JOIN receipt ON outgoing.kind = 'receipt' AND receipt.id::text = outgoing.subject
LEFT JOIN plan    ON outgoing.kind = 'plan'    AND plan.id::text = outgoing.subject
WHERE outgoing.id > %(after)s AND outgoing.kind IN ('alert', 'receipt', 'plan')
ORDER BY outgoing.id LIMIT 200;
