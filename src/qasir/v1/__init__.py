"""The gRPC contract: `retrieval.proto`, and the code that `make proto` generates from it."""
