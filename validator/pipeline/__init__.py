"""From a request's credential to its answer.

Law of this package: there is one way from a request to an answer, and it is here.
"""

from validator.pipeline.pipeline import Pipeline
from validator.pipeline.strategy import MAX_JOINED, JointRoute, Lifetimes, Route, Strategy

__all__ = ["MAX_JOINED", "JointRoute", "Lifetimes", "Pipeline", "Route", "Strategy"]
