"""The fine-tuning collection for an instruction synthesizer: source datasets, one format, one folder each.

A converter imports from here and from nowhere else. Does not know which datasets there are.
"""

from hub_instructpt.collection.source import Hub, Licence, QAType, Question, Record, Rejected, Release, Row, Source

__all__ = ["Hub", "Licence", "QAType", "Question", "Record", "Rejected", "Release", "Row", "Source"]
