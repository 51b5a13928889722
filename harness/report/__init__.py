"""Reports of results: tables, figures, the HTML page, comparisons, exports."""
