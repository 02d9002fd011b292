"""The generated code of protovalidate's options, which DSM's messages carry."""
