-- What leaves for people who look at no screen.

-- name: begin
-- Asked for first: a conflict with a row that another hub has locked would wait for it.
INSERT INTO outgoing_reader (reader, place)
SELECT %(reader)s, 0 WHERE NOT EXISTS (SELECT 1 FROM outgoing_reader WHERE reader = %(reader)s)
ON CONFLICT DO NOTHING

-- name: lock_reader
SELECT place FROM outgoing_reader WHERE reader = %(reader)s FOR UPDATE SKIP LOCKED

-- name: note
-- One statement, so that what is noted and how far the reader came are of one view of the table.
WITH unread AS (
    SELECT place, id, kind FROM outgoing WHERE place > %(place)s ORDER BY place LIMIT %(limit)s
), noted AS (
    INSERT INTO notification (outgoing, channel) SELECT id, %(channel)s FROM unread WHERE kind = 'alert' ON CONFLICT DO NOTHING
)
UPDATE outgoing_reader SET place = furthest.place
FROM (SELECT max(place) AS place FROM unread) AS furthest
WHERE outgoing_reader.reader = %(reader)s AND furthest.place IS NOT NULL

-- name: due
SELECT notification.outgoing, alert.id AS alert, outgoing.payload ->> 'change' AS change, alert.kind,
       outgoing.payload ->> 'severity' AS severity, alert.source, alert.rule, alert.site, alert.location, outgoing.at,
       notification.attempts
FROM notification
JOIN outgoing ON outgoing.id = notification.outgoing
JOIN alert ON alert.id = CASE WHEN outgoing.kind = 'alert' THEN outgoing.subject::bigint END
WHERE notification.channel = %(channel)s AND notification.sent_at IS NULL AND notification.attempts < %(attempts)s
ORDER BY notification.outgoing
LIMIT %(limit)s

-- name: sent
UPDATE notification SET sent_at = %(now)s, attempts = attempts + 1, last_error = NULL
WHERE outgoing = %(outgoing)s AND channel = %(channel)s

-- name: failed
UPDATE notification SET attempts = attempts + 1, last_error = %(error)s WHERE outgoing = %(outgoing)s AND channel = %(channel)s
