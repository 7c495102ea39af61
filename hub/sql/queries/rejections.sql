-- Messages and facts that could not be taken.

-- name: add
INSERT INTO rejected_message (topic, payload, size, sha256, reason, site, agent, boot, seq, received_at)
SELECT topic, payload, size, sha256, reason, site, agent, boot, seq, %(now)s
FROM unnest(%(topics)s::text[], %(payloads)s::bytea[], %(sizes)s::int8[], %(hashes)s::bytea[], %(reasons)s::text[], %(sites)s::text[],
            %(agents)s::text[], %(boots)s::text[], %(seqs)s::int8[])
     AS bad (topic, payload, size, sha256, reason, site, agent, boot, seq)
RETURNING id

-- name: trim
-- The newest of each sender stay, as many as fit both bounds; what has no known sender counts as of one. Null senders: all of them.
DELETE FROM rejected_message WHERE id IN (
    SELECT id FROM (
        SELECT id, row_number() OVER newest AS place, sum(octet_length(payload)) OVER newest AS bytes
        FROM rejected_message
        WHERE %(sites)s::text[] IS NULL
           OR (coalesce(site, ''), coalesce(agent, '')) IN (SELECT * FROM unnest(%(sites)s::text[], %(agents)s::text[]))
        WINDOW newest AS (PARTITION BY coalesce(site, ''), coalesce(agent, '') ORDER BY id DESC)) AS ranked
    WHERE place > %(kept)s OR bytes > %(kept_bytes)s)

-- name: set_aside
INSERT INTO set_aside_fact (site, agent, boot, seq, item, topic, payload, reason, set_aside_at)
SELECT site, agent, boot, seq, item, topic, payload, reason, %(now)s
FROM unnest(%(sites)s::text[], %(agents)s::text[], %(boots)s::text[], %(seqs)s::int8[], %(items)s::int4[], %(topics)s::text[],
            %(payloads)s::bytea[], %(reasons)s::text[]) AS fact (site, agent, boot, seq, item, topic, payload, reason)
RETURNING id

-- name: grow
INSERT INTO set_aside_size AS size (site, agent, facts, bytes)
SELECT site, agent, count(*), sum(bytes) FROM unnest(%(sites)s::text[], %(agents)s::text[], %(bytes)s::int8[]) AS fact (site, agent, bytes)
GROUP BY site, agent ORDER BY site, agent
ON CONFLICT (site, agent) DO UPDATE SET facts = size.facts + excluded.facts, bytes = size.bytes + excluded.bytes
RETURNING site, agent, bytes

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
                  WHERE coalesce(bad.site, '') = split_part(substr(alert.source, 7), '/', 1)
                    AND coalesce(bad.agent, '') = split_part(alert.source, '/', 2) AND bad.received_at > %(since)s)
  AND NOT EXISTS (SELECT FROM set_aside_fact fact
                  WHERE fact.site = split_part(substr(alert.source, 7), '/', 1) AND fact.agent = split_part(alert.source, '/', 2)
                    AND fact.settled_at IS NULL AND fact.set_aside_at > %(since)s)
ORDER BY source
