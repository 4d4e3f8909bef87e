"""The service over gRPC: the answers of the HTTP routes in the messages of retrieval.proto."""
