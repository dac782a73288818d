"""Tables of papers: experiments as data, the runs that they lack, and their numbers."""
