"""What tests of this package, and of other implementations of its ports, are built on.

Contract suites are classes: inherit one, give it its fixtures, and every promise is tested on your
implementation.
"""
