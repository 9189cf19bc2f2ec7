"""Who may do what: users, tokens, and what callers without a name may do. Source: design, section 4."""
