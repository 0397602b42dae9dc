"""What loops carry and return without need goes: results that nothing uses, and the operands that only these used.

Differentiation makes loops that return more than is asked for: the value beside the gradient, carries of every step.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gradwire_engine.builder import GraphBuilder
from gradwire_engine.graph import Graph, Node
from gradwire_engine.op import op_of
from gradwire_engine.ops.control.bodies import needed_inputs, rearranged, used_values
from gradwire_engine.ops.control.operands import Group, Groups, emit, groups_of, with_recorded
from gradwire_engine.passes.rewrite import absent, rewrite
from gradwire_engine.value import Value


def prune(graph: Graph) -> Graph:
    """`graph` with its loops and branches cut down to what is used of them."""
    if not any(node.subgraphs for node in graph.nodes):
        return graph
    used = used_values(graph, range(len(graph.outputs)))

    def rule(builder: GraphBuilder, first: int, node: Node, operands: list[Value]) -> Sequence[Value] | None:
        if not node.subgraphs or not op_of(node).control.prunable(node.attributes):
            return None
        return _pruned(builder, node, operands, [k for k in range(len(node.results)) if used[first + k]])

    return rewrite(graph, rule, used=used)


def _pruned(
    builder: GraphBuilder, node: Node, operands: Sequence[Value], wanted: Collection[int]
) -> list[Value] | None:
    """The results of the node without what its `wanted` results do not need; None if they need everything."""
    groups = groups_of(node)
    results, kept = _closure(node, groups, wanted)
    if groups.row_axes and kept.issubset(groups.shared):
        return None  # some operand must go on telling the rows
    if len(kept) == len(node.operands) and sum([len(members) for members in results.values()]) == len(node.results):
        return None
    graphs = [
        rearranged(
            builder,
            graph,
            [n for n, operand in enumerate(groups.operands_of(g)) if operand in kept],
            _outputs(groups, g, results),
        )
        for g, graph in enumerate(node.subgraphs)
    ]
    carries = sorted(results.get("carries", ()))
    recorded = [carries.index(groups.recorded[k]) for k in sorted(results.get("recorded", ()))]
    by_name = emit(
        builder,
        node.op,
        with_recorded(node.attributes, recorded, counted=bool(results.get("count"))),
        {name: groups.pick(operands, [i for i in members if i in kept]) for name, members in groups.operands.items()},
        graphs,
        [over_rows for k, over_rows in enumerate(groups.over_rows) if k in results["sums"]],
    )
    values = [absent(builder, type) for type in node.results]
    for name, members in results.items():
        for k, value in zip(sorted(members), by_name[name], strict=True):
            values[groups.results[name][k]] = value
    return values


def _closure(node: Node, groups: Groups, wanted: Collection[int]) -> tuple[dict[Group, set[int]], set[int]]:
    """The results that must stay, as members of their groups, and the operands that these need.

    A carry stays if anything that stays needs it in any step, or says what it was.
    """
    results = {name: {k for k, j in enumerate(places) if j in wanted} for name, places in groups.results.items()}
    if results.get("recorded"):
        results["carries"] |= {groups.recorded[k] for k in results["recorded"]}
        results["count"] = set(range(len(groups.results["count"])))
    carries = groups.operands.get("carries", range(0))
    stay = results.get("carries", set())
    operands_of = [groups.operands_of(g) for g in range(len(node.subgraphs))]
    direct = set(range(len(node.operands))).difference(*operands_of)
    while True:
        kept = direct | {carries[k] for k in stay}
        for g, graph in enumerate(node.subgraphs):
            kept |= {operands_of[g][n] for n in needed_inputs(graph, _outputs(groups, g, results))}
        needed = {k for k, i in enumerate(carries) if i in kept}
        if needed <= stay:
            return results, kept
        stay |= needed


def _outputs(groups: Groups, g: int, results: dict[Group, set[int]]) -> list[int]:
    """The outputs of a graph that become these results, or that become none and say how to go on."""
    outputs: list[int] = []
    for name, members in groups.outputs[g].items():
        outputs += [members[k] for k in sorted(results[name])] if name in results else members
    return outputs
