-- Events that leave the hub.

-- name: emit
INSERT INTO outgoing (kind, subject, site, payload, at) VALUES (%(kind)s, %(subject)s, %(site)s, %(payload)s, %(at)s)

-- name: wake
NOTIFY qm_outgoing

-- name: after
SELECT place, id, kind, subject, site, payload, at FROM outgoing
WHERE place > %(place)s
ORDER BY place
LIMIT %(limit)s

-- name: newest
SELECT max(place) FROM outgoing

-- name: listen
LISTEN qm_outgoing

-- name: stop_listening
UNLISTEN qm_outgoing
