"""What a reader should know about a file, chosen and ordered for the role that asks.

Finders look at the `Facts` and yield findings with a weight; a view lists the finders and topics of one role. Every
finding carries names, numbers or lines: what could be said of any file is not worth saying.
"""

from slurp_leader.generators.insights.roles import MOST, VIEWS, insights, view_for

__all__ = ["MOST", "VIEWS", "insights", "view_for"]
