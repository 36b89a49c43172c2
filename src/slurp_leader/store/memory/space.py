"""The quota and its alarm (NOSPACE)."""

from __future__ import annotations

from slurp_leader.errors import StoreFullError
from slurp_leader.store.memory.keyspace import KEY_OVERHEAD_BYTES
from slurp_leader.store.requests import Operation, Put, Txn

LEASE_COST = 64
"""What etcd reckons for a lease."""


class Space:
    """How much may be stored. Once the quota is met, whatever takes space is refused until `disarm`."""

    def __init__(self, quota_bytes: int) -> None:
        self.alarm = False
        self.quota_bytes = quota_bytes

    def claim(self, cost: int, held: int) -> None:
        """Ask for `cost` bytes on top of the `held` ones. What costs nothing always passes.

        Raises:
            StoreFullError: They are not there, or the alarm is on.
        """
        if not cost:
            return
        self.alarm = self.alarm or held + cost >= self.quota_bytes
        if self.alarm:
            raise StoreFullError(f"the database has {held} of {self.quota_bytes} bytes")

    def disarm(self) -> None:
        """Clear the alarm. It comes back with the next claim when there is still no space."""
        self.alarm = False


def put_cost(put: Put) -> int:
    """Bytes a put takes."""
    return KEY_OVERHEAD_BYTES + len(put.key) + len(put.value)


def txn_cost(txn: Txn) -> int:
    """Bytes a transaction may take: those of the branch that puts more; 0 when neither puts."""
    return max(_branch_cost(txn.success), _branch_cost(txn.failure))


def _branch_cost(branch: tuple[Operation, ...]) -> int:
    cost = 0
    for operation in branch:
        if isinstance(operation, Put):
            cost += put_cost(operation)
        elif isinstance(operation, Txn):
            cost += txn_cost(operation)
    return cost
