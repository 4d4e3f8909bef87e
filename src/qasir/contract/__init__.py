"""Request and answer types, once, for service, clients, CLI and BentoML.

Times are ISO 8601 in UTC, durations in seconds. `qasir/v1/retrieval.proto` has the same messages;
`convert` translates between the two.
"""
