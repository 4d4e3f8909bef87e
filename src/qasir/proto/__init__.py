"""The gRPC contract: `v1/retrieval.proto`, and the code that `make proto` generates from it."""
