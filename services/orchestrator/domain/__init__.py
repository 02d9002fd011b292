"""What the orchestrator thinks, without any input or output.

`situation` is what it sees, `decision` what the rules make of it, `strategy` what was learned about such situations,
`evidence` all that speaks for another decision, `pace` what a team gets done, `case` both for one decision,
`proposal` what follows from it, `adjustment` a change and the gate that lets it, `effect` how a figure changes,
`action` what is to be done, `episode` what is remembered, `outlook` the risk.
"""
