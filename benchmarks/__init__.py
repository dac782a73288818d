"""Speed, measured side by side: every result is a ratio of things that were timed in turn, in one
process.
"""
