"""What is measured in a process of its own: reads a lake or a size, gives the cost of one task.

A task imports what it needs and nothing else, or its memory would be that of the benchmarks.
"""
