"""The programs that the sidecar is measured beside: how each is configured and started, to do the same work.

Law of this package: a rival runs as its makers document it, with every check on that it has, and proves on the
spot that it lets the right token through before anything is measured.
"""
