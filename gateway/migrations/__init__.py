"""The history of the schema, applied at start by `gateway.store.migrate`."""
