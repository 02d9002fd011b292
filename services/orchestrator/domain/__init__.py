"""What the orchestrator thinks, without any input or output.

`situation` is what it sees, `decision` what the rules make of it, `adjustment` what memory would change and the gate
that lets it, `action` what is to be done, `episode` what is remembered, `outlook` trends and risk.
"""
