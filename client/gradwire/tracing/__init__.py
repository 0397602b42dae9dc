"""Running a function on stand-ins: tracers, the graph they write, nested arguments, and what is said of code that
fails.
"""
