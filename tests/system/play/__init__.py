"""Random plays: clients that send what people might send, all at once, and the order that must be left behind."""
