-- What must never be found, one statement for each check; every row's id is something that breaks the promise.
-- A header names the promise of the product and what is wrong. Statements run unchanged on SQLite and PostgreSQL.

-- promise 1: an invoice was paid more than once, and the surplus is neither credited nor shown
SELECT 'inv_' || CAST(p.invoice_id AS VARCHAR(20)) AS id FROM posting p
WHERE p.account = 'receivable' AND p.invoice_id IS NOT NULL
GROUP BY p.invoice_id, p.currency HAVING SUM(p.amount_minor) < 0;

-- promise 1: money beyond what was owed waits to be given back, and nobody is asked to
SELECT 'att_' || CAST(a.id AS VARCHAR(20)) AS id FROM posting p JOIN attempt a ON a.id = p.attempt_id
WHERE p.account = 'customer_credit' AND NOT EXISTS (SELECT 1 FROM task WHERE task.state = 'open' AND task.subject = 'att_' || CAST(a.id AS VARCHAR(20)))
AND NOT EXISTS (SELECT 1 FROM task WHERE task.subject LIKE 'att_' || CAST(a.id AS VARCHAR(20)) || '/%')
GROUP BY a.id HAVING SUM(p.amount_minor) < 0;

-- promise 1: an attempt is open without the right to collect
SELECT 'att_' || CAST(a.id AS VARCHAR(20)) AS id FROM attempt a WHERE a.state IN ('created', 'sent', 'pending', 'unknown')
AND NOT EXISTS (SELECT 1 FROM charge_right r WHERE r.attempt_id = a.id);

-- promise 1: an attempt that is over still holds the right to collect
SELECT 'att_' || CAST(a.id AS VARCHAR(20)) AS id FROM charge_right r JOIN attempt a ON a.id = r.attempt_id
WHERE a.state NOT IN ('created', 'sent', 'pending', 'unknown');

-- promise 2: a subscription has a gap among its invoiced periods, or its next period is not the one after them
SELECT 'sub_' || CAST(s.id AS VARCHAR(20)) AS id FROM subscription s
JOIN (SELECT subscription_id, COUNT(*) AS n, MIN(period_number) AS low, MAX(period_number) AS high
      FROM invoice WHERE kind = 'period' AND subscription_id IS NOT NULL GROUP BY subscription_id) i
ON i.subscription_id = s.id
WHERE s.next_period <= i.high OR i.high - i.low + 1 - i.n > s.skipped_periods;

-- promise 2: a period was due on the day of the last finished run, and was neither invoiced nor set aside
SELECT 'sub_' || CAST(s.id AS VARCHAR(20)) AS id FROM subscription s
JOIN (SELECT merchant_id, MAX(on_day) AS on_day, MAX(id) AS run_id FROM run WHERE state = 'finished'
      GROUP BY merchant_id) r ON r.merchant_id = s.merchant_id
WHERE s.next_due_on < r.on_day
AND NOT EXISTS (SELECT 1 FROM decision d WHERE d.subscription_id = s.id AND d.run_id = r.run_id);

-- promise 3: an attempt is in doubt, will not be asked about, and nobody is told
SELECT 'att_' || CAST(a.id AS VARCHAR(20)) AS id FROM attempt a
WHERE ((a.state IN ('pending', 'unknown') AND a.ask_at IS NULL)
       OR (a.state = 'sent' AND a.lease_until IS NULL)) AND NOT EXISTS (SELECT 1 FROM task WHERE task.state = 'open' AND task.subject = 'att_' || CAST(a.id AS VARCHAR(20)));

-- promise 3: an attempt should have been asked about an hour ago
SELECT 'att_' || CAST(a.id AS VARCHAR(20)) AS id FROM attempt a
WHERE a.state IN ('sent', 'pending', 'unknown')
AND COALESCE(a.ask_at, a.lease_until) < :hour_ago;

-- promise 3: a refund, capture or reversal is in doubt or overdue by an hour, and nobody is told
SELECT 'op_' || CAST(o.id AS VARCHAR(20)) AS id FROM operation o
WHERE ((o.state IN ('sent', 'pending', 'unknown') AND o.ask_at IS NULL)
       OR (o.state IN ('created', 'sent', 'pending', 'unknown') AND o.ask_at < :hour_ago))
AND NOT EXISTS (SELECT 1 FROM task WHERE task.state = 'open' AND task.subject = 'op_' || CAST(o.id AS VARCHAR(20)));

-- promise 3: a notification was stored an hour ago and not settled
SELECT 'not_' || CAST(n.id AS VARCHAR(20)) AS id FROM notification n
WHERE n.state = 'received' AND n.received_at < :hour_ago;

-- promise 4: a mail should have left an hour ago
SELECT 'msg_' || CAST(m.id AS VARCHAR(20)) AS id FROM message m
WHERE m.state = 'queued' AND m.next_try_at < :hour_ago;

-- promise 4: a decline, or a receipt, was never written to its customer
SELECT 'att_' || CAST(a.id AS VARCHAR(20)) AS id FROM attempt a
JOIN allocation l ON l.attempt_id = a.id AND l.invoice_id IS NOT NULL
JOIN invoice i ON i.id = l.invoice_id
WHERE ((a.state = 'declined' AND a.initiator = 'merchant' AND i.state = 'open')
       OR (a.state = 'approved' AND i.state = 'paid'))
AND NOT EXISTS (SELECT 1 FROM message m WHERE m.cause = 'att_' || CAST(a.id AS VARCHAR(20)))
AND NOT EXISTS (SELECT 1 FROM task t WHERE t.subject = 'att_' || CAST(a.id AS VARCHAR(20)));

-- promise 4: a mail failed for good, and nobody is told
SELECT 'msg_' || CAST(m.id AS VARCHAR(20)) AS id FROM message m WHERE m.state = 'failed'
AND NOT EXISTS (SELECT 1 FROM task WHERE task.subject = 'msg_' || CAST(m.id AS VARCHAR(20)));

-- promise 5: a verification owes a reversal that nobody will make
SELECT 'ver_' || CAST(v.id AS VARCHAR(20)) AS id FROM verification v
JOIN allocation l ON l.verification_id = v.id JOIN attempt a ON a.id = l.attempt_id AND a.state = 'approved'
WHERE v.state = 'authorised'
AND NOT EXISTS (SELECT 1 FROM operation o WHERE o.attempt_id = a.id AND o.state IN ('created', 'sent', 'pending', 'unknown'))
AND NOT EXISTS (SELECT 1 FROM task JOIN operation o ON task.subject = 'op_' || CAST(o.id AS VARCHAR(20))
                WHERE o.attempt_id = a.id AND task.state = 'open');

-- promise 5: a verification has owed its reversal for a day
SELECT 'ver_' || CAST(v.id AS VARCHAR(20)) AS id FROM verification v
JOIN operation o ON o.attempt_id IN (SELECT attempt_id FROM allocation WHERE verification_id = v.id)
WHERE v.state = 'authorised' AND o.state IN ('created', 'sent', 'pending', 'unknown')
AND o.ask_at < :day_ago;

-- promise 6: a series has given out more or fewer numbers than there are invoices
SELECT 'series ' || s.prefix AS id FROM number_series s WHERE s.next_value - 1 <>
(SELECT COUNT(*) FROM invoice i WHERE i.merchant_id = s.merchant_id AND i.number LIKE s.prefix || '%');

-- promise 7: a group of postings does not add up to nothing
SELECT p.group_key AS id FROM posting p GROUP BY p.group_key, p.currency HAVING SUM(p.amount_minor) <> 0;

-- promise 7: what a customer owes by the ledger is not what their open invoices say
SELECT 'cus_' || CAST(c.customer_id AS VARCHAR(20)) AS id FROM (
  SELECT customer_id, currency, SUM(amount_minor) AS minor FROM posting WHERE account = 'receivable'
  GROUP BY customer_id, currency) c
LEFT JOIN (SELECT customer_id, currency, SUM(total_minor) AS minor FROM invoice
           WHERE state IN ('open', 'uncollectible') GROUP BY customer_id, currency) o
ON o.customer_id = c.customer_id AND o.currency = c.currency
WHERE c.minor <> COALESCE(o.minor, 0);

-- promise 7: an invoice is not in the ledger
SELECT 'inv_' || CAST(i.id AS VARCHAR(20)) AS id FROM invoice i
WHERE NOT EXISTS (SELECT 1 FROM posting p WHERE p.invoice_id = i.id AND p.account = 'receivable');

-- promise 7: a posting without an invoice is nobody's
SELECT p.group_key AS id FROM posting p LEFT JOIN customer c ON c.id = p.customer_id AND c.merchant_id = p.merchant_id
WHERE p.invoice_id IS NULL AND c.id IS NULL;

-- promise 8: credentials or a profile are not sealed
SELECT 'acc_' || CAST(id AS VARCHAR(20)) AS id FROM gateway_account WHERE sealed_credentials LIKE '{%'
UNION ALL SELECT 'pro_' || CAST(id AS VARCHAR(20)) AS id FROM profile WHERE LENGTH(sealed_reference) < 40;

-- promise 8: what opens or repeats a payment is not sealed
SELECT 'att_' || CAST(attempt_id AS VARCHAR(20)) AS id FROM checkout
WHERE sealed_url LIKE 'http%' OR sealed_url LIKE '{%' OR sealed_fields LIKE '{%';

-- promise 9: a profile is stored for another customer than the one who allowed it
SELECT 'pro_' || CAST(p.id AS VARCHAR(20)) AS id FROM profile p JOIN mandate m ON m.profile_id = p.id
WHERE p.customer_id <> m.customer_id;

-- promise 9: one thing has two live pay-links
SELECT MAX('lnk_' || CAST(id AS VARCHAR(20))) AS id FROM pay_link WHERE superseded_at IS NULL
GROUP BY invoice_id, verification_id HAVING COUNT(*) > 1;

-- promise 9: a pay-link belongs to another customer than what it opens
SELECT 'lnk_' || CAST(l.id AS VARCHAR(20)) AS id FROM pay_link l
LEFT JOIN invoice i ON i.id = l.invoice_id LEFT JOIN verification v ON v.id = l.verification_id
WHERE l.customer_id <> COALESCE(i.customer_id, v.customer_id);

-- promise 10: an open invoice has neither an open attempt, nor a next step, nor a task for a person
SELECT 'inv_' || CAST(i.id AS VARCHAR(20)) AS id FROM invoice i
WHERE i.state = 'open' AND i.next_step IS NULL AND NOT EXISTS (SELECT 1 FROM task WHERE task.state = 'open' AND task.subject = 'inv_' || CAST(i.id AS VARCHAR(20)))
AND NOT EXISTS (SELECT 1 FROM charge_right r WHERE r.owed_kind = 'invoice' AND r.owed_id = i.id);

-- promise 10: a customer allowed us to keep a card or account a day ago, and nobody knows of one nor is told
SELECT 'att_' || CAST(a.id AS VARCHAR(20)) AS id FROM mandate m JOIN attempt a ON a.id = m.attempt_id
WHERE a.state = 'approved' AND m.profile_id IS NULL AND a.sent_at < :day_ago
AND NOT EXISTS (SELECT 1 FROM task WHERE task.kind = 'profile'
                AND task.subject IN ('att_' || CAST(a.id AS VARCHAR(20)), 'cus_' || CAST(a.customer_id AS VARCHAR(20))));

-- promise 10: a subscription set aside by a run waits for nobody
SELECT 'sub_' || CAST(d.subscription_id AS VARCHAR(20)) AS id FROM decision d
WHERE NOT EXISTS (SELECT 1 FROM task WHERE task.subject = 'sub_' || CAST(d.subscription_id AS VARCHAR(20)));

-- promise 10: an event was not queued for delivery to anybody
SELECT v.uid AS id FROM event v WHERE NOT EXISTS (SELECT 1 FROM webhook_delivery d WHERE d.event_id = v.id);

-- promise 10: an event should have been told an hour ago, and nobody is at it
SELECT v.uid AS id FROM webhook_delivery d JOIN event v ON v.id = d.event_id
JOIN webhook_endpoint e ON e.id = d.endpoint_id AND e.state = 'enabled'
WHERE d.state = 'queued' AND d.next_try_at < :hour_ago AND (e.rest_until IS NULL OR e.rest_until < :hour_ago);

-- promise 10: an event was given up, and nobody was told
SELECT v.uid AS id FROM webhook_delivery d JOIN event v ON v.id = d.event_id
WHERE d.state = 'failed' AND NOT EXISTS (SELECT 1 FROM task WHERE task.kind = 'webhook_event' AND task.subject = v.uid);

-- promise 10: an endpoint took nothing for days, and nobody is told
SELECT 'hook_' || CAST(e.id AS VARCHAR(20)) AS id FROM webhook_endpoint e
WHERE (e.state = 'failed' OR (e.state = 'enabled' AND e.failing_since < :week_ago))
AND NOT EXISTS (SELECT 1 FROM task WHERE task.state = 'open' AND task.subject = 'hook_' || CAST(e.id AS VARCHAR(20)));

-- promise 8: a secret that events are signed with is not sealed
SELECT 'hook_' || CAST(id AS VARCHAR(20)) AS id FROM webhook_endpoint
WHERE sealed_secret LIKE 'whsec%' OR sealed_old_secret LIKE 'whsec%';

-- promise 11: a customer was mailed about a charge that the gateway refused because of us
SELECT 'msg_' || CAST(m.id AS VARCHAR(20)) AS id FROM message m
JOIN attempt a ON m.cause = 'att_' || CAST(a.id AS VARCHAR(20))
WHERE a.state IN ('refused', 'not_sent') AND m.step = 'declined';

-- promise 11: a gateway account is stopped, and nobody is told
SELECT 'acc_' || CAST(a.id AS VARCHAR(20)) AS id FROM gateway_account a
WHERE a.state = 'stopped' AND NOT EXISTS (SELECT 1 FROM task WHERE task.state = 'open' AND task.subject = 'acc_' || CAST(a.id AS VARCHAR(20)));
