"""What there is to see at one moment: plain values, made from the picture, for any kind of screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from slurp_leader.demo.picture import Leader, Picture, Recorded
from slurp_leader.demo.stage import NodeProcess


class NodeState(StrEnum):
    STARTING = "starting"
    STANDBY = "standby"
    LEADER = "leader"
    KILLED = "killed"


@dataclass(frozen=True, slots=True)
class NodeLine:
    """One node: `recorded` are the outcomes that it committed."""

    name: str
    pid: int
    state: NodeState
    recorded: int


@dataclass(frozen=True, slots=True)
class News:
    """Something happened, `at_s` seconds after the start. `grave`: of the kind that one wants to see in red."""

    at_s: float
    text: str
    grave: bool = False


@dataclass(frozen=True, slots=True)
class Scene:
    """One moment.

    Attributes:
        elapsed_s: Seconds since the start.
        total: Requests of the whole run.
        accepted: Those whose submit was answered.
        recorded: Jobs that have an outcome.
        waiting, running: Jobs that have none: not claimed, and claimed.
        rate: Outcomes a second, over the last few seconds.
        leader: Who leads; None: nobody, or one that was killed.
        vacant_s: Seconds since the leader was killed; None while somebody leads, and before the first one.
        nodes, news, recent: As they are listed, oldest first.
    """

    elapsed_s: float
    total: int
    accepted: int
    recorded: int
    waiting: int
    running: int
    rate: float
    leader: Leader | None
    vacant_s: float | None
    nodes: tuple[NodeLine, ...]
    news: tuple[News, ...]
    recent: tuple[Recorded, ...]


def describe_nodes(nodes: Sequence[NodeProcess], picture: Picture) -> tuple[NodeLine, ...]:
    """The nodes, in the order in which they were started."""
    recorded: dict[str, int] = {}
    for change in picture.changes:
        if change.leader is not None:
            count = picture.outcomes.get(change.leader.token, 0)
            recorded[change.leader.node_id] = recorded.get(change.leader.node_id, 0) + count
    return tuple(NodeLine(each.name, each.pid, _state(each, picture), recorded.get(each.name, 0)) for each in nodes)


def _state(node: NodeProcess, picture: Picture) -> NodeState:
    if node.was_killed:
        return NodeState.KILLED
    if picture.leader is not None and picture.leader.node_id == node.name:
        return NodeState.LEADER
    return NodeState.STANDBY if node.name in picture.standing else NodeState.STARTING
