"""The report of a finished run: what its stored predictions say, as a page, as JSON and as
Markdown.
"""
