-- Facts that were set aside, until a person takes them in again or dismisses them.

-- name: list
SELECT fact.id, fact.site, fact.agent, fact.boot, fact.seq, fact.item, fact.reason, fact.set_aside_at,
       octet_length(fact.payload) AS size, fact.settled_at, fact.settled_by, fact.settlement, fact.shift_s, fact.settled_reason
FROM set_aside_fact fact
WHERE (%(site)s::text IS NULL OR fact.site = %(site)s) AND (%(agent)s::text IS NULL OR fact.agent = %(agent)s)
  AND (%(settled)s OR fact.settled_at IS NULL)
ORDER BY fact.id DESC
LIMIT %(limit)s

-- name: waiting
-- Locked, so that of two people who take the same facts in only one does.
SELECT id, site, agent, boot, seq, item, topic, payload FROM set_aside_fact
WHERE settled_at IS NULL AND (%(ids)s::int8[] IS NULL OR id = ANY(%(ids)s))
  AND (%(site)s::text IS NULL OR site = %(site)s) AND (%(agent)s::text IS NULL OR agent = %(agent)s)
ORDER BY id
LIMIT %(limit)s
FOR UPDATE

-- name: settle
WITH freed AS (
    SELECT site, agent, count(*) AS facts, sum(octet_length(payload)) AS bytes FROM set_aside_fact WHERE id = ANY(%(ids)s)
    GROUP BY site, agent
), settled AS (
    UPDATE set_aside_fact SET payload = '', settled_at = %(now)s, settled_by = %(by)s, settlement = %(settlement)s,
                              shift_s = %(shift_s)s, settled_reason = %(reason)s
    WHERE id = ANY(%(ids)s)
)
UPDATE set_aside_size size SET facts = size.facts - freed.facts, bytes = size.bytes - freed.bytes
FROM freed WHERE (size.site, size.agent) = (freed.site, freed.agent)
RETURNING size.site, size.agent, size.bytes

-- name: forget_passages
-- A passage whose rule failed is on record already, at the time it was told of.
DELETE FROM passage USING unnest(%(sites)s::text[], %(agents)s::text[], %(boots)s::text[], %(seqs)s::int8[], %(items)s::int4[])
                    AS fact (site, agent, boot, seq, item)
WHERE (passage.site, passage.agent, passage.boot, passage.seq, passage.item) = (fact.site, fact.agent, fact.boot, fact.seq, fact.item)

-- name: forget_scans
DELETE FROM barcode_scan USING unnest(%(sites)s::text[], %(agents)s::text[], %(boots)s::text[], %(seqs)s::int8[], %(items)s::int4[])
                         AS fact (site, agent, boot, seq, item)
WHERE (barcode_scan.site, barcode_scan.agent, barcode_scan.boot, barcode_scan.seq, barcode_scan.item)
      = (fact.site, fact.agent, fact.boot, fact.seq, fact.item)

-- name: clock_skew
SELECT clock_skew_s FROM agent WHERE site = %(site)s AND agent = %(agent)s
