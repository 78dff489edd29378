"""What others do for the same task, written as they write it: reads nothing, gives yardsticks."""
