"""The output folder: what a finished or stopped run made, as files and as one page to read.

Plain data in (`record.RunRecord`), files out: it knows no store, no engine and no model.
"""
