"""Writes the recording: ``python -m tests.recorded.record`` adds the cases that are not in it yet.

What is recorded stays, so that a change shows. Where what users see is meant to change, ``--again NAME …`` records
cases of these names anew, and ``--again names`` the public names; ``--drop`` drops cases that are gone. Two services
must answer alike, else a case depends on more than its requests, and is refused.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

from tests.recorded import names
from tests.recorded.cases import Case, outcome
from tests.recorded.exchanges import Exchange, Sent, answer_differences, fingerprint, from_json, to_json
from tests.recorded.programs import CASES
from tests.recorded.relay import Live, Relay, relay, service
from tests.recorded.requests import CASES as REQUESTS

EXCHANGES: Final = Path(__file__).with_name("exchanges.json")
NAMES: Final = Path(__file__).with_name("names.json")


def read(path: Path) -> dict[str, Any]:
    """A recording; an empty one where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write(path: Path, content: dict[str, Any]) -> None:
    """A recording as JSON, one fact a line."""
    path.write_text(json.dumps(content, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")


def recorded(case: Case, live: Live, through: Relay) -> dict[str, Any]:
    """A case as it is now."""
    if case.program is None:
        return to_json([Exchange(sent, live.answer(sent)) for sent in case.requests])
    through.connect(live)
    told = outcome(case, through.address)
    passed = sorted(through.passed, key=lambda one: one.sent.requests) if case.any_order else through.passed
    return {**to_json(passed), "outcome": told}


def served_names(live: Live, http: str) -> dict[str, Any]:
    """All public names, and what is served over HTTP."""
    for sent in samples():
        live.answer(sent)
    return {
        **names.of_the_sdk(),
        "gradwire.wire": names.of_the_codec(),
        "gradwire.v1": names.of_the_contract(),
        "metrics": names.of_the_metrics(names.fetched(http, "/metrics")[2]),
        "pages": names.of_the_pages(http),
    }


def samples() -> list[Sent]:
    """One call of each method, and one that is refused: after them every metric has all its labels."""
    by_name = {case.name: case.requests for case in REQUESTS}
    chosen = ("evaluate: one example", "misfit: inputs that do not fit", "register: signature and cost")
    chosen += ("explain: forward", "stream: nothing", "server: health", "server: reflection")
    return [Sent("GetServerInfo", (b"",)), *[by_name[name][0] for name in chosen]]


def main() -> None:
    """Add to the recording."""
    parser = argparse.ArgumentParser(prog="python -m tests.recorded.record", description=__doc__)
    parser.add_argument("--again", nargs="+", default=[], metavar="NAME", help="record these anew")
    parser.add_argument("--drop", action="store_true", help="drop cases that are gone")
    options = parser.parse_args()
    exchanges, all_names = read(EXCHANGES), read(NAMES)
    machines, kept = exchanges.get("machines", []), exchanges.get("cases", {})
    machine = fingerprint()
    with service("127.0.0.1:0") as (target, http), service() as (other_target, _), relay() as through:
        live, other = Live(target), Live(other_target)
        found = {}
        for name, case in CASES.items():
            if name in kept and name not in options.again:
                found[name] = kept[name]
                continue
            found[name] = recorded(case, live, through)
            if machine not in machines:
                machines.append(machine)
            if machines.index(machine):
                found[name]["machine"] = machines.index(machine)
            for one in from_json(found[name]):
                if answer_differences(one.sent.method, one.answer, other.answer(one.sent), exact=True):
                    raise SystemExit(f"{name}: another service answers otherwise")
        if not all_names or "names" in options.again:
            all_names = served_names(live, http)
        live.close()
        other.close()
    if not options.drop:
        found |= {name: case for name, case in kept.items() if name not in found}
    write(EXCHANGES, {"machines": machines, "cases": found})
    write(NAMES, all_names)
    calls = sum(len(case["calls"]) for case in found.values())
    sys.stdout.write(f"{len(found)} cases ({len(found) - len(kept)} of them new), {calls} calls\n")


if __name__ == "__main__":
    main()
