"""The generated client of DSM, the Digital Scrum Master: messages and gRPC stubs."""
