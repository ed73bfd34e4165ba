"""Checks names that point at something else in the files: channels, rules, environments.

Works on the files as written, so that a wrong key elsewhere does not hide a wrong name here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from monitor.config.errors import ConfigError, Step, quote, suggest
from monitor.config.sources import ENVIRONMENTS, RULES, SLA, Block, Sources
from monitor.config.tree import Mapping, Node, Scalar, Sequence, child, follow, text_of
from monitor.model import Priority

CHANNELS, DEPLOYMENTS, ALERTS = "channels", "deployments", "alerts"
BLIND_CHANNELS = "blind_channels"
ROUTE, ROUTES, ESCALATION = "route", "routes", "escalation"
BURN_ALERTS, PAGE, TICKET = "burn_alerts", "page", "ticket"


def check_references(sources: Sources) -> Iterator[ConfigError]:
    """Yield an error for every name that is unknown or taken already."""
    root = Block(document=sources.root)
    channels = _keys(child(root.node, CHANNELS))
    yield from _unknown(root, ("fallback",), channels, "channel")
    for each, _ in enumerate(_items(child(root.node, BLIND_CHANNELS))):
        yield from _unknown(root, (BLIND_CHANNELS, each), channels, "channel")
    yield from _repeated(root, (BLIND_CHANNELS,))
    yield from _burn_channels(root, (BURN_ALERTS,), channels)
    for place in _channel_lists(root):
        for each, _ in enumerate(_items(follow(root.node, *place))):
            yield from _unknown(root, (*place, each), channels, "channel")
        yield from _repeated(root, place)
    for block in sources.blocks.get(RULES, ()):
        for index, rule in enumerate(_items(child(block.node, ALERTS))):
            for each, _ in enumerate(_items(child(rule, CHANNELS))):
                steps: tuple[Step, ...] = (ALERTS, index, CHANNELS, each)
                yield from _unknown(block, steps, channels, "channel")
            yield from _repeated(block, (ALERTS, index, CHANNELS))
    yield from _rule_names(sources)
    yield from _environment_names(sources)
    yield from _names_in_deployments(sources, root)


def _channel_lists(root: Block) -> Iterator[tuple[Step, ...]]:
    """Yield the places where routes and escalations name channels."""
    yield from _of_route(root, (ROUTE,))
    for priority in Priority:
        steps: tuple[Step, ...] = (ESCALATION, priority.value)
        for each, _ in enumerate(_items(follow(root.node, *steps))):
            yield (*steps, each, CHANNELS)


def _of_route(root: Block, steps: tuple[Step, ...]) -> Iterator[tuple[Step, ...]]:
    yield (*steps, CHANNELS)
    for each, _ in enumerate(_items(follow(root.node, *steps, ROUTES))):
        yield from _of_route(root, (*steps, ROUTES, each))


def listed_environments(sources: Sources) -> list[str]:
    """Return the environments that the list of deployments names."""
    items = _items(child(sources.root.root, DEPLOYMENTS))
    return [name for item in items if (name := text_of(child(item, "environment"))) is not None]


def _names_in_deployments(sources: Sources, root: Block) -> Iterator[ConfigError]:
    block = sources.block(ENVIRONMENTS)
    environments = _keys(block.node) if block else []
    spellings = {each.casefold() for each in environments}
    rules = {name.text for *_, name in _written_rules(sources)}
    channels = _keys(child(root.node, CHANNELS))
    for index, item in enumerate(_items(child(root.node, DEPLOYMENTS))):
        here: tuple[Step, ...] = (DEPLOYMENTS, index)
        for number, _ in enumerate(_items(child(item, "slos"))):
            yield from _burn_channels(root, (*here, "slos", number, "alerting"), channels)
        name = text_of(child(item, "environment"))
        if block and sources.is_complete(ENVIRONMENTS) and (name or "").casefold() not in spellings:
            yield from _unknown(root, (*here, "environment"), environments, "environment")
        sla = child(item, SLA)
        if isinstance(sla, Scalar) and sla.value is True and sources.block(SLA) is None:
            yield root.error((*here, SLA), 'no SLA is configured (expected one under "sla")')
        wanted = _items(follow(item, "rollback", "on")) if sources.is_complete(RULES) else ()
        for each, _ in enumerate(wanted):
            yield from _unknown(root, (*here, "rollback", "on", each), rules, "rule")


def _burn_channels(
    block: Block, steps: tuple[Step, ...], channels: Collection[str]
) -> Iterator[ConfigError]:
    for key in (PAGE, TICKET):
        for each, _ in enumerate(_items(follow(block.node, *steps, key))):
            yield from _unknown(block, (*steps, key, each), channels, "channel")
        yield from _repeated(block, (*steps, key))


def _rule_names(sources: Sources) -> Iterator[ConfigError]:
    first: dict[str, tuple[Block, Scalar]] = {}
    for block, steps, name in _written_rules(sources):
        if name.text in first:
            there, known = first[name.text]
            where = f"{there.document.file}:{known.line + 1}:{known.col + 1}"
            message = (
                f"a rule of this name exists already (got {quote(name.text)}, first at {where})"
            )
            yield block.error(steps, message)
        first.setdefault(name.text, (block, name))


def _written_rules(sources: Sources) -> Iterator[tuple[Block, tuple[Step, ...], Scalar]]:
    for block in sources.blocks.get(RULES, ()):
        for index, rule in enumerate(_items(child(block.node, ALERTS))):
            name = child(rule, "name")
            if isinstance(name, Scalar):
                yield block, (ALERTS, index, "name"), name


def _environment_names(sources: Sources) -> Iterator[ConfigError]:
    block = sources.block(ENVIRONMENTS)
    seen: dict[str, str] = {}
    for name in _keys(block.node) if block else ():
        other = seen.setdefault(name.casefold(), name)
        if block and other != name:
            message = f"differs from {quote(other)} in upper and lower case only"
            yield block.error((name,), message, at_key=True)


def _repeated(block: Block, steps: tuple[Step, ...]) -> Iterator[ConfigError]:
    seen: set[str] = set()
    for index, item in enumerate(_items(follow(block.node, *steps))):
        name = text_of(item)
        if name in seen:
            yield block.error((*steps, index), f"listed twice (got {quote(name)})")
        if name is not None:
            seen.add(name)


def _unknown(
    block: Block, steps: tuple[Step, ...], known: Collection[str], what: str
) -> Iterator[ConfigError]:
    name = text_of(follow(block.node, *steps))
    if name is None or name in known:
        return
    hint = suggest(name, known) or f" (no {what} is configured)"
    yield block.error(steps, f"unknown {what} {quote(name)}{hint}")


def _keys(node: Node | None) -> list[str]:
    return list(node.entries) if isinstance(node, Mapping) else []


def _items(node: Node | None) -> tuple[Node, ...]:
    return node.items if isinstance(node, Sequence) else ()
