"""Ops that refer to graphs: call, checkpoint, cond, scan, while; replay, into which scans are made; and barrier.

The graphs describe one example. Under a batch the op keeps them, and applies them to every row apart (`rows`): a row
runs only the branch that it takes and the steps that it needs, so what another row does cannot hurt it. Differentiation
makes a node of the same kind that moves values and tangents (`push`); `linearize` divides that in two (`halves`), and
what the linear half needs of the values it computes again from what every step began with: reverse mode (`backward`)
keeps the carries of a loop, never its intermediates.

These rules are written once, for groups of operands (`operands`). What is an op's own stands in its file: types, and
the record with what passes and plans ask about it. A new op is a family of attributes, a signature and such a file.
"""
