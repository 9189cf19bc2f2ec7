"""SQL: parse, plan, run, merge."""
