"""What a reading is, where it lies and what may go wrong: the one home of every shared fact.

Pure: reads nothing but its own definitions (and, in `settings`, the environment once) and imports
no other package of the project.
"""
