"""Running a function on stand-ins: the graph that they write, nested arguments, promotion, and what is said of code
that cannot be traced.
"""
