"""What a call meets on its way in: admission, validation, the gate; and watching, probes."""
