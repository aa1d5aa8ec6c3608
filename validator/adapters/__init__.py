"""What speaks to the outside: identity providers, stores, the system clock. Each stands behind a port."""
