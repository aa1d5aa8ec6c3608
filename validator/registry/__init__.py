"""Which applications there are and what no longer counts: judged, made durable, and then in force.

Law of this package: a write is planned against what is in force, made durable through ports, and only then
applied; nothing here knows what a file or a server is.
"""
