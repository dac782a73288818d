"""Reports of finished runs as a page, JSON and Markdown; see `kd.report.sections`."""
