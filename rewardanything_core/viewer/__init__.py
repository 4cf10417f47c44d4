"""A local page to look at verdicts, find what is wrong and label it: ``ra-judge view``.

Needs the extra ``serve``.
"""
