"""Tables of papers: an experiment as data, the runs that it lacks, their numbers beside the
paper's.
"""
