"""PostgreSQL, and what speaks its protocol. Needs psycopg (extra ``postgres``); imported at the first use."""
