"""Ops that refer to graphs: call, checkpoint, cond, scan, while.

The graphs describe one example. Under a batch the op keeps them, and applies them to every row apart (`rows`): a row
runs only the branch that it takes and the steps that it needs, so what another row does cannot hurt it. Differentiation
makes a node of the same kind that moves values and tangents; `linearize` divides that in two, and what the linear half
needs of the values it computes again from what every step began with: reverse mode keeps the carries of a loop, never
its intermediates.
"""
