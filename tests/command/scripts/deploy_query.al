# A node that only asks.
on error ignore
query_started = true
