"""The HTTP contract as pydantic models; times are ISO 8601 in UTC, durations in seconds."""
