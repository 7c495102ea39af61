-- Messages and facts that could not be taken.

-- name: add
INSERT INTO rejected_message (topic, payload, reason, site, agent, boot, seq, received_at)
SELECT topic, payload, reason, site, agent, boot, seq, %(now)s
FROM unnest(%(topics)s::text[], %(payloads)s::bytea[], %(reasons)s::text[], %(sites)s::text[], %(agents)s::text[],
            %(boots)s::text[], %(seqs)s::int8[]) AS bad (topic, payload, reason, site, agent, boot, seq)
RETURNING id

-- name: without_alert
-- Agents of which no alert of the rule stands, with what its source is called. An agent may name a site nobody entered.
SELECT told.site, told.agent, told.source, known.site AS known_site
FROM (SELECT site, agent, 'agent:' || site || '/' || agent AS source
      FROM unnest(%(sites)s::text[], %(agents)s::text[]) AS sender (site, agent)) AS told
LEFT JOIN site known ON known.site = told.site
WHERE NOT EXISTS (SELECT FROM alert
                  WHERE alert.source = told.source AND rule = %(rule)s AND state <> 'resolved' AND cleared_at IS NULL)
ORDER BY told.source
LIMIT %(limit)s

-- name: quiet
SELECT source FROM alert
WHERE rule = %(rule)s AND source LIKE 'agent:%%' AND state <> 'resolved' AND cleared_at IS NULL AND opened_at <= %(since)s
  AND NOT EXISTS (SELECT FROM rejected_message bad
                  WHERE bad.site = split_part(substr(alert.source, 7), '/', 1) AND bad.agent = split_part(alert.source, '/', 2)
                    AND bad.received_at > %(since)s)
ORDER BY source
