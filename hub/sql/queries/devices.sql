-- Agents and devices as their own messages describe them.

-- name: touch_agents
-- The sign of life of every batch; cheap, because nothing else of the row changes.
INSERT INTO agent (site, agent, boot, last_batch_at, clock_skew_s)
SELECT site, agent, boot, %(now)s, clock_skew_s
FROM unnest(%(sites)s::text[], %(agents)s::text[], %(boots)s::text[], %(skews)s::float8[]) AS heard (site, agent, boot, clock_skew_s)
ORDER BY site, agent
ON CONFLICT (site, agent) DO UPDATE
SET boot = excluded.boot, last_batch_at = excluded.last_batch_at, clock_skew_s = excluded.clock_skew_s

-- name: add_agents
INSERT INTO agent (site, agent)
SELECT site, agent FROM unnest(%(sites)s::text[], %(agents)s::text[]) AS told (site, agent)
ORDER BY site, agent
ON CONFLICT DO NOTHING

-- name: lock_agents
-- What stands, locked, so that of two hubs with the same news only one finds it new.
SELECT site, agent, online, status_at
FROM agent JOIN unnest(%(sites)s::text[], %(agents)s::text[]) AS told (site, agent) USING (site, agent)
ORDER BY site, agent
FOR NO KEY UPDATE OF agent

-- name: agent_statuses
UPDATE agent SET online = told.online, status_at = told.status_at, boot = told.boot, version = told.version,
                 outbox_batches = told.outbox_batches, outbox_bytes = told.outbox_bytes,
                 health = coalesce(told.health, agent.health), clock_skew_s = coalesce(told.clock_skew_s, agent.clock_skew_s)
FROM unnest(%(sites)s::text[], %(agents)s::text[], %(onlines)s::boolean[], %(status_ats)s::timestamptz[], %(boots)s::text[],
            %(versions)s::text[], %(outboxes)s::bigint[], %(outbox_bytes)s::bigint[], %(healths)s::jsonb[], %(skews)s::float8[])
     AS told (site, agent, online, status_at, boot, version, outbox_batches, outbox_bytes, health, clock_skew_s)
WHERE (agent.site, agent.agent) = (told.site, told.agent)

-- name: lock_devices
SELECT device, state, state_at FROM device WHERE site = %(site)s AND device = ANY(%(devices)s) ORDER BY device FOR NO KEY UPDATE

-- name: add_devices
INSERT INTO device (site, device)
SELECT %(site)s, device FROM unnest(%(devices)s::text[]) AS told (device) ORDER BY device
ON CONFLICT DO NOTHING
RETURNING device

-- name: device_statuses
UPDATE device SET state = told.state, state_at = told.at, detail = told.detail, counts = told.counts
FROM unnest(%(devices)s::text[], %(states)s::text[], %(ats)s::timestamptz[], %(details)s::text[], %(counts)s::jsonb[])
     AS told (device, state, at, detail, counts)
WHERE device.site = %(site)s AND device.device = told.device
