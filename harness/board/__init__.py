"""The board of a suite: plan, tidy results, merging, scores, tables and pages by track."""
